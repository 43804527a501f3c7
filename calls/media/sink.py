"""The small interface of anything that receives media, and the packet that it receives. Plain values, no Django, no library."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Protocol, runtime_checkable

_HEAD = Struct("!BBHLL")
_BLOCK = Struct("!HH")
_USUAL = Struct("!BBHLLHH")  # head and extension head, as browsers send them
_ONE_BYTE_PROFILE = 0xBEDE
_TWO_BYTE_PROFILE = 0x1000


@dataclass(slots=True)
class Packet:
    """One RTP packet in clear (RFC 3550 section 5.1). `payload` is empty when the packet was padding only.

    `extensions` maps the id that the publisher's offer gave to a header extension to its value (RFC 8285).
    """

    payload_type: int
    marker: bool
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes
    extensions: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes) -> Packet:
        """Read one packet; raises ValueError on anything that RFC 3550 or RFC 8285 does not allow."""
        if len(raw) >= _USUAL.size and raw[0] == 0x90:
            _, second, sequence_number, timestamp, ssrc, profile, words = _USUAL.unpack_from(raw)
            if profile == _ONE_BYTE_PROFILE:
                start = _USUAL.size + 4 * words
                found = _short_elements(raw, _USUAL.size, start)
                return cls(second & 0x7F, second > 0x7F, sequence_number, timestamp, ssrc, raw[start:], found)
        if len(raw) < _HEAD.size:
            raise ValueError("shorter than an RTP header")
        first, second, sequence_number, timestamp, ssrc = _HEAD.unpack_from(raw)
        if first >> 6 != 2:
            raise ValueError("not RTP version 2")
        start, extensions = header_end(raw)
        end = len(raw)
        if first & 0x20:
            padding = raw[-1]
            if not 0 < padding <= end - start:
                raise ValueError("padding does not fit")
            end -= padding
        return cls(second & 0x7F, second > 0x7F, sequence_number, timestamp, ssrc, raw[start:end], extensions)


def header_end(raw: bytes) -> tuple[int, dict[int, bytes]]:
    """Where the payload starts, and the header extensions. Works on sealed packets too: SRTP leaves the header in clear."""
    if len(raw) < _HEAD.size:
        raise ValueError("shorter than an RTP header")
    start = _HEAD.size + 4 * (raw[0] & 0x0F)
    if not raw[0] & 0x10:
        if start > len(raw):
            raise ValueError("sources do not fit")
        return start, {}
    if start + 4 > len(raw):
        raise ValueError("extension head does not fit")
    profile, words = _BLOCK.unpack_from(raw, start)
    end = start + 4 + 4 * words
    if end > len(raw):
        raise ValueError("extensions do not fit")
    if profile == _ONE_BYTE_PROFILE:
        return end, _short_elements(raw, start + 4, end)
    return end, _long_elements(raw[start + 4 : end]) if profile & 0xFFF0 == _TWO_BYTE_PROFILE else {}


def _short_elements(raw: bytes, position: int, end: int) -> dict[int, bytes]:
    """RFC 8285 section 4.2."""
    if end > len(raw):
        raise ValueError("extensions do not fit")
    found: dict[int, bytes] = {}
    while position < end:
        head = raw[position]
        position += 1
        if head == 0:
            continue
        key, past = head >> 4, position + (head & 0x0F) + 1
        if key == 15:
            break
        if past > end:
            raise ValueError("extension element does not fit")
        found[key] = raw[position:past]
        position = past
    return found


def _long_elements(block: bytes) -> dict[int, bytes]:
    """RFC 8285 section 4.3."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(block):
        head = block[position]
        if head == 0:
            position += 1
            continue
        if position + 2 > len(block):
            raise ValueError("extension element does not fit")
        key, length, position = head, block[position + 1], position + 2
        if position + length > len(block):
            raise ValueError("extension element does not fit")
        found[key] = block[position : position + length]
        position += length
    return found


class Sink(Protocol):
    """Whoever receives one track: the recorder. Called in the packet path: must return at once and never await.

    A sink that raises is taken off its track and told `closed("faulty")`; the call goes on.
    """

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        """One packet as the publisher sent it, in order of arrival, padding-only ones included. `arrived`: monotonic seconds."""

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        """The publisher's own pair of clocks: 64-bit NTP time and the RTP time of the same moment (RFC 3550 section 6.4.1)."""

    def closed(self, reason: str) -> None:
        """The track is over, by name: `ended`, `left`, `faulty`. Nothing follows."""


@runtime_checkable
class BareSink(Protocol):
    """A sink that needs no more of a packet than its octets: where a form of the path has not read it anyway, this is called instead of `packet`."""

    def heard(self, raw: bytes, start: int, length: int, arrived: float) -> None:
        """As `packet`. The payload of `raw` begins at `start` and has `length` octets, which are 0 where it was padding only."""


def starts_key_frame(payload: bytes) -> bool:
    """Is this the first packet of a VP8 key frame? Reads the payload descriptor and one bit (RFC 7741 sections 4.2 and 4.3)."""
    if not payload or payload[0] & 0x17 != 0x10:
        return False
    at = 1
    if payload[0] & 0x80:
        if len(payload) < 2:
            return False
        flags, at = payload[1], 2
        if flags & 0x80:
            at += 2 if len(payload) > at and payload[at] & 0x80 else 1
        at += bool(flags & 0x40) + bool(flags & 0x30)
    return len(payload) > at and not payload[at] & 0x01
