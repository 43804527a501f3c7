"""What comes from publishers in the Python path: opened, kept, tapped, and given to listeners at the end of a batch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from ..path import Address, KeyFrameWanted, Learnt
from ..peer import RTCP_RTPFB_NACK, RtcpRtpfbPacket
from ..sink import Packet, Sink, header_end
from ..srtp import SRTP_ERRORS
from .allowance import Rates
from .copies import Outgoing, Tap
from .ends import Ends, Side
from .history import LayerStream
from .tracks import Found, Track

# libsrtp keeps some 6 KB per sender for as long as the connection lives, so their number is bounded before it sees them (F4).
# A sender cannot be forgotten in between: a browser that takes up an old SSRC goes on with its old packet index.
MOST_SENDERS = 256

Given = ParamSpec("Given")

_log = logging.getLogger(__name__)


class Publishers(Ends):
    """Who is given a packet stands in its track; nothing here asks."""

    def __init__(
        self,
        counters: Counter[str],
        send: Callable[[bytes, Address], bool],
        clock: Callable[[], float],
        wall_offset_us: int = 0,
        rates: Rates | None = None,
    ) -> None:
        super().__init__(counters, send, clock, wall_offset_us, rates)
        self._waiting: list[Track] = []

    def _take_rtp(self, side: Side, sealed: bytes, now: int) -> None:
        """One datagram of media; its packet waits for `_give_waiting` afterwards."""
        ssrc = int.from_bytes(sealed[8:12])
        known = side.by_ssrc.get(ssrc)
        found = known or self._unnamed(side, sealed)
        if found is None or (ssrc not in side.senders and len(side.senders) >= MOST_SENDERS):
            self._counters["ssrc-undeclared"] += 1
            return
        allowance = found[0].allowance
        if now < allowance.shut_until:
            self._counters["track-over-rate"] += 1
            return
        try:
            clear = side.open(sealed)
        except SRTP_ERRORS:
            self._counters["srtp-refused"] += 1
            return
        side.senders.add(ssrc)  # SRTP keeps it from now on, whatever becomes of the packet
        if not allowance.take(len(sealed), now):
            self._counters["track-over-rate"] += 1
            return
        if known is None:
            self._learn(side, ssrc, found)
        self._arrived(side, found, clear, now)

    def _unnamed(self, side: Side, packet: bytes) -> Found | None:
        """The layer without an SSRC that this packet's MID and RID name (RFC 8843 section 9.2, RFC 8852); never by payload type alone."""
        try:
            _, extensions = header_end(packet)
        except ValueError:
            return None
        return next((found for track in side.tracks if (found := track.named_by(extensions, packet[1] & 0x7F))), None)

    def _learn(self, side: Side, ssrc: int, found: Found) -> None:
        track, stream, repair = found
        if repair:
            stream.repair_ssrc = ssrc
        else:
            stream.ssrc = ssrc
        side.by_ssrc[ssrc] = found
        side.events.append(Learnt(track.key, stream.index, ssrc, repair))

    def _arrived(self, side: Side, found: Found, clear: bytes, now: int) -> None:
        """One authentic packet of a layer."""
        if self._outside.until_us is not None and self._outside.is_fenced():
            return
        track, stream, repair = found
        try:
            packet = Packet.parse(clear)
        except ValueError:
            self._counters["rtp-malformed"] += 1
            return
        transport = packet.extensions.get(track.ids.transport)
        if transport is not None and len(transport) == 2:
            side.arrivals.note(int.from_bytes(transport), now)
        if packet.payload_type != (track.shape.repair_payload_type if repair else track.shape.payload_type):
            self._counters["payload-type-undeclared"] += 1
            return
        if repair:
            if len(packet.payload) < 2 or stream.ssrc is None:
                return
            packet, clear = track.repaired(stream.ssrc, packet, clear)
            stream.reception.repaired(packet.sequence_number)
        elif missing := stream.reception.add(packet, now / 1_000_000):
            self._ask_again(side, packet.ssrc, missing)
        if stream.reception.gave_up:
            self._lost_for_good(track, stream)
        self._pass_on(track, stream, packet, clear, now)

    def _pass_on(self, track: Track, stream: LayerStream, packet: Packet, raw: bytes, now: int) -> None:
        number = stream.numbering.unwrap(packet.sequence_number)
        if number is None:
            self._counters["rtp-too-old"] += 1
            return
        if track.taps and not track.several and not stream.holds(number):
            self._to_taps(track, Tap.give, number, packet, raw, now)
        sent_at = (now + self._wall_offset_us) * 262144 // 1_000_000 & 0xFFFFFF
        kept = track.keep(stream, number, packet, sent_at, now)
        if kept is None:
            self._counters["rtp-repeated"] += packet.payload != b""
            return
        if track.taps and track.several:
            self._to_taps(track, Tap.give_of_several, stream, kept, raw, track.streams, now)
        if track.copies:
            if not track.waiting:
                self._waiting.append(track)
            track.put(stream, kept)

    def _give_waiting(self) -> None:
        """Give each copy what waits for it, one copy after the other; nothing waits once the path has had its turn."""
        if not self._waiting:
            return
        tracks, self._waiting = self._waiting, []
        for track in tracks:
            waiting, track.waiting = track.waiting, []
            now = waiting[0].kept[0].arrived_us
            for copy in track.copies.values():
                for run in waiting:
                    if not copy.give(run, track.streams, now):
                        self._wants_key_frame(track, copy)

    def _to_taps(self, track: Track, give: Callable[Concatenate[Tap, Given], None], *what: Given.args, **more: Given.kwargs) -> None:
        for tap in list(track.taps.values()):
            try:
                give(tap, *what, **more)
            except Exception:
                _log.exception("a tap failed and was taken off")
                self._counters["tap-failed"] += 1
                track.taps.pop(id(tap.sink), None)
                tell_closed(tap.sink, "faulty")

    def _wants_key_frame(self, track: Track, copy: Outgoing) -> None:
        layer = copy.course.waiting_for
        layer = copy.course.current if layer is None else layer
        owner = self._owners.get(track.key)
        if layer is not None and owner is not None and copy.video:
            owner.end.on_event(KeyFrameWanted(track.key, layer))

    def _lost_for_good(self, track: Track, stream: LayerStream) -> None:
        """A tap has no decoder that could ask: where it lacks a packet that nobody sends again, only a key frame helps."""
        owner = self._owners.get(track.key)
        lost, stream.reception.gave_up = stream.reception.gave_up, False
        if lost and owner is not None and track.shape.kind == "video" and any(tap.follows(stream) for tap in track.taps.values()):
            owner.end.on_event(KeyFrameWanted(track.key, stream.index))

    def _ask_again(self, side: Side, ssrc: int, missing: list[int]) -> None:
        self.send_rtcp(side.end, bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, side.end.rtcp_ssrc, ssrc, missing)))


def tell_closed(sink: Sink, reason: str) -> None:
    try:
        sink.closed(reason)
    except Exception:
        _log.exception("a tap failed while it was closed")
