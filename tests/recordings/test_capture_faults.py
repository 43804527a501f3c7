"""How a stretch ends when the disk or the worker fails: the fault is shown, every end is sealed, and nothing unconfirmed is kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from calls.media.orders import Lost
from calls.models import Placement
from calls.models import Worker as WorkerRow
from recordings import capture as recording
from recordings import services, storage
from recordings.models import Artefact
from tenants import scope
from tests.recordings.studio import (
    MIC,
    FaultyFile,
    Studio,
    aside,
    confirmed_capturing,
    decided_us,
    heads,
    hung,
    leave,
    publish,
    recorded_after,
    recording_row,
    withdraw_unnoticed,
)

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Which files were waited for until they were on the disk, by inode, and in which thread; the disk is really waited for."""
    found: list[tuple[int, str]] = []
    real: Callable[[int], None] = os.fsync

    def fsync(handle: int) -> None:
        found.append((os.fstat(handle).st_ino, threading.current_thread().name))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


async def test_records_that_should_have_gone_and_could_not_be_cut_off_are_not_counted(studio: Studio, faulty: type[FaultyFile]) -> None:
    """The same on a disk that does not shorten a file: the moment is written down, and the recording is incomplete."""
    await studio.capturing(*MIC)
    over = await hung(studio)
    stored = await recorded_after(studio, await withdraw_unnoticed(studio))

    faulty.stuck = True
    over.set()
    (epoch,) = await studio.closed(1, MIC)

    held = heads(studio, epoch)
    assert len(held) >= stored
    assert (epoch.cut, epoch.complete, epoch.kept_until_us) == ("withdrawn", False, decided_us(studio))
    assert recording_row(studio).incomplete
    counted = [head for head in held if head.end_us <= decided_us(studio)]
    assert 0 < len(counted) < len(held)
    with scope.entered(studio.sitting.cast.acme):
        kept = services.kept(artefact=Artefact.objects.get(epochs=epoch), kept_until_us=epoch.kept_until_us)
    assert kept.stored_ms == sum(head.duration_us for head in counted) // 1000


async def test_a_full_disk_is_shown_and_the_call_goes_on(studio: Studio, faulty: type[FaultyFile]) -> None:
    await studio.capturing(*MIC)
    faulty.full = True
    await studio.until(lambda: studio.mark(*MIC) == "fault", MIC)
    (epoch, *_) = await studio.closed(1, MIC)
    after, heard = studio.serial, (str(studio.sitting.who["gail"].pk), "mic")
    await studio.until(lambda: max(studio.peers["gus"].serials(*heard), default=0) > after, MIC)

    assert studio.peers["gus"].said("recording")[-1]["state"] == "fault"
    assert (epoch.cut, epoch.complete) == ("fault", False)
    assert len(heads(studio, epoch)) > 0
    assert not studio.stored(epoch).complete
    with scope.entered(studio.sitting.cast.acme), storage.store().open(Artefact.objects.get(epochs=epoch).object_name) as file:
        written = file.read()
    assert studio.packets(epoch)
    assert not any(packet in written or packet[-12:] in written for packet in studio.peers["gail"].sending["mic"].sent.values())
    assert recording_row(studio).incomplete
    faulty.full = False
    await studio.until(lambda: studio.mark(*MIC) == "captured", MIC)
    assert studio.peers["gus"].said("recording")[-1]["state"] == "on"


async def test_a_call_that_is_lost_keeps_nothing_unconfirmed(studio: Studio) -> None:
    """Another worker has taken the call over: this one's last confirmation is where its journal ends."""
    await confirmed_capturing(studio)

    def take_over() -> None:
        other = WorkerRow.objects.create(control_address="127.0.0.1:9", seen_at=timezone.now())
        Placement.objects.update(worker=other, fence=F("fence") + 1, lease_until=timezone.now() + timedelta(minutes=1))

    await studio.sending(aside(take_over), MIC)
    await studio.until(lambda: bool(studio.told(Lost)), MIC)
    (epoch,) = await studio.closed(1)

    end = studio.stored(epoch).end
    assert end is not None
    assert (epoch.cut, epoch.complete) == ("moved", True)
    assert end.cut_us == round((studio.last_view().read_at - studio.started()) * 1_000_000)
    assert all(head.end_us <= end.cut_us for head in heads(studio, epoch))
    assert max(studio.serials(epoch)) < studio.serial


async def test_a_drained_worker_seals_every_end_and_keeps_what_a_last_reading_confirms(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await aside(studio.sitting.answer, "gus", "record-voice", "record-camera")
    await publish(studio)
    await aside(studio.sitting.start)
    everybody = (MIC, ("gus", "mic"), ("gus", "cam"))
    await studio.until(lambda: all(studio.mark(*place) == "captured" for place in everybody), *everybody)
    await studio.capture.drain("moved")
    sent = {place: int.from_bytes(list(studio.peers[place[0]].sending[place[1]].sent.values())[-1][-4:]) for place in everybody}

    epochs = studio.epochs()
    assert [(epoch.cut, epoch.complete) for epoch in epochs] == [("moved", True)] * 3
    for epoch in epochs:
        place = ("gail" if epoch.track.person_id == studio.sitting.cast.gail.pk else "gus", epoch.track.source)
        assert studio.serials(epoch)[-1] == sent[place]
    asked = len(studio.asked(recording.OpenEpoch))
    studio.capture.tick()
    assert len(studio.asked(recording.OpenEpoch)) == asked


async def test_a_worker_that_must_stop_at_once_seals_every_end(studio: Studio) -> None:
    await studio.capturing(*MIC)
    studio.capture.stop("moved")
    (epoch,) = await studio.closed(1)

    assert (epoch.cut, epoch.complete) == ("moved", True)
    assert not recording_row(studio).incomplete


async def test_the_disk_is_waited_for_in_the_thread_of_the_database(studio: Studio, synced: list[tuple[int, str]]) -> None:
    """A stretch is closed in the database when its journal is on the disk; the loop does not wait for it."""
    await studio.capturing(*MIC)
    await leave(studio)
    (epoch,) = await studio.closed(1)

    with scope.entered(studio.sitting.cast.acme), storage.store().open(Artefact.objects.get(epochs=epoch).object_name) as file:
        inode = os.fstat(file.fileno()).st_ino
    assert (inode, "control") in synced
    assert {thread for _, thread in synced} == {"control"}
    assert epoch.complete
