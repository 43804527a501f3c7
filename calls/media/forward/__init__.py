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

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from struct import error as StructError  # noqa: N812 - reason: the library's name says nothing where it is caught

from ..congestion import FORMAT, Arrivals, Sent, each_packet, statuses
from ..path import Address, Copy, End, Estimated, Event, KeyFrameWanted, Learnt, Lost, Reported, Shape, TrackSeen
from ..peer import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    SRTP_ERRORS,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    parse_rtcp,
    unpack_remb_fci,
)
from ..sink import Packet, Sink, header_end
from .copies import Outgoing, Outlet, Tap
from .history import HISTORY, Numbering
from .tracks import Found, Track

__all__ = ["HISTORY", "Numbering", "PythonPath"]

# libsrtp keeps some 6 KB per sender for as long as the connection lives, so their number is bounded before it sees them (F4).
# A sender cannot be forgotten in between: a browser that takes up an old SSRC goes on with its old packet index.
MOST_SENDERS = 256
MOST_REPORTERS = 16

_log = logging.getLogger(__name__)


class _Side:
    """What the path knows of one end: as publisher its tracks and SSRCs, as listener its copies."""

    def __init__(self, end: End) -> None:
        self.end, self.attached = end, False
        self.address: Address | None = end.address
        self.tracks: list[Track] = []
        self.by_ssrc: dict[int, Found] = {}
        self.copies: dict[int, tuple[Track, Outgoing]] = {}
        self.senders: set[int] = set()
        self.reporters: set[int] = set()
        self.arrivals = Arrivals()
        self.sent = Sent()
        self.events: list[Event] = []


class PythonPath:
    """`path.MediaPath` over `send(data, address) -> bool`. `wall_offset_us` is added to the monotonic clock for send times."""

    def __init__(self, counters: Counter[str], send: Callable[[bytes, Address], bool], clock: Callable[[], float], wall_offset_us: int = 0) -> None:
        self._counters, self._send, self._clock, self._wall_offset_us = counters, send, clock, wall_offset_us
        self._sides: dict[int, _Side] = {}
        self._tracks: dict[int, Track] = {}
        self._owners: dict[int, _Side] = {}
        self._until_us: int | None = None

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    # The fence.
    def allow(self, until_us: int | None) -> None:
        self._until_us = until_us

    def _is_fenced(self) -> bool:
        """Asked at the last step, by the clock of that moment: the process may have stood still since the datagram was read."""
        fenced = self._until_us is not None and self._now() > self._until_us
        self._counters["fenced"] += fenced
        return fenced

    # Ends.
    def attach(self, end: End) -> None:
        self._side(end).attached = True

    def detach(self, end: End) -> None:
        side = self._sides.pop(end.number, None)
        if side is not None:
            side.attached = False

    def hear(self, address: Address, end: End) -> None:
        """The socket is read by the edge, which knows whose address it is."""

    def unhear(self, address: Address) -> None:
        """As above."""

    def move(self, end: End, address: Address | None) -> None:
        self._side(end).address = address

    def _side(self, end: End) -> _Side:
        side = self._sides.get(end.number)
        if side is None:
            side = self._sides[end.number] = _Side(end)
        return side

    def take(self, end: End, sealed: bytes, now: int) -> None:
        side = self._sides.get(end.number)
        if side is None or not side.attached:
            self._counters["srtp-early"] += 1
        elif len(sealed) < 8:
            self._counters["rtp-malformed"] += 1
        elif 192 <= sealed[1] <= 223:
            self._take_rtcp(side, sealed, now)
        elif len(sealed) < 12:
            self._counters["rtp-malformed"] += 1
        else:
            self._take_rtp(side, sealed, now)

    # Publishers.
    def _take_rtp(self, side: _Side, sealed: bytes, now: int) -> None:
        ssrc = int.from_bytes(sealed[8:12])
        found = side.by_ssrc.get(ssrc) or self._unnamed(side, sealed)
        if found is None or (ssrc not in side.senders and len(side.senders) >= MOST_SENDERS):
            self._counters["ssrc-undeclared"] += 1
            return
        try:
            clear = side.end.sessions[0].unprotect(sealed)
        except SRTP_ERRORS:
            self._counters["srtp-refused"] += 1
            return
        side.senders.add(ssrc)
        if ssrc not in side.by_ssrc:
            self._learn(side, ssrc, found)
        self.arrived(side.end, found, clear, now)

    def _unnamed(self, side: _Side, packet: bytes) -> Found | None:
        """The layer without an SSRC that this packet's MID and RID name (RFC 8843 section 9.2, RFC 8852); never by payload type alone."""
        try:
            _, extensions = header_end(packet)
        except ValueError:
            return None
        return next((found for track in side.tracks if (found := track.named_by(extensions, packet[1] & 0x7F))), None)

    def _learn(self, side: _Side, ssrc: int, found: Found) -> None:
        track, stream, repair = found
        if repair:
            stream.repair_ssrc = ssrc
        else:
            stream.ssrc = ssrc
        side.by_ssrc[ssrc] = found
        side.events.append(Learnt(track.key, stream.index, ssrc, repair))

    def arrived(self, end: End, found: Found, clear: bytes, now: int) -> None:
        """One authentic packet of a layer."""
        if self._is_fenced():
            return
        track, stream, repair = found
        try:
            packet = Packet.parse(clear)
        except ValueError:
            self._counters["rtp-malformed"] += 1
            return
        transport = packet.extensions.get(track.ids.transport) if track.ids.transport else None
        if transport is not None and len(transport) == 2:
            self._sides[end.number].arrivals.note(int.from_bytes(transport), now)
        if packet.payload_type != (track.shape.repair_payload_type if repair else track.shape.payload_type):
            self._counters["payload-type-undeclared"] += 1
            return
        if repair:
            if len(packet.payload) < 2 or stream.ssrc is None:
                return
            packet, clear = track.repaired(stream.ssrc, packet, clear)
            stream.reception.repaired(packet.sequence_number)
        elif missing := stream.reception.add(packet, now / 1_000_000):
            self._ask_again(end, packet.ssrc, missing)
        self._pass_on(track, found, packet, clear, now)

    def _pass_on(self, track: Track, found: Found, packet: Packet, raw: bytes, now: int) -> None:
        stream = found[1]
        number = stream.numbering.unwrap(packet.sequence_number)
        if number is None:
            self._counters["rtp-too-old"] += 1
            return
        if not track.several:
            self._to_taps(track, lambda tap: tap.give(number, packet, raw, now))
        sent_at = (now + self._wall_offset_us) * 262144 // 1_000_000 & 0xFFFFFF
        kept = track.keep(stream, number, packet, sent_at, now)
        if kept is None:
            self._counters["rtp-repeated"] += packet.payload != b""
            return
        if track.several:
            self._to_taps(track, lambda tap: tap.give_of_several(stream, kept, raw, track.streams, now))
        for copy in track.copies.values():
            if not copy.give(stream, kept, track.streams, now):
                self._wants_key_frame(track, copy)

    def _to_taps(self, track: Track, give: Callable[[Tap], None]) -> None:
        for tap in list(track.taps.values()):
            try:
                give(tap)
            except Exception:
                _log.exception("a tap failed and was taken off")
                self._counters["tap-failed"] += 1
                track.taps.pop(id(tap.sink), None)
                _tell_closed(tap.sink, "faulty")

    def _wants_key_frame(self, track: Track, copy: Outgoing) -> None:
        layer = copy.course.waiting_for
        layer = copy.course.current if layer is None else layer
        owner = self._owners.get(track.key)
        if layer is not None and owner is not None and copy.video:
            owner.end.on_event(KeyFrameWanted(track.key, layer))

    # Control packets.
    def _take_rtcp(self, side: _Side, sealed: bytes, now: int) -> None:
        sender = int.from_bytes(sealed[4:8])
        if sender not in side.senders and sender not in side.reporters and len(side.reporters) >= MOST_REPORTERS:
            self._counters["ssrc-undeclared"] += 1
            return
        try:
            clear = side.end.sessions[0].unprotect_rtcp(sealed)
        except SRTP_ERRORS:
            self._counters["srtp-refused"] += 1
            return
        if sender not in side.senders:
            side.reporters.add(sender)
        self.told(side.end, clear, now)

    def told(self, end: End, clear: bytes, now: int) -> None:
        """One authentic compound of control packets."""
        if self._is_fenced():
            return
        side = self._sides[end.number]
        try:
            packets = parse_rtcp(clear)
        except ValueError:
            self._counters["rtcp-malformed"] += 1
            return
        for packet in packets:
            self._heed(side, packet, now)
        for raw in each_packet(clear):
            if raw[0] & 0x1F == FORMAT and raw[1] == 205:
                try:
                    side.sent.heed(statuses(raw), now)
                except ValueError:
                    self._counters["rtcp-malformed"] += 1

    def _heed(self, side: _Side, packet: AnyRtcpPacket, now: int) -> None:
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

    def _sender_report(self, side: _Side, packet: RtcpSrPacket, now: int) -> None:
        found = side.by_ssrc.get(packet.ssrc)
        if found is None or found[2]:
            return
        track, stream, _ = found
        ntp, rtp = packet.sender_info.ntp_timestamp, packet.sender_info.rtp_timestamp
        stream.reception.sender_report(ntp, now / 1_000_000)
        stream.report = (ntp, rtp)
        for copy in track.copies.values():
            copy.pass_report(stream)
        self._to_taps(track, lambda tap: tap.report(stream, ntp, rtp, now))

    def _resend(self, side: _Side, packet: RtcpRtpfbPacket, now: int) -> None:
        found = side.copies.get(packet.media_ssrc)
        for lost in packet.lost if found else ():
            done = found[1].resend(lost & 0xFFFF, found[0].streams, now) if found else None
            if done is False:
                self._counters["resend-budget"] += 1
                return
            self._counters["resent"] += done is True

    def send_rtcp(self, end: End, clear: bytes) -> None:
        side = self._sides.get(end.number)
        if side is None or not side.attached or side.address is None or self._is_fenced():
            return
        try:
            sealed = end.sessions[1].protect_rtcp(clear)
        except SRTP_ERRORS:
            self._counters["srtp-unsent"] += 1
            return
        self._send(sealed, side.address)

    def send_rtp(self, end: End, clear: bytes) -> bool:
        """Seal and send one packet; False when it did not go out."""
        side = self._sides.get(end.number)
        if side is None or not side.attached or side.address is None or self._is_fenced():
            return False
        try:
            sealed = end.sessions[1].protect(clear)
        except SRTP_ERRORS:
            self._counters["srtp-unsent"] += 1
            return False
        return self._send(sealed, side.address)

    def forget_ssrc(self, end: End, ssrc: int) -> None:
        side = self._sides.get(end.number)
        if side is None or not side.attached:
            return
        try:
            end.sessions[1].remove_stream(ssrc)
        except SRTP_ERRORS:
            self._counters["srtp-unused"] += 1

    # Tracks.
    def open(self, track: int, end: End, shape: Shape) -> None:
        side, opened = self._side(end), Track(track, shape)
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
        for tap in closed.taps.values():
            _tell_closed(tap.sink, reason)

    def add(self, track: int, listener: str, end: End, copy: Copy, layer: int | None) -> None:
        side, of = self._side(end), self._tracks[track]
        send, tell = partial(self.send_rtp, end), partial(self.send_rtcp, end)
        outlet = Outlet(send, tell, side.sent, lambda ssrc: side.copies.pop(ssrc, None))
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
        of.taps[id(sink)] = Tap(sink, len(of.streams), layer, of.shape.kind == "video")

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

    def _ask(self, side: _Side, now: int) -> None:
        """Lost packets again, and what came when."""
        known = [stream for track in side.tracks for stream in track.streams if stream.ssrc is not None]
        for stream in known:
            missing = stream.reception.repeat(now / 1_000_000)
            if missing and stream.ssrc is not None:
                self._ask_again(side.end, stream.ssrc, missing)
        if known and known[0].ssrc is not None and (told := side.arrivals.due(side.end.rtcp_ssrc, known[0].ssrc, now)):
            self.send_rtcp(side.end, told)

    def _ask_again(self, end: End, ssrc: int, missing: list[int]) -> None:
        self.send_rtcp(end, bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, end.rtcp_ssrc, ssrc, missing)))

    def closing(self) -> None:
        self._sides.clear()


def _target(packet: RtcpPsfbPacket) -> int:
    """Which stream a PLI or FIR is about; FIR names it in its body (RFC 5104 section 4.3.1)."""
    return packet.media_ssrc or int.from_bytes(packet.fci[:4])


def _tell_closed(sink: Sink, reason: str) -> None:
    try:
        sink.closed(reason)
    except Exception:
        _log.exception("a tap failed while it was closed")
