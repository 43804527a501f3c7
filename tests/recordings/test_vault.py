"""Stored media opens for who may, for as long as who may may, and goes whole."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from recordings import forgetting, playback, storage, vault, viewing
from recordings.models import Artefact, Viewing
from recordings.sealing import Tampered
from tenants.errors import Refused
from tenants.keys import port
from tenants.permissions import Actor
from tests.recordings import stored
from tests.recordings.sittings import Sitting
from tests.recordings.stored import Stored, acting

pytestmark = pytest.mark.django_db(databases=["default", "keys"])


class Clock:
    """Seconds that pass when the test says so, and what is to be done later."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, act))

    def pass_by(self, seconds: float) -> None:
        """Let time pass; whatever is due is done."""
        self.now += seconds
        due, self.due = [act for at, act in self.due if at <= self.now], [item for item in self.due if item[0] > self.now]
        for act in due:
            act()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The vault's keys under a clock of the test."""
    clock = Clock()
    monkeypatch.setattr(vault, "keys", vault.Keys(clock, clock.later))
    return clock


@pytest.fixture
def made(sitting: Sitting) -> Stored:
    return stored.finished(sitting, ("gail", "mic"), ("gus", "mic"))


def opened(made: Stored) -> Viewing:
    hana = made.cast.hana
    return viewing.view(recording=made.recording, by=Actor.person(hana), person=hana, whole=True, purpose="agreed", at=timezone.now())


def read(found: Viewing, artefact: Artefact) -> bytes:
    reader = vault.reader(viewing=found, artefact=artefact, at=timezone.now())
    return reader.read(0, reader.size)


def releases(found: Viewing) -> int:
    return int(Viewing.objects.get(pk=found.pk).releases)


def test_a_key_is_asked_for_once_a_minute_and_then_again(made: Stored, clock: Clock) -> None:
    with acting(made.cast):
        found = opened(made)
        first = read(found, made.files["gail", "mic"])
        clock.pass_by(59)
        assert read(found, made.files["gail", "mic"]) == first
        assert releases(found) == 1
        clock.pass_by(1)
        assert read(found, made.files["gail", "mic"]) == first
        assert releases(found) == 2


def test_a_key_falls_out_of_memory_after_a_minute_although_nobody_asks_again(made: Stored, clock: Clock) -> None:
    with acting(made.cast):
        found = opened(made)
        read(found, made.files["gail", "mic"])
        clock.pass_by(30)
        read(found, made.files["gus", "mic"])
        assert len(vault.keys) == 2
        clock.pass_by(30)
        assert len(vault.keys) == 1
        clock.pass_by(30)
        assert len(vault.keys) == 0
        assert clock.due == []


def test_the_oldest_key_goes_when_there_are_too_many(clock: Clock) -> None:
    viewing_id, files = uuid4(), [uuid4() for _ in range(vault.MOST_KEYS + 1)]
    for file in files:
        vault.keys.put(viewing_id, file, file.bytes)
    assert len(vault.keys) == vault.MOST_KEYS
    assert vault.keys.get(viewing_id, files[0]) is None
    assert vault.keys.get(viewing_id, files[-1]) == files[-1].bytes


def test_a_key_of_one_viewing_is_not_there_for_another(made: Stored, clock: Clock) -> None:
    with acting(made.cast):
        one, other = opened(made), opened(made)
        read(one, made.files["gail", "mic"])
        read(other, made.files["gail", "mic"])
        assert (releases(one), releases(other)) == (1, 1)


def test_a_restriction_stops_the_next_reading_although_the_key_is_still_in_memory(made: Stored, clock: Clock) -> None:
    with acting(made.cast):
        found = opened(made)
        read(found, made.files["gail", "mic"])
        forgetting.restrict(person=made.cast.gail, recording=made.recording, by=stored.JOB, at=timezone.now())
        assert vault.keys.get(found.pk, made.files["gail", "mic"].pk) is not None
        with pytest.raises(Refused) as refused:
            read(found, made.files["gail", "mic"])
        assert refused.value.code == "restricted"
        assert read(found, made.files["gus", "mic"])


def test_shredding_takes_key_row_object_and_the_key_in_memory(made: Stored, clock: Clock) -> None:
    file = made.files["gail", "mic"]
    key = file.sealed_key
    assert isinstance(key, UUID)
    with acting(made.cast):
        found = opened(made)
        read(found, file)
        vault.shred([file])
        assert port.exists(key)  # until the commit a decision can still be undone
    assert not port.exists(key)
    assert vault.keys.get(found.pk, file.pk) is None
    assert not (settings.CLEAC.data / "objects" / file.object_name).exists()
    with acting(made.cast):
        stays = Artefact.objects.get(pk=file.pk)
        assert (stays.state, stays.sealed_key) == ("SHREDDED", None)
        vault.shred([stays])


def test_a_shredding_that_is_undone_destroys_nothing(made: Stored) -> None:
    file = made.files["gail", "mic"]
    with acting(made.cast), transaction.atomic():
        vault.shred([Artefact.objects.get(pk=file.pk)])
        transaction.set_rollback(True)
    with acting(made.cast):
        assert read(opened(made), file)


def test_bytes_of_another_file_do_not_open(made: Stored) -> None:
    """Somebody who can write to the disk puts Gus' file in the place of Gail's."""
    folder = settings.CLEAC.data / "objects"
    gail, gus = made.files["gail", "mic"], made.files["gus", "mic"]
    (folder / gail.object_name).write_bytes((folder / gus.object_name).read_bytes())
    with acting(made.cast), pytest.raises(Tampered):
        read(opened(made), gail)


def test_an_object_that_is_not_here_is_not_found(made: Stored) -> None:
    storage.store().delete(made.files["gail", "mic"].object_name)
    with acting(made.cast), pytest.raises(Refused) as refused:
        read(opened(made), made.files["gail", "mic"])
    assert refused.value.status == 404


def test_a_closed_journal_opens_for_finishing(sitting: Sitting) -> None:
    made = stored.captured(sitting, ("gail", "mic"))
    with acting(sitting.cast):
        found = vault.journal(artefact=made.journals["gail", "mic"])
        assert sum(item.kind == b"P" for item in found.items()) == 100
        assert found.complete


def test_what_a_reader_gives_is_the_file_that_was_written(made: Stored) -> None:
    with acting(made.cast):
        reader = vault.reader(viewing=opened(made), artefact=made.files["gail", "mic"], at=timezone.now())
        assert isinstance(reader, playback.Reader)
        assert reader.verify() == 100
        assert reader.read(0, 4) == b"\x1aE\xdf\xa3"  # RFC 8794 section 11.2.1
