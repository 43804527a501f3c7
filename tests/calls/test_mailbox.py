"""Notes to a worker: sent after commit, over one kept connection, and harmless when they cannot be sent."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import transaction

from calls import mailbox, placement
from calls.media import wire
from tenants.models import Tenant

PATIENCE = 30.0

pytestmark = pytest.mark.django_db(transaction=True)


class Ear:
    """The control address of a worker, as a plain socket."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.accepted: list[socket.socket] = []

    def frames(self, connection: socket.socket, count: int) -> list[dict[str, object]]:
        with connection.makefile("rb") as stream:
            return [wire.unpack(stream.read(int.from_bytes(stream.read(4), "big"))) for _ in range(count)]

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE)
        self.accepted.append(connection)
        return connection

    def waits(self) -> bool:
        """Whether somebody has connected who was not accepted yet."""
        self.listener.settimeout(0)
        try:
            self.accept()
        except BlockingIOError:
            return False
        finally:
            self.listener.settimeout(PATIENCE)
        return True

    def close(self) -> None:
        for connection in (self.listener, *self.accepted):
            connection.close()


@pytest.fixture
def ear() -> Iterator[Ear]:
    mailbox.hang_up()
    mailbox.counters.clear()
    found = Ear()
    yield found
    found.close()
    mailbox.hang_up()


@pytest.fixture
def call_id(ear: Ear) -> UUID:
    """A call that the worker at the ear carries."""
    placed = uuid4()
    placement.register(ear.address)
    placement.worker_for(placed, Tenant.objects.create(slug="acme", name="Acme"))
    return placed


def test_a_note_names_the_call_and_comes_with_a_token_that_the_worker_accepts(ear: Ear, call_id: UUID) -> None:
    mailbox.look_again(call_id)
    introduction, note = ear.frames(ear.accept(), 2)
    key = settings.CLEAC.pipe_key.get_secret_value().encode()
    assert wire.verify(key, introduction["token"], address=ear.address, now=time.time()).typ == wire.CONTROL
    assert note == {"look_again": str(call_id)}
    assert mailbox.counters == {"sent": 1}


def test_a_note_leaves_after_the_commit_and_never_for_what_was_rolled_back(ear: Ear, call_id: UUID) -> None:
    with transaction.atomic():
        mailbox.look_again(call_id)
        assert not ear.waits()
        transaction.set_rollback(True)
    assert not ear.waits()
    with transaction.atomic():
        mailbox.look_again(call_id)
    assert ear.waits()


def test_notes_of_one_process_share_a_connection(ear: Ear, call_id: UUID) -> None:
    for _ in range(3):
        mailbox.look_again(call_id)
    assert len(ear.frames(ear.accept(), 4)) == 4
    assert not ear.waits()


def test_a_connection_that_the_worker_has_ended_is_opened_anew(ear: Ear, call_id: UUID) -> None:
    mailbox.look_again(call_id)
    first = ear.accept()
    ear.frames(first, 2)
    first.close()
    mailbox.look_again(call_id)
    assert ear.frames(ear.accept(), 2)[1] == {"look_again": str(call_id)}


def test_a_note_to_nobody_is_counted_and_nothing_else(ear: Ear, call_id: UUID) -> None:
    ear.close()
    mailbox.look_again(call_id)
    mailbox.look_again(call_id)
    mailbox.look_again(uuid4())
    assert mailbox.counters == {"lost": 2, "nowhere": 1}


def test_a_worker_that_takes_nothing_costs_no_more_than_one_note_s_patience(ear: Ear, call_id: UUID) -> None:
    """Its connection is full: the first note that does not fit is lost, and those right after it are not even tried."""
    mailbox.look_again(call_id)
    line = mailbox._lines[ear.address]
    assert line.open is not None
    line.open.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while line.open.send(b"x" * 65536):
            pass
    mailbox.look_again(call_id)
    assert mailbox.counters["lost"] == 1
    assert line.open is None
    assert line.silent_until > time.monotonic()
