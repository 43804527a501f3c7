"""What one member sends: the connection its client offers, and its tracks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING

from .. import sdp
from ..feedback import CEILINGS, Ceiling, KeyFrames
from ..layers import Meter
from ..path import Event, KeyFrameWanted, Layer, Learnt, Reported, Shape
from ..peer import RTCP_PSFB_APP, RTCP_PSFB_PLI, Link, RtcpPsfbPacket, RtcpReceiverInfo, RtcpRrPacket, pack_remb_fci
from ..sink import Sink

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
        self.section = section
        self.shape = _shape(section)
        self.ssrcs = [layer.ssrc for layer in self.shape.layers]
        self.meter = Meter(len(self.ssrcs))
        self.ceiling = Ceiling(source, len(self.ssrcs) > 1) if source in CEILINGS else None
        self.key_frames = [KeyFrames() for _ in self.ssrcs]
        self.taps: list[Sink] = []

    @property
    def ssrc(self) -> int | None:
        """The SSRC of the first layer, once it is known."""
        return self.ssrcs[0]

    def want_key_frame(self) -> None:
        """Remember that somebody needs one, of whichever layer; it is asked for at the next turn that the limit allows."""
        if self.kind == "video":
            for layer in self.key_frames:
                layer.want()

    def same_as(self, section: sdp.Section, source: str) -> bool:
        """Does a new offer describe this very track?"""
        return (section, source) == (self.section, self.source)


def _shape(section: sdp.Section) -> Shape:
    """A section that was accepted, as the packet path needs it. Of a simulcast each layer is learnt by its RID (RFC 8853)."""
    repairs = section.repair_payload_type
    layers = tuple(Layer(rid) for rid in section.rids) or (Layer("", section.ssrc, section.repair_ssrc if repairs is not None else None),)
    return Shape(section.kind, section.mid, section.payload_type or 0, repairs, section.extensions, layers)


class Publisher:
    """The connection that a member's client offers. Which SSRC belongs to which track is settled by the packet path, before SRTP (F4)."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.tracks: dict[str, Track] = {}
        self.closing: list[Link] = []
        self.link: Link | None = None
        self._rev = -1
        self._fingerprints: tuple[tuple[str, str], ...] = ()
        self._reported_at = float("-inf")

    def track(self, source: str) -> Track | None:
        """What comes from `source`, if anything."""
        for track in self.tracks.values():
            if track.source == source:
                return track
        return None

    def publish(self, rev: int, text: object, declared: Mapping[str, str]) -> None:
        """Take an offer, whole or not at all, and answer it. Raises Refused."""
        if rev <= self._rev:
            return
        offer = sdp.parse_offer(text, declared)
        self._rev = rev
        room, before = self.member.room, self.member.person()
        link = self._connect(offer)
        ours = sdp.Transport(room.edge.listening, link.ufrag, link.pwd, link.fingerprint, link.session)
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
            self.link = edge.link(self._on_event, self._on_state)
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
        if self.link is not None:
            self.member.room.path.open(track.key, self.link, track.shape)
        self.member.room.track_added(track)

    def _drop(self, track: Track, reason: str) -> None:
        del self.tracks[track.mid]
        room = self.member.room
        room.track_removed(track)
        room.path.close(track.key, reason)

    def close(self, reason: str) -> None:
        """Everything ends; taps are told `reason`."""
        self._disconnect(reason)

    def _on_event(self, event: Event) -> None:
        """What the packet path found about a track of ours."""
        track = next((t for t in self.tracks.values() if isinstance(event, KeyFrameWanted | Learnt) and t.key == event.track), None)
        if track is not None and isinstance(event, KeyFrameWanted):
            track.key_frames[event.layer].want()
        elif track is not None and isinstance(event, Learnt) and not event.repair:
            track.ssrcs[event.layer] = event.ssrc

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
        """Send what is due: key-frame requests, and once a second the reports."""
        link, path = self.link, self.member.room.path
        if link is None:
            return
        for track in self.tracks.values():
            track.meter.note(path.seen(track.key), now)
            if track.kind != "video":
                continue
            for sink in track.taps if len(track.ssrcs) > 1 else ():
                path.choose_tap(track.key, sink, track.meter.best)
            for layer, ssrc in enumerate(track.ssrcs):
                keys = track.key_frames[layer]
                if track.meter.starving[layer]:
                    keys.want()
                if keys.wanted and ssrc is not None and link.state == "connected" and keys.due(now):
                    path.send_rtcp(link, bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, link.rtcp_ssrc, ssrc)))
        if now - self._reported_at >= REPORT_SECONDS:
            self._reported_at = now
            self._report(link, now)

    def _report(self, link: Link, now: float) -> None:
        """Receiver reports, and one ceiling for the whole connection: a browser applies the newest to all that it sends."""
        path = self.member.room.path
        told = [report for track in self.tracks.values() for report in path.reports(track.key, int(now * 1_000_000))]
        if not told:
            return
        data = bytes(RtcpRrPacket(link.rtcp_ssrc, [_block(report) for report in told]))
        limits = [track.ceiling for track in self.tracks.values() if track.ceiling is not None and any(track.ssrcs)]
        for ceiling in limits:
            ceiling.grow(now)
        if limits:
            rate = sum(ceiling.rate for ceiling in limits) + SOUND_ALLOWANCE
            ssrcs = [ssrc for track in self.tracks.values() if track.ceiling for ssrc in track.ssrcs if ssrc is not None]
            data += bytes(RtcpPsfbPacket(RTCP_PSFB_APP, link.rtcp_ssrc, 0, pack_remb_fci(rate, ssrcs)))
        path.send_rtcp(link, data)


def _block(report: Reported) -> RtcpReceiverInfo:
    return RtcpReceiverInfo(
        ssrc=report.ssrc,
        fraction_lost=report.fraction_lost,
        packets_lost=report.packets_lost,
        highest_sequence=report.highest_sequence,
        jitter=report.jitter,
        lsr=report.last_report,
        dlsr=report.since_report,
    )
