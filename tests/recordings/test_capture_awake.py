"""A process that stood still: when it wakes, others may carry its calls and may have counted its journals, and it cannot know."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from calls.media import clock
from calls.media.native import build
from calls.media.orders import CallView
from recordings import capture as recording
from recordings import storage
from recordings.capture.awake import FORFEIT
from recordings.models import Artefact
from tenants import scope
from tests.recordings.sittings import made
from tests.recordings.studio import MIC, Studio, aside

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)
AWAY = FORFEIT + 1  # seconds


@pytest_asyncio.fixture(params=["python", "native"])
async def studio(request: pytest.FixtureRequest, transactional_db: None, cast: Any) -> AsyncIterator[Studio]:
    assert build.ensure() == ""
    opened = await Studio(await aside(made, cast), form=request.param).open()
    yield opened
    await opened.close()


async def begun(studio: Studio) -> bytes:
    """Gail's voice is recorded, some of it waits to be stored, and from now on no answer arrives by itself. What the journal holds."""
    await studio.capturing(*MIC)
    studio.deaf = True
    return on_the_disk(studio)


def on_the_disk(studio: Studio) -> bytes:
    """The first journal as it is now."""
    with scope.entered(studio.sitting.cast.acme):
        name = Artefact.objects.order_by("epochs__number").values_list("object_name", flat=True)[0]
    with storage.store().open(name) as file:
        return file.read()


def read_now(studio: Studio) -> CallView:
    """What the database says, read at this moment."""
    now = clock.now() + studio.ahead
    return replace(studio.last_view(), read_at=now, held_as_of=now, lease_until=now + FORFEIT)


def left_to_the_sweep(studio: Studio) -> bool:
    """Nobody was asked to close the stretch, no key is there to write on with, and the stretch is open in the database."""
    first = studio.epochs()[0]
    return studio.asked(recording.CloseEpoch) == [] and first.closed_at is None and studio.stored(first).end is None


async def test_whoever_wakes_writes_nothing_more_not_even_an_end(studio: Studio) -> None:
    before = await begun(studio)

    studio.ahead = AWAY
    studio.capture.tick()
    studio.capture.stop("moved")

    assert on_the_disk(studio) == before
    assert left_to_the_sweep(studio)


async def test_packets_that_waited_are_not_stored_although_they_are_the_first_to_have_their_turn(studio: Studio) -> None:
    """They arrive before the stand-still, and more than a second after what waits in the recorder, which they would push to the disk."""
    before = await begun(studio)
    studio.peers["gail"].send("mic", studio.serial + 1)
    studio.edge.path.take_up()
    time.sleep(1.2)  # the loop has no turn, so that the recorder has none either
    before = on_the_disk(studio)
    studio.peers["gail"].send("mic", studio.serial + 2)
    time.sleep(0.2)

    studio.ahead = AWAY
    studio.edge.path.woken()

    assert on_the_disk(studio) == before
    studio.capture.tick()
    assert on_the_disk(studio) == before
    assert left_to_the_sweep(studio)


async def test_a_reading_that_arrives_before_capture_has_noticed_does_not_save_a_journal(studio: Studio) -> None:
    """The database's thread was faster than the loop: what it read is new, and says nothing of the time between."""
    before = await begun(studio)

    studio.ahead = AWAY
    studio.tell(read_now(studio))
    await studio.until(lambda: len(studio.asked(recording.OpenEpoch)) == 1, MIC)
    studio.capture.stop("moved")

    assert on_the_disk(studio) == before
    assert left_to_the_sweep(studio)


async def test_a_reading_from_before_confirms_nothing_and_one_from_after_begins_a_new_part(studio: Studio) -> None:
    await begun(studio)
    old = read_now(studio)

    studio.ahead = AWAY
    studio.tell(old)
    studio.capture.tick()
    assert len(studio.asked(recording.OpenEpoch)) == 1

    studio.tell(read_now(studio))
    assert len(studio.asked(recording.OpenEpoch)) == 2
    assert left_to_the_sweep(studio)


async def test_a_key_that_was_asked_for_before_is_not_taken_for_the_one_of_the_new_part(studio: Studio) -> None:
    """Both were asked for under the same decision; the first arrives when the second is waited for."""
    studio.withheld = recording.EpochOpened
    await aside(studio.sitting.answer, "gail", "record-voice")
    await aside(studio.sitting.start)
    await studio.peers["gail"].publish("mic")
    await studio.until(lambda: len(studio.waiting) == 1, MIC)
    studio.deaf = True
    studio.ahead = AWAY
    studio.capture.tick()
    studio.tell(read_now(studio))
    await studio.until(lambda: len(studio.waiting) == 2, MIC)
    first, second = studio.waiting

    studio.tell(first)
    assert [order.epoch_id for order in studio.asked(recording.CloseEpoch)] == [first.epoch_id]
    assert first.object_name not in set(storage.store().names())

    studio.tell(read_now(studio))
    studio.tell(second)
    assert len(studio.asked(recording.CloseEpoch)) == 1
    assert second.object_name in set(storage.store().names())
