"""Capture from the publisher's packet to the sealed journal: a real edge, room, worker and database's thread on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from calls.media import clock
from calls.media.native import build
from calls.media.orders import Unconfirmed
from compliance import log
from consent.models import Decision
from recordings import capture as recording
from recordings.models import Artefact
from tenants import scope
from tests.recordings.sittings import made
from tests.recordings.studio import GAIL, GUS, VOICE_AND_CAMERA, Studio, aside, publish

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)


@pytest_asyncio.fixture(params=["python", "native"])
async def studio(request: pytest.FixtureRequest, transactional_db: None, cast: Any) -> AsyncIterator[Studio]:
    """With either form of the packet path."""
    assert build.ensure() == ""
    opened = await Studio(await aside(made, cast), request.param).open()
    yield opened
    await opened.close()


async def test_only_who_agreed_is_captured_and_exactly_what_was_sent(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", *VOICE_AND_CAMERA)
    await aside(studio.sitting.answer, "gus", *VOICE_AND_CAMERA, granted=False)
    await publish(studio)
    started = await aside(studio.sitting.start)
    await studio.until(lambda: all(studio.mark("gail", source) == "captured" for source in ("mic", "cam")), *GAIL, *GUS)
    assert [studio.mark("gus", source) for source in ("mic", "cam")] == ["declined", "declined"]
    opened = [order for order in studio.orders if isinstance(order, recording.OpenEpoch)]
    assert {(order.person_id, order.source) for order in opened} == {(str(studio.sitting.cast.gail.pk), source) for source in ("mic", "cam")}
    await aside(studio.stop_recording, started)
    epochs = await studio.closed(2)
    assert {(epoch.track.person_id, epoch.track.source) for epoch in epochs} == {(studio.sitting.cast.gail.pk, s) for s in ("mic", "cam")}
    for epoch in epochs:
        sent = list(studio.peers["gail"].sending[epoch.track.source].sent.values())
        kept = studio.packets(epoch)
        first = sent.index(kept[0])
        assert kept == sent[first : first + len(kept)]
        assert studio.stored(epoch).complete
    assert (len(epochs), {epoch.cut for epoch in epochs}) == (2, {"stopped"})
    states = [message["state"] for message in studio.peers["gus"].said("recording")]
    await studio.until(lambda: studio.peers["gus"].said("recording")[-1]["state"] == "off")
    assert states[:3] == ["off", "starting", "on"]


async def test_a_shared_screen_is_kept_under_its_own_yes_and_under_no_other(studio: Studio) -> None:
    """Gail agreed to voice and camera, Gus to the screen alone; both share one."""
    screens = (("gail", "screen"), ("gus", "screen"))
    await aside(studio.sitting.answer, "gail", *VOICE_AND_CAMERA)
    await aside(studio.sitting.answer, "gus", "record-screen")
    for name in ("gail", "gus"):
        await studio.peers[name].publish("mic", "cam", "screen")
    started = await aside(studio.sitting.start)
    kept = {*GAIL, ("gus", "screen")}
    everything = (*GAIL, *GUS, *screens)
    await studio.until(lambda: all(studio.mark(*one) == "captured" for one in kept), *everything)
    assert {studio.mark(*one) for one in everything if one not in kept} == {"undecided"}
    await aside(studio.stop_recording, started)
    epochs = {(epoch.track.person_id, epoch.track.source): epoch for epoch in await studio.closed(len(kept))}
    assert set(epochs) == {(getattr(studio.sitting.cast, name).pk, source) for name, source in kept}
    shown = studio.packets(epochs[studio.sitting.cast.gus.pk, "screen"])
    assert shown
    assert set(shown) <= set(studio.peers["gus"].sending["screen"].sent.values())


async def test_a_withdrawal_cuts_the_journal_and_leaves_the_call_alone_and_a_new_yes_has_a_new_key(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    await aside(studio.sitting.start)
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    await aside(studio.sitting.answer, "gail", "record-voice", granted=False)
    await studio.until(lambda: bool(studio.peers["gail"].said("applied")), *GAIL)
    after = studio.serial
    assert studio.peers["gail"].said("applied")[-1] == {"kind": "applied", "source": "mic", "mark": "declined"}
    heard = str(studio.sitting.who["gail"].pk), "mic"
    await studio.until(lambda: max(studio.peers["gus"].serials(*heard), default=0) > after, *GAIL)
    (first,) = await studio.closed(1, *GAIL)
    assert (first.cut, first.complete, studio.stored(first).end.reason) == ("withdrawn", True, "withdrawn")
    assert max(int.from_bytes(packet[-4:]) for packet in studio.packets(first)) <= after
    assert max(item.arrival_us for item in studio.stored(first).items()) <= studio.stored(first).end.cut_us
    await aside(studio.sitting.answer, "gail", "record-voice")
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    second = studio.epochs()[-1]
    assert (second.number, second.decision != first.decision, bytes(second.entry_hash) != bytes(first.entry_hash)) == (2, True, True)
    with scope.entered(studio.sitting.cast.acme):
        assert len(set(Artefact.objects.values_list("sealed_key", flat=True))) == 2
        for epoch in (first, second):  # the claim that the journal is bound to is the leaf of the yes in the log
            given = Decision.objects.get(pk=epoch.decision).entry
            assert (given.kind, bytes(epoch.entry_hash)) == ("consent.given", log.entry_hash(given))


async def test_without_confirmation_capture_ends_visibly_and_begins_anew_when_it_is_confirmed(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    await aside(studio.sitting.start)
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    studio.deaf = True
    confirmed = studio.worker.confirmed_at(studio.call_id)
    assert confirmed is not None
    studio.worker.tell(Unconfirmed(studio.call_id, confirmed, clock.now()))
    studio.pass_time(5)
    await studio.until(lambda: studio.mark("gail", "mic") in ("stopping", "fault"), *GAIL)
    assert studio.peers["gus"].said("recording")[-1]["state"] == "fault"
    studio.deaf, studio.ahead = False, 0.0
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    *ended, newest = studio.epochs()  # a busy machine may be without confirmation once more
    assert {epoch.cut for epoch in ended} == {"unconfirmed"}
    assert newest.number == len(ended) + 1 > 1
    assert studio.peers["gus"].said("recording")[-1]["state"] == "on"


async def test_who_goes_takes_the_capture_along(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    await aside(studio.sitting.start)
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    await studio.room.remove(str(studio.sitting.who["gail"].pk), "left")
    (epoch,) = await studio.closed(1)
    assert (epoch.cut, epoch.complete) == ("left", True)
