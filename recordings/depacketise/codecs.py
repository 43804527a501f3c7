"""Payloads to frames: VP8 (RFC 7741) put together from its packets, Opus (RFC 7587) as it is. Read defensively, never decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from .order import Arrived, Numbered

MOST_BYTES = 8 * 1024 * 1024  # of one picture

_KEY_START = b"\x9d\x01\x2a"
_OPUS_MOST = 1275  # bytes of one frame (RFC 6716 section 3.2.1)
_OPUS_LONGEST = 48 * 120  # samples of one packet at 48 kHz
_SILK = [480, 960, 1920, 2880]
_HYBRID = [480, 960, 480, 960]
_CELT = [120, 240, 480, 960]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A whole frame, the first of its packets by number, and the first arrival among them."""

    first: Arrived
    arrival_us: int
    key: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A VP8 payload descriptor (RFC 7741 section 4.2): does it begin a picture, its number, and how many bits that number has (0: none)."""

    begins: bool
    picture: int
    bits: int
    length: int


def descriptor(payload: bytes) -> Descriptor | None:
    """Read the start of a payload; None when it is cut short or nothing follows it."""
    at, picture, bits = 1, 0, 0
    if len(payload) > 1 and payload[0] & 0x80:
        flags, at = payload[1], 2
        if flags & 0x80 and len(payload) > at:
            bits = 15 if payload[at] & 0x80 else 7
            picture = int.from_bytes(payload[at : at + 2]) & 0x7FFF if bits == 15 else payload[at]
            at += 2 if bits == 15 else 1
        at += bool(flags & 0x40) + bool(flags & 0x30)  # TL0PICIDX; TID, Y and KEYIDX share a byte
    if len(payload) <= at:
        return None
    return Descriptor(payload[0] & 0x17 == 0x10, picture, bits, at)


def picture_kind(data: bytes) -> bool | None:
    """Is a whole VP8 picture a key frame? None when its head cannot be right (RFC 6386 section 9.1)."""
    if len(data) < 3:
        return None
    key = not data[0] & 1
    head = 10 if key else 3
    if head + (int.from_bytes(data[:3], "little") >> 5) > len(data):
        return None  # the first partition does not fit
    if key and (data[3:6] != _KEY_START or not data[6] | data[7] & 0x3F or not data[8] | data[9] & 0x3F):
        return None
    return key


class Pictures:
    """VP8 packets, in order, to pictures that can be decoded one after another."""

    def __init__(self, tally: Counter[str]) -> None:
        self._tally = tally
        self._parts: list[bytes] = []
        self._packets: list[Arrived] = []
        self._size = 0
        self._number: int | None = None  # of the last packet that belongs to a picture
        self._begin: Descriptor | None = None  # of the picture being put together
        self._last: Descriptor | None = None  # of the last picture that was given out; None after a loss: a key frame must come

    def add(self, numbered: Numbered) -> Iterator[Encoded]:
        """Take one packet; gives the pictures that it completes."""
        number, packet = numbered.number, numbered.packet
        found = descriptor(packet.payload)
        if found is None:
            self._tally["malformed"] += 1
            return  # its number is missing now
        missing = 0 if self._number is None else number - self._number - 1
        self._number = number
        goes_on = bool(self._packets) and self._packets[0].timestamp == packet.timestamp
        if found.begins and not goes_on:
            if self._packets and not missing:  # the marker is wanting, but all of it is here
                yield from self._whole()
            elif self._packets or not self._follows(found, missing):
                self._lose()
            self._begin = found
        elif missing or not goes_on:
            self._lose()
            return
        self._packets.append(packet)
        self._parts.append(packet.payload[found.length :])
        self._size += len(packet.payload)
        if packet.marker:
            yield from self._whole()
        elif self._size > MOST_BYTES:
            self._lose()

    def _follows(self, found: Descriptor, missing: int) -> bool:
        """Is this the very next picture? Numbers also go to padding, which no journal holds; the picture's own number tells.

        That number wraps: so many pictures cannot have been lost in fewer packets.
        """
        if not missing or self._last is None:
            return True
        bits = min(found.bits, self._last.bits)
        return missing < 1 << bits and (found.picture - self._last.picture - 1) & ((1 << bits) - 1) == 0

    def _lose(self) -> None:
        """Something is missing."""
        if self._packets:
            self._tally["incomplete"] += 1
        self._clear()
        self._last = None

    def _clear(self) -> None:
        self._parts, self._packets, self._size = [], [], 0

    def _whole(self) -> Iterator[Encoded]:
        packets, data = self._packets, b"".join(self._parts)
        self._clear()
        key = picture_kind(data)
        if key is None or (self._last is None and not key):
            self._tally["invalid" if key is None else "undecodable"] += 1
            self._last = None
            return
        self._last = self._begin
        yield Encoded(packets[0], min(packet.arrival_us for packet in packets), key, data)


class Sounds:
    """Opus packets, in order: each is a frame of its own, and a loss harms no other."""

    def __init__(self, tally: Counter[str]) -> None:
        self._tally = tally

    def add(self, numbered: Numbered) -> Iterator[Encoded]:
        """Take one packet and give it back when it is one."""
        packet = numbered.packet
        if is_opus(packet.payload):
            yield Encoded(packet, packet.arrival_us, True, packet.payload)
        else:
            self._tally["malformed"] += 1


def is_opus(packet: bytes) -> bool:
    """Is this a well-formed Opus packet (RFC 6716 section 3.4)?"""
    if not packet:
        return False
    code, body = packet[0] & 3, packet[1:]
    if code == 0:
        return len(body) <= _OPUS_MOST
    if code == 1:
        return len(body) % 2 == 0 and len(body) // 2 <= _OPUS_MOST
    if code == 2:
        first, at = _opus_length(body, 0)
        return 0 <= len(body) - at - first <= _OPUS_MOST and at > 0
    return _is_opus_of_many(packet[0] >> 3, body)


def _is_opus_of_many(configuration: int, body: bytes) -> bool:
    """Code 3 (RFC 6716 section 3.2.5): a count of frames, perhaps padding, equal or listed lengths."""
    if not body:
        return False
    samples = _SILK if configuration < 12 else _HYBRID if configuration < 16 else _CELT
    count, at, padding = body[0] & 0x3F, 1, 0
    if not 0 < count * samples[configuration & 3] <= _OPUS_LONGEST:
        return False
    more = bool(body[0] & 0x40)
    while more:
        if at >= len(body):
            return False
        more = body[at] == 255
        padding += 254 if more else body[at]
        at += 1
    end = len(body) - padding
    if not body[0] & 0x80:
        return end >= at and (end - at) % count == 0 and (end - at) // count <= _OPUS_MOST
    listed = 0
    for _ in range(count - 1):
        length, after = _opus_length(body[:end], at)
        if after == at:
            return False
        listed, at = listed + length, after
    return 0 <= end - at - listed <= _OPUS_MOST


def _opus_length(body: bytes, at: int) -> tuple[int, int]:
    """A length of one or two bytes and where it ends (RFC 6716 section 3.2.1); the same place when it is cut short."""
    if at >= len(body):
        return 0, at
    if body[at] < 252:
        return body[at], at + 1
    if at + 1 >= len(body):
        return 0, at
    return body[at + 1] * 4 + body[at], at + 2
