"""What one member sends: the connection its client offers, and its tracks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING

from .. import sdp
from ..feedback import CEILINGS, Ceiling, KeyFrames, Reception
from ..peer import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    Link,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    pack_remb_fci,
    parse_rtcp,
)
from ..sink import Packet, header_end

if TYPE_CHECKING:
    from .member import Member

REPORT_SECONDS = 1.0
SOUND_ALLOWANCE = 128_000  # bit/s kept free beside a camera, so that a voice is not squeezed by the picture's ceiling

_keys = count(1)


class Track:
    """One source of one participant, from its offer to its end. `key` names it to the forwarder and is never used again."""

    def __init__(self, participant: str, source: str, section: sdp.Section) -> None:
        self.key = next(_keys)
        self.participant, self.source, self.kind, self.mid = participant, source, section.kind, section.mid
        self.ssrc, self.declared_ssrc, self.extensions = section.ssrc, section.ssrc, section.extensions
        self.payload_type = section.payload_type
        self.reception = Reception(sdp.CLOCK_RATES[self.kind])
        self.ceiling = Ceiling(source) if source in CEILINGS else None
        self.key_frames = KeyFrames()

    def want_key_frame(self) -> None:
        """Remember that somebody needs one; it is asked for at the next turn that the limit allows."""
        if self.kind == "video":
            self.key_frames.want()

    def same_as(self, section: sdp.Section, source: str) -> bool:
        """Does a new offer describe this very track?"""
        described = (section.mid, section.ssrc, source, section.payload_type, section.extensions)
        return described == (self.mid, self.declared_ssrc, self.source, self.payload_type, self.extensions)


class Publisher:
    """The connection that a member's client offers. Which SSRC belongs to which track is settled here, before SRTP (F4)."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.tracks: dict[str, Track] = {}
        self.closing: list[Link] = []
        self.link: Link | None = None
        self._rev = -1
        self._fingerprints: tuple[tuple[str, str], ...] = ()
        self._by_ssrc: dict[int, Track] = {}
        self._reported_at = float("-inf")

    def publish(self, rev: int, text: object, declared: Mapping[str, str]) -> None:
        """Take an offer, whole or not at all, and answer it. Raises Refused."""
        if rev <= self._rev:
            return
        offer = sdp.parse_offer(text, declared)
        self._rev = rev
        room, before = self.member.room, self.member.person()
        link = self._connect(offer)
        ours = sdp.Transport(room.edge.host, room.edge.port, link.ufrag, link.pwd, link.fingerprint, link.session)
        sections = {section.mid: section for section in offer.sections}
        for mid, track in list(self.tracks.items()):
            if mid not in offer.live or not track.same_as(sections[mid], offer.live[mid]):
                self._drop(track, "ended")
        self.member.send({"kind": "published", "rev": rev, "sdp": sdp.answer(offer, ours, rev)})
        for mid, source in offer.live.items():
            if mid not in self.tracks:
                self._open(Track(self.member.participant, source, sections[mid]))
        if self.member.person() != before:
            room.tell_person(self.member)

    def _connect(self, offer: sdp.Offer) -> Link:
        """The link for this offer: a new one for a new connection of the client, else the same, perhaps with fresh ICE."""
        remote = (offer.ufrag, offer.pwd)
        if self.link is None or self.link.closed or offer.fingerprints != self._fingerprints:
            self._disconnect("ended")
            edge = self.member.room.edge
            self.link = edge.link(self._on_rtp, self._on_rtcp, self._on_state, self._admits)
            self.link.start(offer.fingerprints)
            self._fingerprints = offer.fingerprints
        elif self.link.remote != remote:
            self.link.restart()
        self.link.remote = remote
        return self.link

    def _disconnect(self, reason: str) -> None:
        for track in list(self.tracks.values()):
            self._drop(track, reason)
        if self.link is not None:
            self.link.close()
            self.closing = [link for link in self.closing if link.state != "closed"] + [self.link]
            self.link = None

    def _open(self, track: Track) -> None:
        self.tracks[track.mid] = track
        if track.ssrc is not None:
            self._by_ssrc[track.ssrc] = track
        self.member.room.forwarder.open(track.key, track.kind, track.extensions)
        self.member.room.track_added(track)

    def _drop(self, track: Track, reason: str) -> None:
        del self.tracks[track.mid]
        room = self.member.room
        room.track_removed(track)
        room.forwarder.close(track.key, reason)
        if track.ssrc is not None:
            self._by_ssrc.pop(track.ssrc, None)

    def close(self, reason: str) -> None:
        """Everything ends; taps are told `reason`."""
        self._disconnect(reason)

    # The packet path.
    def _admits(self, sealed: bytes) -> bool:
        """May this SSRC reach SRTP? It is declared, or names by MID a track that has none yet."""
        return int.from_bytes(sealed[8:12]) in self._by_ssrc or self._unnamed(sealed) is not None

    def _unnamed(self, packet: bytes) -> Track | None:
        """The track without an SSRC that this packet's MID names (RFC 8843 section 9.2); never by payload type alone."""
        waiting = [track for track in self.tracks.values() if track.ssrc is None]
        if not waiting:
            return None
        try:
            _, extensions = header_end(packet)
        except ValueError:
            return None
        return next((t for t in waiting if extensions.get(t.extensions[sdp.MID]) == t.mid.encode()), None)

    def _on_rtp(self, clear: bytes, arrived: float) -> None:
        counters = self.member.room.edge.counters
        try:
            packet = Packet.parse(clear)
        except ValueError:
            counters["rtp-malformed"] += 1
            return
        track = self._by_ssrc.get(packet.ssrc)
        if track is None:
            track = self._unnamed(clear)
            if track is None:
                counters["ssrc-undeclared"] += 1
                return
            track.ssrc = packet.ssrc
            self._by_ssrc[packet.ssrc] = track
        if packet.payload_type != track.payload_type:
            counters["payload-type-undeclared"] += 1
            return
        missing = track.reception.add(packet, arrived)
        self.member.room.forwarder.packet(track.key, packet, clear, arrived)
        if missing:
            self._ask_again(track, missing)

    def _on_rtcp(self, clear: bytes) -> None:
        room = self.member.room
        try:
            packets = parse_rtcp(clear)
        except ValueError:
            room.edge.counters["rtcp-malformed"] += 1
            return
        now = room.clock()
        for packet in packets:
            track = self._by_ssrc.get(packet.ssrc) if isinstance(packet, RtcpSrPacket) else None
            if track is not None and isinstance(packet, RtcpSrPacket):
                info = packet.sender_info
                track.reception.sender_report(info.ntp_timestamp, now)
                room.forwarder.sender_report(track.key, info.ntp_timestamp, info.rtp_timestamp, now)

    def _on_state(self, state: str) -> None:
        self.member.send({"kind": "state", "pc": "pub", "state": state})
        if state == "connected":
            for track in self.tracks.values():
                track.want_key_frame()
        elif state in ("failed", "closed"):
            before = self.member.person()
            self._disconnect("ended")
            if self.member.person() != before:
                self.member.room.tell_person(self.member)

    # Feedback to the publisher.
    def tick(self, now: float) -> None:
        """Send what is due: key-frame requests, repeated requests for lost packets, and once a second the reports."""
        link = self.link
        if link is None:
            return
        for track in self.tracks.values():
            if track.ssrc is None:
                continue
            if self.member.room.forwarder.starving(track.key):
                track.want_key_frame()
            if link.state == "connected" and track.key_frames.due(now):
                link.send_rtcp(bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, link.rtcp_ssrc, track.ssrc)))
            missing = track.reception.repeat(now)
            if missing:
                self._ask_again(track, missing)
        if now - self._reported_at >= REPORT_SECONDS:
            self._reported_at = now
            self._report(link, now)

    def _ask_again(self, track: Track, missing: list[int]) -> None:
        if self.link is not None and track.ssrc is not None:
            self.link.send_rtcp(bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, self.link.rtcp_ssrc, track.ssrc, missing)))

    def _report(self, link: Link, now: float) -> None:
        """Receiver reports, and one ceiling for the whole connection: a browser applies the newest to all that it sends."""
        known = [(track, track.ssrc) for track in self.tracks.values() if track.ssrc is not None]
        blocks = [block for track, ssrc in known if (block := track.reception.report(ssrc, now)) is not None]
        if not blocks:
            return
        data = bytes(RtcpRrPacket(link.rtcp_ssrc, blocks))
        limits = [(track.ceiling, ssrc) for track, ssrc in known if track.ceiling is not None]
        for ceiling, _ in limits:
            ceiling.grow(now)
        if limits:
            rate = sum(ceiling.rate for ceiling, _ in limits) + SOUND_ALLOWANCE
            data += bytes(RtcpPsfbPacket(RTCP_PSFB_APP, link.rtcp_ssrc, 0, pack_remb_fci(rate, [ssrc for _, ssrc in limits])))
        link.send_rtcp(data)
