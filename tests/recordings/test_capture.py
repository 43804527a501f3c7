"""Capture from the publisher's packet to the sealed journal: a real edge, room, worker and database's thread on loopback."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from calls.media.orders import Unconfirmed
from recordings import capture as recording
from recordings.models import Artefact
from tenants import scope
from tests.recordings.conftest import made
from tests.recordings.studio import GAIL, GUS, VOICE_AND_CAMERA, Studio, aside, publish

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)


@pytest_asyncio.fixture
async def studio(transactional_db: None, cast: Any) -> AsyncIterator[Studio]:
    opened = await Studio(await aside(made, cast)).open()
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
    await aside(studio.sitting.answer, "gail", "record-voice")
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    second = studio.epochs()[-1]
    assert (second.number, second.decision != first.decision, bytes(second.entry_hash) != bytes(first.entry_hash)) == (2, True, True)
    with scope.entered(studio.sitting.cast.acme):
        assert len(set(Artefact.objects.values_list("sealed_key", flat=True))) == 2


async def test_without_confirmation_capture_ends_visibly_and_begins_anew_when_it_is_confirmed(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    await aside(studio.sitting.start)
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    studio.deaf = True
    confirmed = studio.worker.confirmed_at(studio.call_id)
    assert confirmed is not None
    studio.worker.tell(Unconfirmed(studio.call_id, confirmed, time.monotonic()))
    studio.ahead = 5.0
    await studio.until(lambda: studio.mark("gail", "mic") in ("stopping", "fault"), *GAIL)
    assert studio.peers["gus"].said("recording")[-1]["state"] == "fault"
    studio.deaf, studio.ahead = False, 0.0
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    first, second = studio.epochs()
    assert (first.cut, second.number) == ("unconfirmed", 2)
    assert studio.peers["gus"].said("recording")[-1]["state"] == "on"


async def test_who_goes_takes_the_capture_along(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    await aside(studio.sitting.start)
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    await studio.room.remove(str(studio.sitting.who["gail"].pk), "left")
    (epoch,) = await studio.closed(1)
    assert (epoch.cut, epoch.complete) == ("left", True)
