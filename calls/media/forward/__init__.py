"""The packet path in Python: sends at once, keeps no queue. `docs/media.md` says step by step what it does.

What must never happen here, and what holds it:
- Somebody receives a track who may not: the copies and taps of a track are dictionaries that were filtered before; nothing
  here asks who is who, and nothing but `add` and `tap` puts anybody in. Both, and their removal, take effect in the same
  turn of the loop: when `remove` or `untap` has returned, no further packet goes out.
- Two different packets leave under one SSRC, number and key, which would give the sealing key away (RFC 7714 section 8.4):
  a listener's SSRC is fresh (`peer.Link.fresh_ssrc`), a number is given to one packet only, and what is sent again under its
  number is built from the same values, send time included, so it is the same to the last bit; what changes each time (a
  transport-wide number) stands only in copies that have an SSRC of their own for repairs.
- One listener makes the others wait: nothing is queued here; who cannot take a packet loses video up to the next key frame.
- A recorder's fault ends the call: a tap that raises is taken off and told so.
- A worker that nobody believes in any more goes on: past the moment that `allow` named, nothing is sent and nothing tapped.
- A payload is opened: only its first bytes are read and moved on, to find key frames and to count pictures (RFC 7741 section 4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from struct import error as StructError  # noqa: N812 - reason: the library's name says nothing where it is caught

from ..addresses import LARGEST_DATAGRAM, again
from ..congestion import FORMAT, each_packet, statuses, unpadded
from ..path import Address, Copy, End, Estimated, Lost, Reported, Shape, TrackSeen
from ..peer import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    parse_rtcp,
    unpack_remb_fci,
)
from ..sink import Sink
from ..srtp import SRTP_ERRORS
from .allowance import Allowance, Rates
from .copies import Outgoing, Outlet, Tap
from .ends import Side
from .history import HISTORY, Numbering
from .pace import Pace
from .publishers import MOST_SENDERS, Publishers, tell_closed
from .tracks import Track

__all__ = ["HISTORY", "MOST_SENDERS", "Numbering", "PythonPath", "Rates"]

MOST_REPORTERS = 16
REPORT_GAP_US = 100_000  # between two sender reports of a layer that its listeners are sent: a publisher must not multiply its own
BATCH = 64  # datagrams in one turn of the loop
MOST_WAITING = 16_384  # datagrams: more than the kernel's buffer for the socket holds
NAMED_OCTETS = 4  # what each packet that a NACK or a feedback names counts for: a few octets can name thousands


class PythonPath(Publishers):
    """`path.MediaPath` over `send(data, address) -> bool`. `wall_offset_us` is added to the monotonic clock for send times.

    `rates` is what a track or an end may bring; a measurement of the path itself asks for more than any person may.
    """

    def __init__(
        self,
        counters: Counter[str],
        send: Callable[[bytes, Address], bool],
        clock: Callable[[], float],
        wall_offset_us: int = 0,
        rates: Rates | None = None,
    ) -> None:
        super().__init__(counters, send, clock, wall_offset_us, rates)
        self._others: Callable[[bytes, Address], None] = lambda data, address: None
        self._pace = Pace()

    # The socket.
    def read(self, descriptor: int, family: int, others: Callable[[bytes, Address], None]) -> int:
        self._outside.socket, self._others = again(descriptor, family), others
        return descriptor

    def woken(self) -> float:
        now = self._now()
        return 0.0 if self._take_batch(now) else self._pace.rest(now)

    def take_up(self) -> None:
        for _ in range(MOST_WAITING // BATCH):
            if not self._take_batch(self._now()):
                break

    def _take_batch(self, now: int) -> bool:
        """Take what has come, at most so much that timers and pipes get their turn. Returns whether there may be more."""
        for _ in range(BATCH):
            if self._outside.socket is None:
                return False
            try:
                data, address = self._outside.socket.recvfrom(LARGEST_DATAGRAM + 1)
            except OSError as fault:
                self._counters["socket-error"] += not isinstance(fault, BlockingIOError)
                self._give_waiting()
                return False
            side = self._sides.get(self._heard.get(address, 0))
            self._pace.heard(side)
            if side is not None and 12 <= len(data) <= LARGEST_DATAGRAM and 127 < data[0] < 192 and not 192 <= data[1] <= 223 and side.way.attached:
                self._take_rtp(side, data, now)
            else:
                self._give_waiting()
                self._others(data, address)
        self._give_waiting()
        return True

    def take(self, end: End, sealed: bytes, now: int) -> None:
        side = self._sides.get(end.number)
        if side is None or not side.way.attached:
            self._counters["srtp-early"] += 1
        elif len(sealed) < 8:
            self._counters["rtp-malformed"] += 1
        elif 192 <= sealed[1] <= 223:
            self._take_rtcp(side, sealed, now)
        elif len(sealed) < 12:
            self._counters["rtp-malformed"] += 1
        else:
            self._take_rtp(side, sealed, now)
            self._give_waiting()

    # Control packets.
    def _take_rtcp(self, side: Side, sealed: bytes, now: int) -> None:
        if not side.tracks and not side.copies:
            self._counters["rtcp-unasked"] += 1
            return
        sender = int.from_bytes(sealed[4:8])
        if sender not in side.senders and sender not in side.reporters and len(side.reporters) >= MOST_REPORTERS:
            self._counters["ssrc-undeclared"] += 1
            return
        if now < side.control.shut_until:
            self._counters["control-over-rate"] += 1
            return
        try:
            clear = side.end.sessions[0].unprotect_rtcp(sealed)
        except SRTP_ERRORS:
            self._counters["srtp-refused"] += 1
            return
        if sender not in side.senders:
            side.reporters.add(sender)
        if self._may(side, len(sealed), now):
            self._told(side, clear, now)

    def _may(self, side: Side, octets: int, now: int) -> bool:
        taken = side.control.take(octets, now)
        self._counters["control-over-rate"] += not taken
        return taken

    def _told(self, side: Side, clear: bytes, now: int) -> None:
        """One authentic compound of control packets."""
        if self._is_fenced():
            return
        try:
            packets = parse_rtcp(unpadded(clear))
        except ValueError:
            self._counters["rtcp-malformed"] += 1
            return
        for packet in packets:
            self._heed(side, packet, now)
        for raw in each_packet(clear):
            if raw[0] & 0x1F == FORMAT and raw[1] == 205:
                self._feedback(side, raw, now)

    def _feedback(self, side: Side, raw: bytes, now: int) -> None:
        if not self._may(side, NAMED_OCTETS * int.from_bytes(raw[14:16]), now):
            return
        try:
            side.sent.heed(statuses(raw), now)
        except ValueError:
            self._counters["rtcp-malformed"] += 1

    def _heed(self, side: Side, packet: AnyRtcpPacket, now: int) -> None:
        if isinstance(packet, RtcpSrPacket):
            self._sender_report(side, packet, now)
        if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for report in packet.reports:
                if found := side.copies.get(report.ssrc):
                    side.events.append(Lost(found[0].key, found[1].listener, report.fraction_lost))
        elif isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
            self._resend(side, packet, now)
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt in (RTCP_PSFB_PLI, RTCP_PSFB_FIR):
            if found := side.copies.get(_target(packet)):
                self._wants_key_frame(*found)
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            try:
                side.events.append(Estimated(unpack_remb_fci(packet.fci)[0]))
            except (ValueError, StructError):
                return  # an application's own message

    def _sender_report(self, side: Side, packet: RtcpSrPacket, now: int) -> None:
        found = side.by_ssrc.get(packet.ssrc)
        if found is None or found[2]:
            return
        track, stream, _ = found
        ntp, rtp = packet.sender_info.ntp_timestamp, packet.sender_info.rtp_timestamp
        stream.reception.sender_report(ntp, now / 1_000_000)
        stream.report = (ntp, rtp)
        if now >= stream.passes_report_from:
            stream.passes_report_from = now + REPORT_GAP_US
            for copy in track.copies.values():
                copy.pass_report(stream)
        self._to_taps(track, Tap.report, stream, ntp, rtp, now)

    def _resend(self, side: Side, packet: RtcpRtpfbPacket, now: int) -> None:
        found = side.copies.get(packet.media_ssrc)
        if found is None:
            return
        if not self._may(side, NAMED_OCTETS * len(packet.lost), now):
            return
        for lost in packet.lost:
            done = found[1].resend(lost & 0xFFFF, found[0].streams, now)
            if done is False:
                self._counters["resend-budget"] += 1
                return
            self._counters["resent"] += done is True

    # Tracks.
    def open(self, track: int, end: End, shape: Shape) -> None:
        side, opened = self._side(end), Track(track, shape, Allowance(self._rates.of(shape.kind), self._now()))
        self._tracks[track], self._owners[track] = opened, side
        side.tracks.append(opened)
        side.by_ssrc.update(opened.declared())

    def close(self, track: int, reason: str) -> None:
        closed, side = self._tracks.pop(track, None), self._owners.pop(track, None)
        if closed is None or side is None:
            return
        side.tracks.remove(closed)
        side.by_ssrc = {ssrc: found for ssrc, found in side.by_ssrc.items() if found[0] is not closed}
        for copy in closed.copies.values():
            copy.say_goodbye()
        closed.copies.clear()  # a tap may have closed it, and packets wait
        for tap in closed.taps.values():
            tell_closed(tap.sink, reason)

    def add(self, track: int, listener: str, end: End, copy: Copy, layer: int | None) -> None:
        side, of = self._side(end), self._tracks[track]
        outlet = Outlet(side.way, partial(self.send_rtcp, end), side.sent, lambda ssrc: side.copies.pop(ssrc, None))
        outgoing = of.copies[listener] = Outgoing(listener, outlet, copy, of.shape.kind, of.ids, layer, self._now())
        side.copies[copy.ssrc] = (of, outgoing)
        self._wants_key_frame(of, outgoing)

    def choose(self, track: int, listener: str, layer: int | None) -> None:
        of = self._tracks.get(track)
        copy = of.copies.get(listener) if of else None
        if of is not None and copy is not None and copy.course.target != layer:
            copy.course.choose(layer)
            self._wants_key_frame(of, copy)

    def remove(self, track: int, listener: str) -> None:
        of = self._tracks.get(track)
        gone = of.copies.pop(listener, None) if of else None
        if gone is not None:
            gone.say_goodbye()

    def tap(self, track: int, sink: Sink, layer: int) -> None:
        of = self._tracks[track]
        of.taps[id(sink)] = Tap(sink, len(of.streams), layer, of.shape.kind == "video", self._now())

    def choose_tap(self, track: int, sink: Sink, layer: int) -> None:
        of = self._tracks.get(track)
        tap = of.taps.get(id(sink)) if of else None
        if tap is not None and tap.course is not None:
            tap.course.target = layer

    def untap(self, track: int, sink: Sink) -> int | None:
        of = self._tracks.get(track)
        tap = of.taps.pop(id(sink), None) if of else None
        return tap.cut if tap else None

    # What is seen.
    def listeners(self, track: int) -> frozenset[str]:
        of = self._tracks.get(track)
        return frozenset(of.copies) if of else frozenset()

    def seen(self, track: int) -> TrackSeen:
        return self._tracks[track].seen()

    def reports(self, track: int, now: int) -> list[Reported]:
        streams = self._tracks[track].streams
        told = [s.reception.report(s.ssrc, now / 1_000_000) for s in streams if s.ssrc is not None]
        return [Reported(r.ssrc, r.fraction_lost, r.packets_lost, r.highest_sequence, r.jitter, r.lsr, r.dlsr) for r in told if r is not None]

    def poll(self, now: int) -> None:
        for side in list(self._sides.values()):
            events, side.events = side.events, []
            if feedback := side.sent.take(now):
                events.append(feedback)
            for event in events:
                side.end.on_event(event)
            self._ask(side, now)

    def _ask(self, side: Side, now: int) -> None:
        """Lost packets again, and what came when."""
        known = [(track, stream) for track in side.tracks for stream in track.streams if stream.ssrc is not None]
        for track, stream in known:
            missing = stream.reception.repeat(now / 1_000_000)
            self._lost_for_good(track, stream)
            if missing and stream.ssrc is not None:
                self._ask_again(side, stream.ssrc, missing)
        if known and (first := known[0][1].ssrc) is not None and (told := side.arrivals.due(side.end.rtcp_ssrc, first, now)):
            self.send_rtcp(side.end, told)

    def closing(self) -> None:
        self._sides.clear()
        if self._outside.socket is not None:
            self._outside.socket.close()
            self._outside.socket = None


def _target(packet: RtcpPsfbPacket) -> int:
    """Which stream a PLI or FIR is about; FIR names it in its body (RFC 5104 section 4.3.1)."""
    return packet.media_ssrc or int.from_bytes(packet.fci[:4])
