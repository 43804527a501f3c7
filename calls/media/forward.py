"""One packet to many sinks: the interface of the packet path, and its form in Python.

What must never happen here, and what holds it:
- Somebody receives a track who may not: the copies and taps of a track are dictionaries that were filtered before; nothing
  here asks who is who, and nothing but `add` and `tap` puts anybody in. Both, and their removal, take effect in the same
  turn of the loop: when `remove` or `untap` has returned, no further packet goes out.
- Two different packets leave under one SSRC, number and key, which would give the sealing key away (RFC 7714 section 8.4):
  a listener's SSRC is fresh (`peer.Link.fresh_ssrc`), a number is given to one packet only, and what is sent again is built
  from the same values, send time included, so it is the same to the last bit.
- One listener makes the others wait: nothing is queued here; who cannot take a packet loses video up to the next key frame.
- A recorder's fault ends the call: a tap that raises is taken off and told so.
- A payload is opened: only its first bytes are read, to find key frames (RFC 7741 section 4).
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Protocol

from . import sdp
from .feedback import Bucket
from .peer import RtcpByePacket, RtcpSdesPacket, RtcpSenderInfo, RtcpSourceInfo, RtcpSrPacket
from .sink import Packet, Sink, starts_key_frame

HISTORY = 512  # packets kept per track for listeners that lost some
TOO_OLD = 1024  # numbers behind the highest; SRTP would not seal them either
RESENDS_PER_SECOND, RESEND_BURST = 500.0, 600.0  # per listener and track

_HEAD = Struct("!BBHLL")
_BLOCK = Struct("!HH")
_CNAME = 1

_log = logging.getLogger(__name__)


class Outlet(Protocol):
    """The way to one listener. False: it cannot take the packet now."""

    def send_rtp(self, clear: bytes) -> bool: ...

    def send_rtcp(self, clear: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Copy:
    """How one listener's copy of a track looks: its own SSRC and mid; `cname` is the publishing participant."""

    outlet: Outlet
    ssrc: int
    mid: str
    cname: str


class Forwarder(Protocol):
    """What a faster path stands behind too. Tracks are named by numbers, listeners by participant."""

    def open(self, track: int, kind: str, extensions: Mapping[str, int]) -> None:
        """A track begins; `extensions` are the publisher's ids by URI."""

    def close(self, track: int, reason: str) -> None:
        """A track ends: its copies say goodbye, its taps are told."""

    def add(self, track: int, listener: str, copy: Copy) -> None:
        """From the next key frame (sound: the next packet) on, this listener receives a copy."""

    def remove(self, track: int, listener: str) -> None:
        """This listener receives nothing more."""

    def tap(self, track: int, sink: Sink) -> None:
        """From the next packet on, `sink` receives the track as it comes."""

    def untap(self, track: int, sink: Sink) -> int | None:
        """`sink` receives nothing more. Returns the cut: the highest sequence number it was given, None if none."""

    def packet(self, track: int, packet: Packet, raw: bytes, arrived: float) -> None:
        """One packet of the publisher."""

    def sender_report(self, track: int, ntp: int, rtp: int, arrived: float) -> None:
        """The publisher's pair of clocks, passed on unchanged."""

    def resend(self, track: int, listener: str, numbers: Iterable[int]) -> None:
        """This listener lost packets of its copy (RFC 4585 section 6.2.1)."""

    def starving(self, track: int) -> bool:
        """Is somebody waiting for a key frame?"""

    def listeners(self, track: int) -> frozenset[str]:
        """Who receives a copy at this moment."""


class Numbering:
    """Publisher's numbers to ours: the same, less the padding-only packets dropped below each number.

    Numbers are unwrapped here (they grow past 65535), so that a late packet finds the offset of its own range.
    """

    def __init__(self) -> None:
        self.highest: int | None = None
        self._skipped: list[int] = []
        self._forgotten = 0
        self._shift = 0
        self._restart_at: int | None = None

    def unwrap(self, sequence_number: int) -> int | None:
        """The long form of a number; None when it is too old. Two successive ones from elsewhere restart (RFC 3550 A.1)."""
        number = (sequence_number + self._shift) & 0xFFFF
        if self.highest is None:
            self.highest = number + 0x10000
            return self.highest
        ahead = (number - self.highest) & 0xFFFF
        found = self.highest + (ahead if ahead < 0x8000 else ahead - 0x10000)
        if found > self.highest - TOO_OLD:
            self._restart_at = None
        elif self._restart_at == sequence_number:
            found = self.highest + 1
            self._shift = (found - sequence_number) & 0xFFFF
            self._restart_at = None
        else:
            self._restart_at = (sequence_number + 1) & 0xFFFF
            return None
        return found

    def reached(self, number: int) -> None:
        """Note a number as seen."""
        self.highest = number if self.highest is None else max(self.highest, number)

    def skip(self, number: int) -> None:
        """Drop `number`, the highest so far: later ones move down by one."""
        self._skipped.append(number)
        old = bisect_left(self._skipped, number - 2 * TOO_OLD)
        self._forgotten += old
        del self._skipped[:old]

    def skipped(self, number: int) -> bool:
        """Was `number` dropped?"""
        at = bisect_left(self._skipped, number)
        return at < len(self._skipped) and self._skipped[at] == number

    def ours(self, number: int) -> int:
        """The (long) number under which listeners know it."""
        return number - self._forgotten - bisect_right(self._skipped, number)


class _Listener:
    """One listener of one track: where its stretch begins, and what it was sent."""

    __slots__ = ("budget", "copy", "mid", "needs_key", "octets", "packets", "since")

    def __init__(self, copy: Copy, needs_key: bool, now: float) -> None:
        mid = copy.mid.encode()
        self.copy, self.needs_key, self.mid = copy, needs_key, bytes([0x10 | (len(mid) - 1)]) + mid
        self.since: int | None = None
        self.packets = self.octets = 0
        self.budget = Bucket(RESENDS_PER_SECOND, RESEND_BURST, now)


@dataclass(frozen=True, slots=True)
class _Kept:
    """One packet as it was first sent: our number, and the send time that goes into every copy (24 bits of 6.18 seconds)."""

    number: int
    packet: Packet
    sent_at: int


@dataclass(slots=True)
class _Tap:
    """A sink, and the highest number it was given: in the long form, and as the publisher wrote it."""

    sink: Sink
    highest: int = -1
    cut: int | None = None


class _Stream:
    """One track: its numbering, its history, its copies and its taps."""

    def __init__(self, kind: str, extensions: Mapping[str, int]) -> None:
        self.kind, self.video = kind, kind == "video"
        self.orientation, self.level = extensions.get(sdp.ORIENTATION), extensions.get(sdp.AUDIO_LEVEL)
        self.numbering = Numbering()
        self.history: list[_Kept | None] = [None] * HISTORY
        self.listeners: dict[str, _Listener] = {}
        self.taps: dict[int, _Tap] = {}
        self.report: tuple[int, int] | None = None

    def history_of(self, number: int) -> _Kept | None:
        """The packet that listeners know under this 16-bit number, while it is kept."""
        kept = self.history[number % HISTORY]
        return kept if kept is not None and kept.number & 0xFFFF == number else None

    def dress(self, listener: _Listener, kept: _Kept) -> bytes:
        """The packet as this listener is to see it: new SSRC, payload type, number and extensions; the timestamp untouched."""
        block, packet = listener.mid, kept.packet
        if self.video:
            block += b"\x22" + kept.sent_at.to_bytes(3)
            turned = packet.extensions.get(self.orientation) if self.orientation else None
            block += b"\x40" + turned if turned and len(turned) == 1 else b""
        else:
            level = packet.extensions.get(self.level) if self.level else None
            block += b"\x30" + level if level and len(level) == 1 else b""
        block += bytes(-len(block) % 4)
        first, padding = (0x90, b"") if packet.payload else (0xB0, b"\x00\x00\x00\x04")
        second = packet.marker << 7 | sdp.PAYLOAD_TYPES[self.kind]
        head = _HEAD.pack(first, second, kept.number & 0xFFFF, packet.timestamp, listener.copy.ssrc)
        return head + _BLOCK.pack(0xBEDE, len(block) // 4) + block + packet.payload + padding

    def give(self, listener: _Listener, kept: _Kept) -> None:
        """One copy, unless this listener waits for a key frame."""
        packet, number = kept.packet, kept.number
        if listener.needs_key:
            if not starts_key_frame(packet.payload):
                return
            listener.needs_key, listener.since = False, number
        elif listener.since is None:
            listener.since = number
        elif number < listener.since:
            return
        if not listener.copy.outlet.send_rtp(self.dress(listener, kept)):
            listener.needs_key = self.video
            return
        listener.packets += 1
        listener.octets += len(packet.payload)
        if listener.packets == 1:
            self.pass_report(listener)

    def pass_report(self, listener: _Listener) -> None:
        """The publisher's last pair of clocks, under the listener's SSRC, with what this listener was sent."""
        if self.report is None or not listener.packets:
            return
        ntp, rtp = self.report
        copy = listener.copy
        counts = RtcpSenderInfo(ntp, rtp, listener.packets & 0xFFFFFFFF, listener.octets & 0xFFFFFFFF)
        name = RtcpSourceInfo(copy.ssrc, [(_CNAME, copy.cname.encode())])
        copy.outlet.send_rtcp(bytes(RtcpSrPacket(copy.ssrc, counts)) + bytes(RtcpSdesPacket([name])))


class PythonForwarder:
    """The packet path in Python: sends at once, keeps no queue."""

    def __init__(self, counters: Counter[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._streams: dict[int, _Stream] = {}
        self._counters, self._clock = counters, clock

    def open(self, track: int, kind: str, extensions: Mapping[str, int]) -> None:
        self._streams[track] = _Stream(kind, extensions)

    def close(self, track: int, reason: str) -> None:
        stream = self._streams.pop(track, None)
        if stream is None:
            return
        for listener in stream.listeners.values():
            _say_goodbye(listener)
        for tap in stream.taps.values():
            _tell_closed(tap.sink, reason)

    def add(self, track: int, listener: str, copy: Copy) -> None:
        stream = self._streams[track]
        stream.listeners[listener] = _Listener(copy, stream.video, self._clock())

    def remove(self, track: int, listener: str) -> None:
        stream = self._streams.get(track)
        gone = stream.listeners.pop(listener, None) if stream else None
        if gone is not None:
            _say_goodbye(gone)

    def tap(self, track: int, sink: Sink) -> None:
        self._streams[track].taps[id(sink)] = _Tap(sink)

    def untap(self, track: int, sink: Sink) -> int | None:
        stream = self._streams.get(track)
        tap = stream.taps.pop(id(sink), None) if stream else None
        return tap.cut if tap else None

    def packet(self, track: int, packet: Packet, raw: bytes, arrived: float) -> None:
        stream = self._streams[track]
        numbering = stream.numbering
        number = numbering.unwrap(packet.sequence_number)
        if number is None:
            self._counters["rtp-too-old"] += 1
            return
        newest = numbering.highest is None or number > numbering.highest
        numbering.reached(number)
        if stream.taps:
            self._to_taps(stream, number, packet, raw, arrived)
        if not packet.payload:
            if newest:
                numbering.skip(number)
            if newest or numbering.skipped(number):
                return
        ours = numbering.ours(number)
        before = stream.history[ours % HISTORY]
        if before is not None and before.number >= ours:
            self._counters["rtp-repeated"] += 1
            return
        kept = stream.history[ours % HISTORY] = _Kept(ours, packet, int(time.time() * 262144) & 0xFFFFFF)
        for listener in stream.listeners.values():
            stream.give(listener, kept)

    def _to_taps(self, stream: _Stream, number: int, packet: Packet, raw: bytes, arrived: float) -> None:
        for tap in list(stream.taps.values()):
            if number > tap.highest:
                tap.highest, tap.cut = number, packet.sequence_number
            try:
                tap.sink.packet(packet, raw, arrived)
            except Exception:
                _log.exception("a tap failed and was taken off")
                self._take_off(stream, tap.sink)

    def _take_off(self, stream: _Stream, sink: Sink) -> None:
        self._counters["tap-failed"] += 1
        stream.taps.pop(id(sink), None)
        _tell_closed(sink, "faulty")

    def sender_report(self, track: int, ntp: int, rtp: int, arrived: float) -> None:
        stream = self._streams[track]
        stream.report = (ntp, rtp)
        for listener in stream.listeners.values():
            stream.pass_report(listener)
        for tap in list(stream.taps.values()):
            try:
                tap.sink.sender_report(ntp, rtp, arrived)
            except Exception:
                _log.exception("a tap failed and was taken off")
                self._take_off(stream, tap.sink)

    def resend(self, track: int, listener: str, numbers: Iterable[int]) -> None:
        stream = self._streams.get(track)
        asker = stream.listeners.get(listener) if stream else None
        if stream is None or asker is None or asker.since is None:
            return
        now = self._clock()
        for lost in numbers:
            kept = stream.history_of(lost & 0xFFFF)
            if kept is None or kept.number < asker.since:
                continue
            if not asker.budget.take(now):
                self._counters["resend-budget"] += 1
                return
            if asker.copy.outlet.send_rtp(stream.dress(asker, kept)):
                self._counters["resent"] += 1

    def starving(self, track: int) -> bool:
        stream = self._streams.get(track)
        return stream is not None and any(listener.needs_key for listener in stream.listeners.values())

    def listeners(self, track: int) -> frozenset[str]:
        stream = self._streams.get(track)
        return frozenset(stream.listeners) if stream else frozenset()


def _say_goodbye(listener: _Listener) -> None:
    if listener.packets:
        listener.copy.outlet.send_rtcp(bytes(RtcpByePacket([listener.copy.ssrc])))


def _tell_closed(sink: Sink, reason: str) -> None:
    try:
        sink.closed(reason)
    except Exception:
        _log.exception("a tap failed while it was closed")
