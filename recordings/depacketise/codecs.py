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
    """A VP8 payload descriptor (RFC 7741 section 4.2): does it begin a picture, its number, and how many bits that number has (0: none).

    `base` counts the pictures of the lowest temporal layer (None: not said), `layer` is the picture's own, and one that is a `sync` needs
    nothing but the last picture of the lowest.
    """

    begins: bool
    picture: int
    bits: int
    length: int
    base: int | None = None
    layer: int = 0
    sync: bool = False

    def continues(self, last: Descriptor) -> bool:
        """Is no picture of the lowest layer missing between that one and this, by their counts?"""
        if self.base is None or last.base is None:
            return False
        return not (self.base - last.base - (self.layer == 0)) & 0xFF


def descriptor(payload: bytes) -> Descriptor | None:
    """Read the start of a payload; None when it is cut short or nothing follows it."""
    at, picture, bits = 1, 0, 0
    base, layer, sync = None, 0, False
    if len(payload) > 1 and payload[0] & 0x80:
        flags, at = payload[1], 2
        if flags & 0x80 and len(payload) > at:
            bits = 15 if payload[at] & 0x80 else 7
            picture = int.from_bytes(payload[at : at + 2]) & 0x7FFF if bits == 15 else payload[at]
            at += 2 if bits == 15 else 1
        if flags & 0x40 and len(payload) > at:
            base, at = payload[at], at + 1
        if flags & 0x30 and len(payload) > at:
            layer, sync, at = (payload[at] >> 6 if flags & 0x20 else 0), bool(payload[at] & 0x20), at + 1
    if len(payload) <= at:
        return None
    return Descriptor(payload[0] & 0x17 == 0x10, picture, bits, at, base, layer, sync)


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


class References:
    """Which pictures can be decoded after a loss, by the temporal layers that they are of (RFC 7741 section 4.2).

    A picture may need any before it of its own layer and of lower ones. So a loss breaks the layers that it may have been of, until a key
    frame; a broken layer above the lowest also goes on with a sync. Where no layers are said, everything is of the lowest.
    """

    def __init__(self) -> None:
        self._last: Descriptor | None = None  # of the last picture that can be decoded; None: a key frame must come
        self._broken = 0  # a bit for each layer
        self._missing: int | None = None  # packets since the last picture, where something is lost

    def follows(self, found: Descriptor, missing: int) -> bool:
        """Is this the very next picture? Numbers also go to padding, which no journal holds; the picture's own number tells.

        That number wraps: so many pictures cannot have been lost in fewer packets.
        """
        last = self._last
        if not missing or last is None:
            return True
        bits = min(found.bits, last.bits)
        return missing < 1 << bits and (found.picture - last.picture - 1) & ((1 << bits) - 1) == 0

    def lose(self, missing: int) -> None:
        """Packets of unknown pictures are missing, or one picture is not whole."""
        self._missing = missing + (self._missing or 0)

    def take(self, found: Descriptor, key: bool) -> bool:
        """The next whole picture: can it be decoded?"""
        if self._missing is not None and not key:
            self._break(found, self._missing)
        self._missing = None
        if key:
            self._broken = 0
        elif self._last is None:
            return False
        elif found.layer and found.sync:
            self._broken &= ~(1 << found.layer)
        elif self._broken & ((2 << found.layer) - 1):
            return False
        self._last = found
        return True

    def _break(self, found: Descriptor, missing: int) -> None:
        """What is lost was of higher layers where the count of the lowest goes on; that wraps after 256, which fewer packets cannot have held."""
        last = self._last
        if last is not None and missing < 256 and found.continues(last):
            self._broken = ~1
        else:
            self._last = None


class Pictures:
    """VP8 packets, in order, to pictures that can be decoded one after another."""

    def __init__(self, tally: Counter[str]) -> None:
        self._tally = tally
        self._parts: list[bytes] = []
        self._packets: list[Arrived] = []
        self._size = 0
        self._number: int | None = None  # of the last packet that belongs to a picture
        self._begin: Descriptor | None = None  # of the picture being put together
        self._references = References()

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
            elif self._packets or not self._references.follows(found, missing):
                self._lose(missing)
            self._begin = found
        elif missing or not goes_on:
            self._lose(missing)
            return
        self._packets.append(packet)
        self._parts.append(packet.payload[found.length :])
        self._size += len(packet.payload)
        if packet.marker:
            yield from self._whole()
        elif self._size > MOST_BYTES:
            self._lose(0)

    def _lose(self, missing: int) -> None:
        """Something is missing, and what there is of a picture is of no use: its packets are missing too."""
        if self._packets:
            self._tally["incomplete"] += 1
        self._references.lose(missing + len(self._packets))
        self._clear()

    def _clear(self) -> None:
        self._parts, self._packets, self._size = [], [], 0

    def _whole(self) -> Iterator[Encoded]:
        packets, data, begin = self._packets, b"".join(self._parts), self._begin
        key = picture_kind(data)
        if key is None or begin is None:
            self._tally["invalid"] += 1
            self._references.lose(len(packets))
            self._clear()
            return
        self._clear()
        if not self._references.take(begin, key):
            self._tally["undecodable"] += 1
            return
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
