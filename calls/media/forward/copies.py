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
from ..srtp import TRAILER
from . import vp8
from .course import Course, Stretch
from .history import Ids, Kept, LayerStream
from .runs import Run
from .sending import Way

TOKEN_US = 2_000  # one packet sent again: 500 a second
BURST_US = 1_200_000

_HEAD = Struct("!BBHLL")
_BLOCK = Struct("!HH")
_CNAME = 1


@dataclass(slots=True)
class Outlet:
    """The way to one listener; `sent` counts transport-wide numbers. `gone` is told when the copy is taken away."""

    way: Way
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
        size = len(self._mid) + 3
        usual = Struct(f"!HHL{size + 6}sH{-size % 4}x")
        self._pack_into, self._more, self._room = usual.pack_into, usual.size, outlet.way.outside.room.octets
        self._before = copy.ssrc.to_bytes(4) + _BLOCK.pack(0xBEDE, (size + 3) // 4) + self._mid + b"\x51"
        self._unmarked = 0x9000 | self._payload_type
        self._marked = self._unmarked | 0x80

    def give(self, run: Run, streams: tuple[LayerStream, ...], now: int) -> bool:
        """Send what of these packets is for this listener. False: it could not take something and waits for a key frame now."""
        if run.usual and self._numbered:
            course = self.course
            if run.stream.index != course.current or course.needs_key:  # no stretch begins with usual packets
                return True
            stretch = course.stretches[-1]
            first = run.kept[0].number
            if first >= stretch.since and course.highest is not None and first + stretch.shift > course.highest:
                return self._give_run(run, stretch, now)
        took = True
        for kept in run.kept:
            took &= self._give_one(run.stream, kept, streams, now)
        return took

    def _give_one(self, stream: LayerStream, kept: Kept, streams: tuple[LayerStream, ...], now: int) -> bool:
        course, packet = self.course, kept.packet
        placed = course.place(stream, kept, streams, now)
        if placed is None:
            return True
        stretch, begins = placed
        number, timestamp = kept.number + stretch.shift, (packet.timestamp + stretch.timestamp) & 0xFFFFFFFF
        payload = _payload(packet, stretch)
        data = self._dress(kept, number, timestamp, payload, now)
        course.passed(number, timestamp, payload, now)
        if not self.outlet.way.goes(data):
            course.needs_key = self.video
            return not self.video
        self.packets += 1
        self.octets += len(payload)
        if begins or self.packets == 1:
            self.pass_report(stream)
        return True

    def _give_run(self, run: Run, stretch: Stretch, now: int) -> bool:
        """Usual packets that follow what was sent: nothing stands in their block but the mid and the transport-wide number."""
        octets, pack_into, before, more = self._room, self._pack_into, self._before, self._more
        shift, later, moved, at = stretch.shift, stretch.timestamp, stretch.picture or stretch.tl0, 0
        timestamp, payload = 0, b""
        transport = self.outlet.sent.several(run.sizes, more, now)
        for kept in run.kept:
            packet = kept.packet
            payload = vp8.shifted(packet.payload, stretch.picture, stretch.tl0) if moved else packet.payload
            timestamp = packet.timestamp + later & 0xFFFFFFFF
            pack_into(
                octets, at, self._marked if packet.marker else self._unmarked, kept.number + shift & 0xFFFF, timestamp, before, transport & 0xFFFF
            )
            at += more
            end = at + len(payload)
            octets[at:end] = payload
            at = end + TRAILER
            transport += 1
        self.course.passed(run.kept[-1].number + shift, timestamp, payload, now)
        went = self.outlet.way.run(run.sizes, more)
        self.packets += went
        self.octets += sum(run.sizes[:went])
        if went < len(run.sizes):
            self.course.needs_key = True
            return False
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
            turned = packet.extensions.get(self._ids.orientation)
            block += b"\x40" + turned if turned and len(turned) == 1 else b""
        else:
            level = packet.extensions.get(self._ids.level)
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
        return True if self.outlet.way.goes(data) else None

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


def _bare(packet: Packet) -> bytes:
    """A packet with the plainest head."""
    head = bytes([0x80, packet.marker << 7 | packet.payload_type]) + packet.sequence_number.to_bytes(2)
    return head + packet.timestamp.to_bytes(4) + packet.ssrc.to_bytes(4) + packet.payload


class Tap:
    """A sink on a track. With one layer it gets what comes; with several it is on a course like a listener. It is there from `since_us` on.

    A sink cannot ask again. So where the course begins with a key frame whose start came late, what came before that start follows it; and
    it does not begin where some of that came before the tap was there, because that is not for the sink.
    """

    def __init__(self, sink: Sink, layers: int, target: int, video: bool, since_us: int) -> None:
        self.sink = sink
        self._since_us = since_us
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
        if self.course is None or self._too_early(self.course, stream, kept):
            return
        placed = self.course.place(stream, kept, streams, now)
        if placed is None:
            return
        stretch, begins = placed
        self._give_moved(self.course, stretch, kept.packet, kept.number, raw, now)
        for later in stream.later(kept) if begins else ():
            self._give_moved(self.course, stretch, replace(later.packet, extensions={}), later.number, _bare(later.packet), now)

    def _too_early(self, course: Course, stream: LayerStream, kept: Kept) -> bool:
        waiting = kept.starts_key_frame and course.waiting_for == stream.index
        return waiting and any(later.arrived_us <= self._since_us for later in stream.later(kept))

    def _give_moved(self, course: Course, stretch: Stretch, packet: Packet, kept_number: int, raw: bytes, now: int) -> None:
        self._ssrc = packet.ssrc if self._ssrc is None else self._ssrc
        number, timestamp = kept_number + stretch.shift, (packet.timestamp + stretch.timestamp) & 0xFFFFFFFF
        payload = _payload(packet, stretch)
        at = len(raw) - (raw[-1] if raw[0] & 0x20 else 0) - len(packet.payload)
        head = raw[:2] + (number & 0xFFFF).to_bytes(2) + timestamp.to_bytes(4) + self._ssrc.to_bytes(4)
        course.passed(number, timestamp, payload, now)
        if number > self.highest:
            self.highest, self.cut = number, number & 0xFFFF
        moved = replace(packet, sequence_number=number & 0xFFFF, timestamp=timestamp, ssrc=self._ssrc, payload=payload)
        self.sink.packet(moved, head + raw[12:at] + payload + raw[at + len(payload) :], now / 1_000_000)

    def follows(self, stream: LayerStream) -> bool:
        """Is it given this layer?"""
        return self.course is None or self.course.current == stream.index

    def report(self, stream: LayerStream, ntp: int, rtp: int, now: int) -> None:
        """The publisher's pair of clocks; of several layers only the current one's, in the tap's own timestamps."""
        if self.course is None:
            self.sink.sender_report(ntp, rtp, now / 1_000_000)
        elif self.course.current == stream.index:
            self.sink.sender_report(ntp, (rtp + self.course.stretches[-1].timestamp) & 0xFFFFFFFF, now / 1_000_000)
