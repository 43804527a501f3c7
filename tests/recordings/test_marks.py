"""Which mark a source has when several things are true of it: fault, stopping, captured, starting, then the decision."""

from __future__ import annotations

import pytest

from calls.media.orders import Outcome
from recordings import capture as recording
from tests.recordings.studio import MIC, FaultyFile, Studio, aside

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)


def let_through(studio: Studio) -> bool:
    """Tell capture that a stretch is open, and keep from it that one is closed; whether any is open now."""
    for answer in [answer for answer in studio.waiting if isinstance(answer, recording.EpochOpened)]:
        studio.waiting.remove(answer)
        studio.loop.call_soon_threadsafe(studio.tell, answer)
    return len(studio.told(recording.EpochOpened)) == 2


async def test_a_stretch_that_is_not_closed_yet_weighs_more_than_the_next_that_is_captured(studio: Studio) -> None:
    """Gail says no and yes again at once."""
    await studio.capturing(*MIC)
    studio.withheld = Outcome
    await studio.sending(aside(studio.sitting.answer, "gail", "record-voice", granted=False), MIC)
    await studio.until(lambda: bool(studio.asked(recording.CloseEpoch)), MIC)
    await studio.sending(aside(studio.sitting.answer, "gail", "record-voice"), MIC)
    await studio.until(lambda: let_through(studio), MIC)
    place = (str(studio.sitting.who["gail"].pk), "mic")
    (call,) = studio.capture._calls.values()
    await studio.until(lambda: call.is_captured(place, studio.edge.clock()), MIC)
    studio.capture.tick()

    assert studio.mark(*MIC) == "stopping"
    assert studio.peers["gus"].said("recording")[-1]["state"] == "on"

    studio.withheld = None
    for answer in studio.waiting:
        studio.tell(answer)
    await studio.until(lambda: studio.mark(*MIC) == "captured", MIC)


async def test_a_fault_weighs_more_than_the_end_of_the_stretch_that_it_broke(
    studio: Studio,
    faulty: type[FaultyFile],
) -> None:
    await studio.capturing(*MIC)
    studio.withheld = Outcome
    faulty.full = True
    await studio.until(lambda: bool(studio.asked(recording.CloseEpoch)), MIC)
    studio.capture.tick()

    assert studio.mark(*MIC) == "fault"
