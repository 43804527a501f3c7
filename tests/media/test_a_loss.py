"""A call between real browsers over networks that lose packets each way: what is lost is asked for again, and the call goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from calls.media.clock import now
from calls.media.room import Track
from calls.media.sink import Packet
from recordings.depacketise import frames
from recordings.journal import Item, Reader
from recordings.recorder import Recorder
from recordings.sealing import Context, new_key

from .pages import Hall, PageOf, hall, until
from .relays import Way

pytestmark = [pytest.mark.browser]

SMALL = (320, 180)  # so small a camera is sent in one layer
WHOLE = 1280  # pixels, the width of the best layer of a large one
PICTURES, SOUNDS = 150, 300  # of each so many more show that the call goes on
LOST_UNREPAIRED = 0.0975  # of what one says to another when each way loses 5 of 100 and nothing is asked for again
GROWN = 600_000  # bit/s of the best layer, half of what it has in the end
UNSETTLED = 50  # packets of sound, a second
MOST_LOST = 0.03  # of sound, after repair; what has just got lost is still asked for


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Hall]:
    async with hall() as one:
        yield one


async def lossy(opened: Hall, participant: str, loss: float, seed: int) -> PageOf:
    """A page whose network loses this share of all datagrams each way."""
    return await opened.join(participant, up=Way(loss, seed), down=Way(loss, seed + 1))


@dataclass(frozen=True)
class Received:
    """What a page has received of somebody: pictures and sound, as getStats says it."""

    seen: dict[str, Any]
    heard: dict[str, Any]

    @classmethod
    async def of(cls, page: PageOf, who: str) -> Received:
        return cls(await page.received(who), await page.received(who, "mic"))

    @property
    def pictures(self) -> int:
        return int(self.seen.get("framesDecoded", 0))

    @property
    def sounds(self) -> int:
        return int(self.heard.get("packetsReceived", 0))

    @property
    def asked_and_answered(self) -> bool:
        return bool(self.seen.get("nackCount") and self.seen.get("retransmittedPacketsReceived") and self.heard.get("nackCount"))

    def concealed_since(self, before: Received) -> float:
        """The share of what was played that no packet held."""
        concealed, played = (self.heard[name] - before.heard[name] for name in ("concealedSamples", "totalSamplesReceived"))
        return float(concealed / played)


async def goes_on(page: PageOf, of: str) -> tuple[Received, Received]:
    """So many more pictures and sounds of somebody come to this page, lost ones on request; what it had before and has then."""
    before = await Received.of(page, of)

    async def found() -> Received | None:
        now = await Received.of(page, of)
        return now if now.pictures >= before.pictures + PICTURES and now.sounds >= before.sounds + SOUNDS and now.asked_and_answered else None

    return before, await until(f"{page.participant} goes on seeing and hearing {of}, and asks for what it lost", found)


@dataclass
class Tape:
    """A recorder on one track, and its journal."""

    recorder: Recorder
    path: Path
    key: bytes
    context: Context

    def finish(self) -> Reader:
        self.recorder.stop("stopped", now())
        return Reader(self.path.open("rb"), self.key, self.context)


@asynccontextmanager
async def recorded(opened: Hall, track: Track, folder: Path) -> AsyncIterator[Tape]:
    """A recorder on this track meanwhile, turned as the worker turns it."""
    context, key, path = Context(uuid4(), uuid4(), track.participant, track.source, uuid4(), bytes(32)), new_key(), folder / track.source
    recorder = Recorder(path.open("w+b", buffering=0), key, context, started=now(), ask_for_key_frame=track.want_key_frame)

    async def turn() -> None:
        while True:
            recorder.tick(now())
            await asyncio.sleep(0.1)

    turning = asyncio.create_task(turn())
    opened.room.tap(track.participant, track.source, recorder)
    try:
        yield Tape(recorder, path, key, context)
    finally:
        turning.cancel()


def track_of(page: PageOf, source: str) -> Track:
    found = page.room.track(page.participant, source)
    assert found is not None
    return found


def missing(reader: Reader) -> int:
    """Numbers without a packet, but for the last, which could still have come."""
    numbers = [Packet.parse(item.data).sequence_number for item in reader.items() if item.kind == b"P"]
    settled = sorted({(number - numbers[0] + 0x8000) & 0xFFFF for number in numbers})[:-UNSETTLED]
    return settled[-1] - settled[0] + 1 - len(settled)


def left_out(reader: Reader, source: str) -> Counter[str]:
    """What playback leaves out of this journal, by reason."""
    items: list[Item] = list(reader.items())
    tally: Counter[str] = Counter()
    shown = list(frames(lambda: items, source, offset_us=None, within=(0, items[-1].arrival_us), tally=tally))
    assert shown
    return tally


async def test_with_5_percent_lost_each_way_a_call_stays_fluent_and_its_recording_lacks_nothing(opened: Hall, tmp_path: Path) -> None:
    hana, gail = await lossy(opened, "hana", 0.05, 1), await lossy(opened, "gail", 0.05, 11)
    for page in (hana, gail):
        await page.film(*SMALL)
        await page.speak()
    await goes_on(gail, "hana")

    async with recorded(opened, track_of(hana, "cam"), tmp_path) as film, recorded(opened, track_of(hana, "mic"), tmp_path) as sound:
        went_on = [await goes_on(gail, "hana"), await goes_on(hana, "gail")]

    for page in (hana, gail):
        assert page.relay is not None
        assert page.relay.up.lost > 0
        assert page.relay.down.lost > 0
    for before, after in went_on:
        assert after.heard["packetsLost"] <= MOST_LOST * after.sounds
        assert after.concealed_since(before) < LOST_UNREPAIRED
    assert opened.edge.counters["resent"] > 0
    sent = await hana.sent()
    assert {one.get("scalabilityMode", "L1T1") for one in sent if one["kind"] == "video" and one["packetsSent"]} == {"L1T1"}
    assert all(one["rtxSsrc"] for one in sent if one["kind"] == "video" and one["packetsSent"])
    assert "rtx/90000" in await hana.page.evaluate("pub.pc.remoteDescription.sdp")
    assert {one["kind"] for one in sent if one.get("nackCount") and one.get("retransmittedPacketsSent")} == {"audio", "video"}
    pictures, sounds = film.finish(), sound.finish()
    assert pictures.complete
    assert sounds.complete
    assert left_out(pictures, "cam") == {}, "every picture that was sent can be played"
    assert missing(sounds) == 0


async def test_with_15_percent_lost_on_the_way_to_a_listener_voices_stay_and_a_lower_layer_comes(opened: Hall) -> None:
    hana, gail = await opened.join("hana"), await lossy(opened, "gail", 0.15, 21)
    await hana.film()
    await hana.speak()

    async def grown() -> bool:
        best = track_of(hana, "cam").meter.arriving[-1]
        return best is not None and best > GROWN

    await until("Hana's best layer is there, so that a lower one is a choice", grown)
    gail.shows(("hana", 720))

    async def lower() -> bool:
        return bool((await gail.received("hana")).get("frameWidth", WHOLE) < WHOLE)

    await until("Gail is sent a lower layer", lower)
    before, after = await goes_on(gail, "hana")
    assert after.heard["packetsLost"] <= MOST_LOST * after.sounds
    assert after.concealed_since(before) < LOST_UNREPAIRED
    assert await lower()
