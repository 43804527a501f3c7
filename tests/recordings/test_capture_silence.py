"""The database hangs, which is not the same as refusing: capture ends after five seconds, visibly, its key is gone, and the call goes on (D19)."""

from __future__ import annotations

import gc
import selectors
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from django.db import connection, connections, transaction

from calls.control import Stays
from calls.media.orders import CallView, Errand, Outcome, Unconfirmed
from recordings import capture as recording
from recordings import journal, storage
from recordings.capture.loop import CONFIRMED_WITHIN
from recordings.journal import Heads
from recordings.records import SealedFile
from recordings.sealing import Sealer
from tests.media.peers import PATIENCE
from tests.recordings.sittings import made
from tests.recordings.studio import MIC, Studio, aside, publish

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)


@dataclass(frozen=True)
class Reroute(Errand):
    """The database's thread reaches its server by this address from now on."""

    address: tuple[str, int]
    alias: str = "default"


def reroute(order: Reroute, stays: Stays | None) -> Outcome:
    """Only this thread's own connection: each has its own copy of the settings afterwards."""
    used = connections[order.alias]
    used.close()
    used.settings_dict = {**used.settings_dict, "HOST": order.address[0], "PORT": str(order.address[1])}
    return Outcome(order.call_id, order)


class Relay(threading.Thread):
    """Stands before the database. `stopped` is as when a process in between is stopped: nothing passes, nothing is refused, nothing is lost."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.going, self.over = threading.Event(), False
        self.going.set()
        self._ways: dict[socket.socket, socket.socket] = {}

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listening.getsockname()
        return (host, port)

    def run(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self.listening, selectors.EVENT_READ)
            while not self.over:
                self.going.wait()
                for key, _events in ready.select(0.05):
                    if not self.going.is_set():
                        break
                    self._pass_on(ready, key.fileobj)  # type: ignore[arg-type]  # reason: only sockets are registered

    def _pass_on(self, ready: selectors.BaseSelector, one: socket.socket) -> None:
        if one is self.listening:
            near, far = self.listening.accept()[0], server()
            self._ways |= {near: far, far: near}
            for end in (near, far):
                ready.register(end, selectors.EVENT_READ)
            return
        if one not in self._ways:
            return
        data = b""
        with suppress(OSError):
            data = one.recv(65536)
        if data:
            with suppress(OSError):
                self._ways[one].sendall(data)
            return
        for end in (one, self._ways[one]):
            ready.unregister(end)
            end.close()
            del self._ways[end]

    def end(self) -> None:
        self.over = True
        self.going.set()
        self.join(PATIENCE)
        for end in [*self._ways, self.listening]:
            end.close()


def server() -> socket.socket:
    """The database's own address, a port or a socket in a folder."""
    facts = connection.settings_dict
    host, port = facts["HOST"] or "127.0.0.1", int(facts["PORT"] or 5432)
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    found = socket.socket(socket.AF_UNIX)
    found.connect(f"{host}/.s.PGSQL.{port}")
    return found


@pytest.fixture
def relay() -> Iterator[Relay]:
    started = Relay()
    started.start()
    yield started
    started.end()


@pytest_asyncio.fixture
async def studio(relay: Relay, transactional_db: None, cast: Any) -> AsyncIterator[Studio]:
    opened = Studio(await aside(made, cast))
    opened.handlers = {Reroute: reroute}
    await opened.open()
    yield opened
    await opened.close()


@contextmanager
def locked(table: str) -> Iterator[None]:
    """Somebody else holds the whole table, as a migration does: whoever reads it waits."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                held.set()
                over.wait(PATIENCE)
        finally:
            connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(PATIENCE)
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


def on_the_disk(studio: Studio) -> Heads:
    """The clear heads of the first journal."""
    with storage.store().open(studio.told(recording.EpochOpened)[0].object_name) as file:
        return journal.heads(file)


def keys_in_memory() -> list[object]:
    """Whatever could still seal a record in this process."""
    return [one for one in gc.get_objects() if type(one) in (SealedFile, Sealer)]


async def rerouted(studio: Studio, address: tuple[str, int], alias: str = "default") -> None:
    order = Reroute(studio.call_id, 1, address, alias)
    studio.ask(order)
    await studio.until(lambda: any(outcome.errand is order for outcome in studio.told(Outcome)), MIC)


async def capture_is_over(studio: Studio) -> None:
    """While the database still hangs: shown to everybody, END on the disk, no key in memory, and Gus goes on hearing Gail."""
    await studio.until(lambda: studio.mark(*MIC) in ("stopping", "fault"), MIC)
    assert studio.peers["gus"].said("recording")[-1]["state"] == "fault"
    assert on_the_disk(studio).complete
    assert keys_in_memory() == []
    after, heard, stored = studio.serial, (str(studio.sitting.who["gail"].pk), "mic"), on_the_disk(studio)
    await studio.until(lambda: max(studio.peers["gus"].serials(*heard), default=0) > after + 20, MIC)
    assert on_the_disk(studio) == stored


async def nothing_unconfirmed_was_kept_and_a_new_key_goes_on(studio: Studio, confirmed: float) -> None:
    await studio.until(lambda: studio.mark(*MIC) == "captured", MIC)
    first, second = studio.epochs()
    end = studio.stored(first).end
    assert end is not None
    assert (first.cut, end.reason, second.number) == ("unconfirmed", "unconfirmed", 2)
    assert end.cut_us == round((confirmed - studio.started()) * 1_000_000)
    assert all(record.head.end_us <= end.cut_us for record in studio.stored(first).records())
    assert studio.peers["gus"].said("recording")[-1]["state"] == "on"


async def test_a_lock_that_keeps_the_database_from_answering_ends_capture_after_five_seconds(studio: Studio) -> None:
    await studio.capturing(*MIC)
    assert keys_in_memory()
    with locked("consent_decision"):
        await studio.until(lambda: not studio.answering_within(CONFIRMED_WITHIN - 1), MIC)
        confirmed = studio.last_view().read_at
        assert studio.mark(*MIC) == "captured"

        await capture_is_over(studio)

        assert studio.edge.clock() - confirmed >= CONFIRMED_WITHIN
        assert studio.last_view().read_at == confirmed
    await nothing_unconfirmed_was_kept_and_a_new_key_goes_on(studio, confirmed)


async def test_a_server_that_stands_still_and_refuses_nothing_ends_capture_as_well(studio: Studio, relay: Relay) -> None:
    """No statement's time runs out, because not even the refusal arrives: the loop counts by itself."""
    await studio.capturing(*MIC)
    await rerouted(studio, relay.address)
    seen = len(studio.told(CallView))
    await studio.until(lambda: len(studio.told(CallView)) > seen, MIC)

    relay.going.clear()
    stood = time.monotonic()
    await studio.until(lambda: time.monotonic() - stood > 2.5, MIC)  # longer than between two readings
    confirmed = studio.last_view().read_at
    studio.pass_time(CONFIRMED_WITHIN)
    await capture_is_over(studio)
    assert studio.last_view().read_at == confirmed
    assert not studio.told(recording.EpochOpened)[1:]

    studio.ahead = 0.0
    relay.going.set()
    await nothing_unconfirmed_was_kept_and_a_new_key_goes_on(studio, confirmed)


async def test_a_key_store_that_is_away_ends_no_call_and_is_told_as_a_fault_until_it_is_back(studio: Studio, relay: Relay) -> None:
    """Nothing is captured without a key that is stored, sealed; leases and readings need none and go on."""
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    await rerouted(studio, nobody(), "keys")
    await aside(studio.sitting.start)
    await studio.until(lambda: studio.mark(*MIC) == "fault", MIC)
    assert studio.peers["gus"].said("recording")[-1]["state"] == "fault"
    assert keys_in_memory() == []
    seen, after, heard = len(studio.told(CallView)), studio.serial, (str(studio.sitting.who["gail"].pk), "mic")
    await studio.until(lambda: len(studio.told(CallView)) > seen + 1, MIC)
    assert studio.told(Unconfirmed) == []
    assert max(studio.peers["gus"].serials(*heard)) > after
    assert studio.epochs() == []

    await rerouted(studio, relay.address, "keys")
    await studio.until(lambda: studio.mark(*MIC) == "captured", MIC)

    assert studio.peers["gus"].said("recording")[-1]["state"] == "on"


def nobody() -> tuple[str, int]:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
        return (host, port)
