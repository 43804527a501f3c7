"""Made packets: what a browser sends, its clocks, and the way to the relay. Times are microseconds."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from recordings import depacketise
from recordings.depacketise import Frame
from recordings.journal import Item, clock_pair

VIDEO, SOUND = 90_000, 48_000  # ticks per second
PICTURE_US, SOUND_US = 33_333, 20_000
SSRC = 0x5353_5243
HERE = 10**9  # recording time far from every other number
EVER = (0, 10**12)
TEMPORAL = ((0, False), (2, True), (1, True), (2, False))  # the layers of four pictures in a row, and which need only the lowest


def rtp(number: int, timestamp: int, payload: bytes, *, marker: bool = False, ssrc: int = SSRC) -> bytes:
    """One packet (RFC 3550 section 5.1); both numbers wrap."""
    second = 0x60 | (0x80 if marker else 0)
    return bytes([0x80, second]) + (number & 0xFFFF).to_bytes(2) + (timestamp & 0xFFFFFFFF).to_bytes(4) + ssrc.to_bytes(4) + payload


def descriptor(
    *,
    begins: bool,
    picture: int = 0,
    bits: int = 0,
    layer: int | None = None,
    temporal: bool = False,
    key_index: bool = False,
    place: int = 0x41,
) -> bytes:
    """A VP8 payload descriptor (RFC 7741 section 4.2) with just these optional parts; `place` is its last octet: temporal layer, sync, key index."""
    flags = (0x80 if bits else 0) | (0x40 if layer is not None else 0) | (0x20 if temporal else 0) | (0x10 if key_index else 0)
    found = bytes([(0x80 if flags else 0) | (0x10 if begins else 0)])
    if flags:
        found += bytes([flags])
    if bits:
        found += bytes([picture & 0x7F]) if bits == 7 else (0x8000 | picture & 0x7FFF).to_bytes(2)
    if layer is not None:
        found += bytes([layer])
    return found + (bytes([place]) if temporal or key_index else b"")


def picture(number: int, *, key: bool, size: int = 40) -> bytes:
    """A VP8 frame as far as its head goes (RFC 6386 section 9.1): 320x180, an empty first partition; it ends with its number."""
    head = b"\x10\x00\x00\x9d\x01\x2a" + (320).to_bytes(2, "little") + (180).to_bytes(2, "little") if key else b"\x11\x00\x00"
    return head.ljust(size - 4, b"\xaa") + number.to_bytes(4)


@dataclass(frozen=True)
class Sent:
    """A packet on its way: when it was captured and sent, and the number of its frame."""

    raw: bytes
    at_us: int
    frame: int


@dataclass
class Camera:
    """Packetises pictures as a browser does. `bits`: the width of the picture number, 0 for none; `layers`: in three temporal layers."""

    number: int = 1000
    timestamp: int = 5000
    bits: int = 15
    picture: int = 100
    payload: int = 1100
    frame: int = 0
    layers: bool = False

    def send(self, data: bytes, at_us: int) -> list[Sent]:
        """The packets of one picture that was captured at `at_us`."""
        found = []
        temporal, sync = TEMPORAL[self.frame % len(TEMPORAL)]
        layered = {"layer": self.frame // len(TEMPORAL) & 0xFF, "temporal": True, "place": temporal << 6 | sync << 5}
        said: dict[str, Any] = layered if self.layers else {}
        for start in range(0, len(data), self.payload):
            part, last = data[start : start + self.payload], start + self.payload >= len(data)
            head = descriptor(begins=start == 0, picture=self.picture, bits=self.bits, **said)
            found.append(Sent(rtp(self.number, self.timestamp + ticks(at_us, VIDEO), head + part, marker=last), at_us, self.frame))
            self.number += 1
        self.picture += 1
        self.frame += 1
        return found

    def pictures(self, count: int, *, key_every: int = 10, at_us: int = HERE, packets: int = 1) -> list[Sent]:
        """So many pictures, one every 33 ms."""
        found: list[Sent] = []
        for index in range(count):
            data = picture(self.frame, key=index % key_every == 0, size=self.payload * (packets - 1) + 40)
            found += self.send(data, at_us + index * PICTURE_US)
        return found


@dataclass
class Microphone:
    """Sends Opus packets of 20 ms; each names itself, so that a test can tell them apart."""

    number: int = 2000
    timestamp: int = 7000
    frame: int = 0

    def send(self, data: bytes, at_us: int) -> list[Sent]:
        """One packet that was captured at `at_us`."""
        found = Sent(rtp(self.number, self.timestamp + ticks(at_us, SOUND), data), at_us, self.frame)
        self.number += 1
        self.frame += 1
        return [found]

    def sounds(self, count: int, *, at_us: int = HERE) -> list[Sent]:
        """So many packets, one every 20 ms."""
        found: list[Sent] = []
        for index in range(count):
            found += self.send(b"\x78" + self.frame.to_bytes(4), at_us + index * SOUND_US)
        return found


@dataclass(frozen=True)
class PublisherClock:
    """What a publisher's own clock shows at time 0 of the recording."""

    ntp_us: int = 3_900_000_000_000_000  # in August 2023

    def report(self, of: Camera | Microphone, at_us: int, *, arrives_after: int = 20_000, ntp_wrong_us: int = 0, rtp_wrong_us: int = 0) -> Item:
        """A sender report about this moment of one source; the last two say by how much it lies."""
        rate = VIDEO if isinstance(of, Camera) else SOUND
        ntp = (self.ntp_us + at_us + ntp_wrong_us << 32) // 1_000_000 & (1 << 64) - 1
        return Item(at_us + arrives_after, b"S", clock_pair(ntp, (of.timestamp + ticks(at_us + rtp_wrong_us, rate)) & 0xFFFFFFFF))

    def reports(self, of: Camera | Microphone, first_us: int, last_us: int, every_us: int = 1_000_000) -> list[Item]:
        """Reports at equal distances."""
        return [self.report(of, at_us) for at_us in range(first_us, last_us, every_us)]


def ticks(time_us: int, rate: int) -> int:
    return time_us * rate // 1_000_000


def arriving(sent: Iterable[Sent], delays: Iterable[int] | int) -> list[Item]:
    """Each packet after its delay, in order of arrival."""
    every = list(sent)
    waits = [delays] * len(every) if isinstance(delays, int) else list(delays)
    items = [Item(one.at_us + wait, b"P", one.raw) for one, wait in zip(every, waits, strict=True)]
    return sorted(items, key=lambda item: item.arrival_us)


def together(*journals: Iterable[Item]) -> list[Item]:
    """All these items in order of arrival."""
    return sorted((item for journal in journals for item in journal), key=lambda item: item.arrival_us)


def jitter(count: int, seed: int, *, least: int = 20_000, most: int = 150_000) -> list[int]:
    """So many delays; the first is the least, so that the smallest way is known."""
    dice = random.Random(seed)
    return [least] + [dice.randint(least, most) for _ in range(count - 1)]


def decodable(sent: Sequence[Sent], lost: Iterable[int], keys: set[int]) -> list[int]:
    """By the definition: the frames of which no packet is lost, and that follow a key frame without one missing between."""
    broken = {sent[index].frame for index in lost}
    found, chain = [], False
    for frame in sorted({one.frame for one in sent}):
        chain = frame not in broken and (chain or frame in keys)
        if chain:
            found.append(frame)
    return found


def decodable_of_layers(lost: set[int], count: int, key_every: int) -> list[int]:
    """The same for pictures in temporal layers: of four, each needs the first, and the fourth all of them."""
    found: list[int] = []
    base = False
    for first in range(0, count, len(TEMPORAL)):
        base = first not in lost and (base or first % key_every == 0)
        there = [first + at for at in range(len(TEMPORAL)) if base and first + at not in lost]
        found += there if len(there) == len(TEMPORAL) else [frame for frame in there if frame % len(TEMPORAL) < len(TEMPORAL) - 1]
    return found


def depacketised(items: Iterable[Item], source: str = "cam", offset_us: int | None = None, **kwargs: Any) -> list[Frame]:
    """What is read of these packets of one source, by default of all of them and without the publisher's clock."""
    kept = list(items)
    return list(depacketise.frames(lambda: kept, source, **{"offset_us": offset_us, "within": EVER, **kwargs}))


def numbers(frames: Iterable[Frame]) -> list[int]:
    """Which of the made pictures or sounds these are."""
    return [int.from_bytes(frame.data[-4:]) for frame in frames]
