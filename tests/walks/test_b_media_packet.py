"""Path (b): a media packet, from its publisher's socket to a listener and into a journal, on paired transports.

Edge, DTLS-SRTP, room, forwarding, capture and journal are the real ones on loopback; only the browsers are left out, so that every
packet has a number and can be held against what became of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from calls.media.sink import Packet
from recordings.models import Recording
from tests.recordings.sittings import made
from tests.recordings.studio import VOICE_AND_CAMERA, Studio, aside, publish

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)

COUNT = 50  # packets of each
CAMERAS = (("gail", "cam"), ("gus", "cam"))


@dataclass
class Scene:
    """Gail agreed to voice and camera, Gus declined both; the call is recorded and each sees the other."""

    studio: Studio
    recording: Recording

    def received(self, sender: str, listener: str) -> dict[int, Packet]:
        """What one of them got of the other's camera, by number, in the order in which it came."""
        return self.studio.peers[listener].got.get((str(self.studio.sitting.who[sender].pk), "cam"), {})

    async def sent(self, *senders: str) -> range:
        """Numbered pictures of these in turn, until the other has every one; returns their numbers."""
        first = self.studio.serial + 1
        await self.studio.until(lambda: self.studio.serial >= first + COUNT * len(senders), *[(name, "cam") for name in senders])
        numbers = range(first, self.studio.serial + 1)
        await self.studio.until(lambda: {*numbers} <= {*self.received("gail", "gus"), *self.received("gus", "gail")})
        return numbers

    async def kept(self) -> dict[int, bytes]:
        """Everything that the recording holds when it has been stopped, by number."""
        await aside(self.studio.stop_recording, self.recording)
        epochs = await self.studio.closed(2)  # voice and camera
        return {number: raw for epoch in epochs for number, raw in zip(self.studio.serials(epoch), self.studio.packets(epoch), strict=True)}


@pytest_asyncio.fixture
async def scene(transactional_db: None, cast: Any) -> AsyncIterator[Scene]:
    studio = await Studio(await aside(made, cast)).open()
    await aside(studio.sitting.answer, "gail", *VOICE_AND_CAMERA)
    await aside(studio.sitting.answer, "gus", *VOICE_AND_CAMERA, granted=False)
    await publish(studio)
    ready = Scene(studio, await aside(studio.sitting.start))
    await studio.until(lambda: bool(ready.received("gail", "gus") and ready.received("gus", "gail")), *CAMERAS)
    await studio.until(lambda: studio.mark("gail", "cam") == "captured", *CAMERAS)
    yield ready
    await studio.close()


async def test_a_packet_of_who_agreed_reaches_the_listener_in_order_and_the_journal_bit_by_bit(scene: Scene) -> None:
    numbers = await scene.sent("gail")
    got, kept = scene.received("gail", "gus"), await scene.kept()

    assert [number for number in got if number in numbers] == [*numbers]
    assert {*numbers} <= {*kept}
    assert {*kept.values()} <= {*scene.studio.peers["gail"].sending["cam"].sent.values()}
    for number in numbers:
        original = Packet.parse(kept[number])
        assert (got[number].payload, got[number].timestamp, got[number].marker) == (original.payload, original.timestamp, original.marker)
        assert got[number].ssrc != original.ssrc


async def test_a_packet_of_who_declined_reaches_the_listener_and_no_journal(scene: Scene) -> None:
    numbers = await scene.sent("gail", "gus")
    got, kept = scene.received("gus", "gail"), await scene.kept()

    assert len({*numbers} & {*got}) >= COUNT
    assert not {*got} & {*kept}
    assert not {*scene.studio.peers["gus"].sending["cam"].sent.values()} & {*kept.values()}


async def test_a_packet_asks_no_database(scene: Scene) -> None:
    """The database does not answer; whoever talks is heard and seen as before."""
    over = scene.studio.hang()
    numbers = await scene.sent("gail", "gus")
    over.set()

    assert {*numbers} <= {*scene.received("gail", "gus"), *scene.received("gus", "gail")}
