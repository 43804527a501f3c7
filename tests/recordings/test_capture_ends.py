"""How a stretch ends: what is known of the permit then decides what is kept, and the end never says more than the disk holds."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any, BinaryIO

import pytest
import pytest_asyncio
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from calls import services as calls
from calls.media.orders import CallView, Lost
from calls.models import Placement
from calls.models import Worker as WorkerRow
from recordings import capture as recording
from recordings import journal, services, storage
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.models import SealedKey
from tenants.permissions import Actor
from tests.recordings.conftest import made
from tests.recordings.studio import Studio, aside, publish

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)
MIC = ("gail", "mic")


@pytest_asyncio.fixture
async def studio(transactional_db: None, cast: Any) -> AsyncIterator[Studio]:
    opened = await Studio(await aside(made, cast)).open()
    yield opened
    await opened.close()


class FaultyFile(io.FileIO):
    """A journal on a real disk that takes no more bytes, or cannot be cut back."""

    full = stuck = False

    def write(self, data: Any) -> int:
        if FaultyFile.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        if FaultyFile.stuck:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().truncate(size)


class FaultyStore(storage.FileStore):
    """The real store; what it creates is a `FaultyFile`."""

    def create(self, name: str) -> BinaryIO:
        super().create(name).close()
        return FaultyFile(self._journal(name), "r+b")  # type: ignore[return-value]  # reason: unbuffered files are not typed as BinaryIO


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FaultyFile]]:
    monkeypatch.setattr(storage, "store", lambda: FaultyStore(settings.CLEAC.data))
    yield FaultyFile
    FaultyFile.full = FaultyFile.stuck = False


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


def heads(studio: Studio, epoch: Epoch) -> list[journal.RecordHead]:
    """The DATA records that the epoch's file holds."""
    with scope.entered(studio.sitting.cast.acme), storage.store().open(Artefact.objects.get(epochs=epoch).object_name) as file:
        return [head for head in journal.heads(file).records if head.type == journal.DATA]


def the_epoch(studio: Studio) -> Epoch:
    (epoch,) = studio.epochs()
    return epoch


def recording_row(studio: Studio) -> Recording:
    with scope.entered(studio.sitting.cast.acme):
        found: Recording = Recording.objects.get()
        return found


async def confirmed_capturing(studio: Studio) -> None:
    """Gail's voice is recorded, and at least one record ended before the database was last read."""
    await studio.capturing(*MIC)
    stored = studio.edge.clock()
    await studio.until(lambda: studio.last_view().read_at > stored, MIC)


async def hung(studio: Studio) -> threading.Event:
    """The database's thread hangs, and a view has just been read: for a second and more nothing will be learnt."""
    seen = len(studio.told(CallView))
    await studio.until(lambda: len(studio.told(CallView)) > seen, MIC)
    return studio.hang()


async def withdraw_unnoticed(studio: Studio) -> int:
    """Gail says no while the thread hangs; returns the number of the last packet sent before her no was committed."""
    await studio.sending(aside(studio.sitting.answer, "gail", "record-voice", granted=False), MIC)
    return studio.serial


async def recorded_after(studio: Studio, last: int) -> int:
    """Until more than a second of packets behind packet `last` lies in the file; returns how many records that makes."""
    before = len(heads(studio, the_epoch(studio)))
    await studio.until(lambda: len(heads(studio, the_epoch(studio))) >= before + 2, MIC)
    assert studio.serial > last
    return len(heads(studio, the_epoch(studio)))


def decided_us(studio: Studio) -> int:
    """When the no was decided, in microseconds of the recording, by the view that brought it."""
    person = str(studio.sitting.cast.gail.pk)
    views = [view for view in studio.told(CallView) if isinstance(view.wish, recording.Wish) and person in view.wish.refused]
    return round((views[0].read_at - views[0].wish.refused[person]["mic"] - studio.started()) * 1_000_000)


async def leave(studio: Studio) -> None:
    await studio.room.remove(str(studio.sitting.who["gail"].pk), "left")


async def test_a_withdrawal_that_is_learnt_late_takes_back_every_record_that_ended_after_it(studio: Studio) -> None:
    """The database hangs when Gail says no. What was stored meanwhile is cut off again, by the moment of her decision."""
    await studio.capturing(*MIC)
    over = await hung(studio)
    last = await withdraw_unnoticed(studio)
    stored = await recorded_after(studio, last)

    over.set()
    (epoch,) = await studio.closed(1, MIC)

    kept, end = heads(studio, epoch), studio.stored(epoch).end
    assert (epoch.cut, epoch.complete, epoch.kept_until_us) == ("withdrawn", True, None)
    assert 0 < len(kept) < stored
    assert end is not None
    assert (end.reason, end.cut_us) == ("withdrawn", decided_us(studio))
    assert all(head.end_us <= end.cut_us for head in kept)
    assert max(studio.serials(epoch)) <= last


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


async def test_who_withdraws_and_leaves_at_once_leaves_nothing_from_after_the_no(studio: Studio) -> None:
    """Gail's no has not been read yet when she goes: the end is not sealed before the database was read again."""
    await studio.capturing(*MIC)
    over = await hung(studio)
    last = await withdraw_unnoticed(studio)
    stored = await recorded_after(studio, last)
    await leave(studio)
    studio.capture.tick()
    assert not studio.asked(recording.CloseEpoch)

    over.set()
    (epoch,) = await studio.closed(1)

    assert (epoch.cut, epoch.complete) == ("withdrawn", True)
    assert 0 < len(heads(studio, epoch)) < stored
    assert all(head.end_us <= decided_us(studio) for head in heads(studio, epoch))
    assert max(studio.serials(epoch)) <= last


async def test_who_leaves_keeps_everything_once_a_later_reading_says_that_the_yes_still_stood(studio: Studio) -> None:
    await studio.capturing(*MIC)
    over = await hung(studio)
    await leave(studio)
    studio.capture.tick()
    assert not studio.asked(recording.CloseEpoch)

    over.set()
    (epoch,) = await studio.closed(1)

    assert (epoch.cut, epoch.complete) == ("left", True)
    assert studio.serials(epoch)[-1] == studio.serial
    assert studio.peers["gus"].said("recording")[-1]["state"] != "fault"


def ended_by_the_host(studio: Studio) -> None:
    with scope.entered(studio.sitting.cast.acme):
        calls.end(call=studio.sitting.call, by=Actor.person(studio.sitting.cast.hana), at=timezone.now())


def left_by_her_own_wish(studio: Studio) -> None:
    with scope.entered(studio.sitting.cast.acme):
        calls.leave(participant=studio.sitting.who["gail"], by=Actor.person(studio.sitting.cast.gail), at=timezone.now())


def whose(studio: Studio) -> dict[str, str]:
    """What each closed stretch and its END say, which is the same, by the name of whom it was captured of."""
    names = {person.pk: name for name, person in (("gail", studio.sitting.cast.gail), ("gus", studio.sitting.cast.gus))}
    found = {names[epoch.track.person_id]: (epoch.cut, studio.stored(epoch).end) for epoch in studio.epochs()}
    assert all(end is not None and end.reason == cut for cut, end in found.values())
    return {name: cut for name, (cut, _end) in found.items()}


async def test_when_the_call_has_ended_that_is_the_end_although_the_pages_went_before_it_was_read(studio: Studio) -> None:
    """A page that hears of the end goes at once; the worker reads it a moment later."""
    await studio.capturing(*MIC)
    over = await hung(studio)
    await studio.sending(aside(ended_by_the_host, studio), MIC)
    await leave(studio)
    studio.capture.tick()
    assert not studio.asked(recording.CloseEpoch)

    over.set()
    await studio.closed(1)

    assert whose(studio) == {"gail": "ended"}


async def test_who_left_before_the_call_ended_has_left(studio: Studio) -> None:
    """Gail goes by her own wish, the host ends the call, and only then the database is read: Gus was there to the end."""
    await aside(studio.sitting.answer, "gus", "record-voice")
    await studio.capturing(*MIC)
    both = (MIC, ("gus", "mic"))
    await studio.until(lambda: studio.mark("gus", "mic") == "captured", *both)
    over = await hung(studio)
    await studio.sending(aside(left_by_her_own_wish, studio), *both)
    await leave(studio)
    await studio.sending(aside(ended_by_the_host, studio), ("gus", "mic"))
    studio.capture.tick()

    over.set()
    await studio.closed(2)

    assert whose(studio) == {"gail": "left", "gus": "ended"}


async def test_a_withdrawal_before_the_call_ended_is_the_end_that_is_told(studio: Studio) -> None:
    """Gail says no, leaves, and the host ends the call, all before the database is read again."""
    await studio.capturing(*MIC)
    over = await hung(studio)
    last = await withdraw_unnoticed(studio)
    await recorded_after(studio, last)
    await aside(left_by_her_own_wish, studio)
    await leave(studio)
    await aside(ended_by_the_host, studio)
    studio.capture.tick()

    over.set()
    (epoch,) = await studio.closed(1)

    assert whose(studio) == {"gail": "withdrawn"}
    assert max(studio.serials(epoch)) <= last


async def test_a_source_that_is_switched_off_is_stopping_until_the_database_was_read_and_is_no_fault(studio: Studio) -> None:
    await studio.capturing(*MIC)
    over = await hung(studio)
    studio.peers["gail"].unpublish("mic")
    studio.capture.tick()
    assert (studio.mark(*MIC), studio.asked(recording.CloseEpoch)) == ("stopping", [])

    over.set()
    (epoch,) = await studio.closed(1)
    await studio.until(lambda: studio.mark(*MIC) == "agreed")

    assert (epoch.cut, epoch.complete) == ("ended", True)
    assert "fault" not in {message["state"] for message in studio.peers["gus"].said("recording")}


async def test_a_recorder_whose_track_is_over_is_no_fault(studio: Studio) -> None:
    """The forwarder has closed the track and the room has not heard of it yet."""
    await studio.capturing(*MIC)
    track = studio.room.track(str(studio.sitting.who["gail"].pk), "mic")
    assert track is not None
    studio.room.path.close(track.key, "ended")
    studio.capture.tick()
    assert studio.mark(*MIC) == "stopping"
    studio.peers["gail"].unpublish("mic")
    (epoch,) = await studio.closed(1)

    assert (epoch.cut, epoch.complete) == ("ended", True)
    assert "fault" not in {message["state"] for message in studio.peers["gus"].said("recording")}


async def test_who_leaves_a_silent_database_keeps_only_what_was_confirmed(studio: Studio) -> None:
    await confirmed_capturing(studio)
    studio.deaf = True
    confirmed = studio.last_view().read_at
    await recorded_after(studio, studio.serial)
    await leave(studio)
    studio.capture.tick()
    assert not studio.asked(recording.CloseEpoch)

    studio.pass_time(5)
    (epoch,) = await studio.closed(1)

    end = studio.stored(epoch).end
    assert end is not None
    assert (epoch.cut, end.cut_us) == ("unconfirmed", round((confirmed - studio.started()) * 1_000_000))
    assert all(head.end_us <= end.cut_us for head in heads(studio, epoch))
    assert 0 < max(studio.serials(epoch)) < studio.serial


async def test_a_permit_that_goes_while_its_key_is_on_the_way_leaves_neither_key_nor_file(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    studio.withheld = recording.EpochOpened
    await aside(studio.sitting.start)
    await studio.until(lambda: bool(studio.waiting), MIC)
    await aside(studio.sitting.answer, "gail", "record-voice", granted=False)
    await studio.until(lambda: bool(studio.peers["gail"].said("applied")), MIC)

    studio.withheld = None
    for answer in studio.waiting:
        studio.tell(answer)
    (epoch,) = await studio.closed(1, MIC)

    assert epoch.cut == "unused"
    with scope.entered(studio.sitting.cast.acme):
        artefact = Artefact.objects.get()
    assert (artefact.state, artefact.sealed_key) == ("SHREDDED", None)
    await studio.until(lambda: not SealedKey.objects.exists())  # the other database follows the commit
    assert artefact.object_name not in set(storage.store().names())
    assert not recording_row(studio).incomplete


async def test_no_key_is_asked_for_without_a_permit(studio: Studio) -> None:
    """Gail has answered nothing, Gus has said no; both send, and the host records."""
    await aside(studio.sitting.answer, "gus", "record-voice", "record-camera", granted=False)
    await publish(studio)
    await aside(studio.sitting.start)
    wanted = [view for view in studio.told(CallView) if view.wish]
    await studio.until(lambda: len([view for view in studio.told(CallView) if view.wish]) > len(wanted) + 1, MIC, ("gus", "cam"))
    studio.capture.tick()

    assert studio.asked(recording.OpenEpoch) == []
    assert not SealedKey.objects.exists()


async def test_an_old_view_begins_nothing_and_a_new_one_does(studio: Studio) -> None:
    """The permit is known, and was confirmed too long ago."""
    await aside(studio.sitting.answer, "gail", "record-voice")
    await aside(studio.sitting.start)
    await studio.until(lambda: any(view.wish and view.permits for view in studio.told(CallView)))
    studio.pass_time(5)
    await publish(studio)
    studio.capture.tick()
    assert studio.asked(recording.OpenEpoch) == []

    studio.ahead = 0.0
    await studio.until(lambda: studio.mark(*MIC) == "captured", MIC)
    assert [order.source for order in studio.asked(recording.OpenEpoch)] == ["mic"]


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
