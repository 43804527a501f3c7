"""How a stretch ends: what is known of the permit then decides what is kept, whoever withdraws, leaves or ends the call first."""

from __future__ import annotations

import pytest
from django.utils import timezone

from calls import services as calls
from calls.media.orders import CallView
from recordings import capture as recording
from recordings import storage
from recordings.models import Artefact
from tenants import scope
from tenants.models import SealedKey
from tenants.permissions import Actor
from tests.recordings.studio import (
    MIC,
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
