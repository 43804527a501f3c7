"""One listener's copy of a track, and one tap: how a packet looks there, and what is sent of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from struct import Struct

from .. import sdp
from ..congestion import Sent
from ..path import Copy
from ..peer import RtcpByePacket, RtcpSdesPacket, RtcpSenderInfo, RtcpSourceInfo, RtcpSrPacket
from ..sink import Packet, Sink
from . import vp8
from .course import Course, Stretch
from .history import Ids, Kept, LayerStream

TOKEN_US = 2_000  # one packet sent again: 500 a second
BURST_US = 1_200_000

_HEAD = Struct("!BBHLL")
_BLOCK = Struct("!HH")
_CNAME = 1


@dataclass(slots=True)
class Outlet:
    """The way to one listener. `rtp` returns False when it cannot take the packet now; `sent` counts transport-wide numbers.

    `gone` is told when the copy is taken away.
    """

    rtp: Callable[[bytes], bool]
    rtcp: Callable[[bytes], object]
    sent: Sent
    gone: Callable[[int], object]


class Outgoing:
    """One copy: its course, its own counts, and its budget of packets sent again."""

    def __init__(self, listener: str, outlet: Outlet, copy: Copy, kind: str, ids: Ids, target: int | None, now: int) -> None:
        mid = copy.mid.encode()
        self.listener, self.outlet, self.copy = listener, outlet, copy
        self.video = kind == "video"
        self.course = Course(target, self.video)
        self._ids, self._payload_type = ids, sdp.PAYLOAD_TYPES[kind]
        self._mid = bytes([0x10 | (len(mid) - 1)]) + mid
        self._numbered = self.video and copy.repair_ssrc is not None
        self.packets = self.octets = 0
        self._credit, self._credit_at = BURST_US, now
        self._repairs = 0

    def give(self, stream: LayerStream, kept: Kept, streams: tuple[LayerStream, ...], now: int) -> bool:
        """Send this packet if it is for this listener. False: the listener could not take it and waits for a key frame now."""
        placed = self.course.place(stream, kept, streams, now)
        if placed is None:
            return True
        stretch, begins = placed
        number, timestamp = kept.number + stretch.shift, (kept.packet.timestamp + stretch.timestamp) & 0xFFFFFFFF
        payload = _payload(kept.packet, stretch)
        data = self._dress(kept, number, timestamp, payload, now)
        self.course.passed(number, timestamp, payload, now)
        if not self.outlet.rtp(data):
            self.course.needs_key = self.video
            return not self.video
        self.packets += 1
        self.octets += len(payload)
        if begins or self.packets == 1:
            self.pass_report(stream)
        return True

    def _dress(self, kept: Kept, number: int, timestamp: int, payload: bytes, now: int) -> bytes:
        """The packet as this listener is to see it: new SSRC, payload type, number and extensions."""
        block = self._extensions(kept)
        first, padding = (0x90, b"") if payload else (0xB0, b"\x00\x00\x00\x04")
        if self._numbered:
            size = 16 + len(block) + len(payload) + len(padding)
            block = self._numbered_block(block, size, now)
        second = kept.packet.marker << 7 | self._payload_type
        head = _HEAD.pack(first, second, number & 0xFFFF, timestamp, self.copy.ssrc)
        return head + _BLOCK.pack(0xBEDE, len(block) // 4) + block + payload + padding

    def _extensions(self, kept: Kept) -> bytes:
        """The block; where numbers are counted, two zeros stand for the transport-wide one, right behind the mid."""
        packet, block = kept.packet, self._mid
        if self.video:
            block += b"\x51\x00\x00" if self._numbered else b"\x22" + kept.sent_at.to_bytes(3)
            turned = packet.extensions.get(self._ids.orientation) if self._ids.orientation else None
            block += b"\x40" + turned if turned and len(turned) == 1 else b""
        else:
            level = packet.extensions.get(self._ids.level) if self._ids.level else None
            block += b"\x30" + level if level and len(level) == 1 else b""
        return block + bytes(-len(block) % 4)

    def _numbered_block(self, block: bytes, size: int, now: int) -> bytes:
        at = len(self._mid) + 1
        return block[:at] + self.outlet.sent.number(size, now).to_bytes(2) + block[at + 2 :]

    # What was lost.
    def resend(self, number: int, streams: tuple[LayerStream, ...], now: int) -> bool | None:
        """Send what the listener knows under this number again. None: there is nothing to send; False: the budget is spent."""
        found = self.course.back(number)
        if found is None:
            return None
        stretch, ours = found
        kept = streams[stretch.layer].kept(ours) if ours >= stretch.since else None
        if kept is None:
            return None
        if not self._may_send_again(now):
            return False
        long, timestamp = ours + stretch.shift, (kept.packet.timestamp + stretch.timestamp) & 0xFFFFFFFF
        payload = _payload(kept.packet, stretch)
        repaired = self._numbered and self.copy.repair_ssrc is not None
        data = self._repair(kept, long, timestamp, payload, now) if repaired else self._dress(kept, long, timestamp, payload, now)
        return True if self.outlet.rtp(data) else None

    def _may_send_again(self, now: int) -> bool:
        self._credit = min(BURST_US, self._credit + now - self._credit_at)
        self._credit_at = now
        if self._credit < TOKEN_US:
            return False
        self._credit -= TOKEN_US
        return True

    def _repair(self, kept: Kept, number: int, timestamp: int, payload: bytes, now: int) -> bytes:
        """RFC 4588: its own SSRC and sequence, the original number in front of the payload."""
        self._repairs += 1
        body = (number & 0xFFFF).to_bytes(2) + payload
        block = self._extensions(kept)
        block = self._numbered_block(block, 16 + len(block) + len(body), now)
        second = kept.packet.marker << 7 | sdp.REPAIR_PAYLOAD_TYPE
        head = _HEAD.pack(0x90, second, self._repairs & 0xFFFF, timestamp, self.copy.repair_ssrc)
        return head + _BLOCK.pack(0xBEDE, len(block) // 4) + block + body

    # Control.
    def pass_report(self, stream: LayerStream) -> None:
        """The publisher's last pair of clocks, under the listener's SSRC and timestamps, with what this listener was sent."""
        if stream.report is None or not self.packets or self.course.current != stream.index:
            return
        ntp, rtp = stream.report
        rtp = (rtp + self.course.stretches[-1].timestamp) & 0xFFFFFFFF
        counts = RtcpSenderInfo(ntp, rtp, self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF)
        name = RtcpSourceInfo(self.copy.ssrc, [(_CNAME, self.copy.cname.encode())])
        self.outlet.rtcp(bytes(RtcpSrPacket(self.copy.ssrc, counts)) + bytes(RtcpSdesPacket([name])))

    def say_goodbye(self) -> None:
        """Taken away: a BYE, where something was sent."""
        self.outlet.gone(self.copy.ssrc)
        if self.packets:
            self.outlet.rtcp(bytes(RtcpByePacket([self.copy.ssrc])))


def _payload(packet: Packet, stretch: Stretch) -> bytes:
    """The payload with its VP8 ids moved on; untouched where nothing is to be moved."""
    if stretch.picture or stretch.tl0:
        return vp8.shifted(packet.payload, stretch.picture, stretch.tl0)
    return packet.payload


class Tap:
    """A sink on a track. With one layer it gets what comes; with several it is on a course like a listener."""

    def __init__(self, sink: Sink, layers: int, target: int, video: bool) -> None:
        self.sink = sink
        self.course = Course(target, video) if layers > 1 else None
        self.highest = -1
        self.cut: int | None = None
        self._ssrc: int | None = None

    def give(self, number: int, packet: Packet, raw: bytes, now: int) -> None:
        """A packet of a track with one layer, as it came, under its publisher's long number."""
        if number > self.highest:
            self.highest, self.cut = number, packet.sequence_number
        self.sink.packet(packet, raw, now / 1_000_000)

    def give_of_several(self, stream: LayerStream, kept: Kept, raw: bytes, streams: tuple[LayerStream, ...], now: int) -> None:
        """A packet of one of several layers, its numbers, timestamp, SSRC and VP8 ids changed in place."""
        placed = self.course.place(stream, kept, streams, now) if self.course else None
        if placed is None or self.course is None:
            return
        stretch, packet = placed[0], kept.packet
        self._ssrc = packet.ssrc if self._ssrc is None else self._ssrc
        number, timestamp = kept.number + stretch.shift, (packet.timestamp + stretch.timestamp) & 0xFFFFFFFF
        payload = _payload(packet, stretch)
        at = len(raw) - (raw[-1] if raw[0] & 0x20 else 0) - len(packet.payload)
        head = raw[:2] + (number & 0xFFFF).to_bytes(2) + timestamp.to_bytes(4) + self._ssrc.to_bytes(4)
        self.course.passed(number, timestamp, payload, now)
        if number > self.highest:
            self.highest, self.cut = number, number & 0xFFFF
        moved = replace(packet, sequence_number=number & 0xFFFF, timestamp=timestamp, ssrc=self._ssrc, payload=payload)
        self.sink.packet(moved, head + raw[12:at] + payload + raw[at + len(payload) :], now / 1_000_000)

    def report(self, stream: LayerStream, ntp: int, rtp: int, now: int) -> None:
        """The publisher's pair of clocks; of several layers only the current one's, in the tap's own timestamps."""
        if self.course is None:
            self.sink.sender_report(ntp, rtp, now / 1_000_000)
        elif self.course.current == stream.index:
            self.sink.sender_report(ntp, (rtp + self.course.stretches[-1].timestamp) & 0xFFFFFFFF, now / 1_000_000)
