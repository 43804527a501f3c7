"""What one member receives: the connection that we offer, one offer in flight, and its m-lines (slots)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import sdp
from ..path import Copy, Event, Lost
from ..peer import Link
from .pictures import Pictures
from .publisher import Track

if TYPE_CHECKING:
    from .member import Member


class Slot:
    """One m-line, used again for the next track of its kind, then with a fresh SSRC: no two sources share one.

    States: free (no track), offered (a track, not flowing), flowing.
    """

    def __init__(self, mid: str, kind: str) -> None:
        self.mid, self.kind = mid, kind
        self.track: Track | None = None
        self.ssrc: int | None = None
        self.repair_ssrc: int | None = None
        self.agreed = self.flowing = self.repairs = False

    def begin(self, track: Track, link: Link) -> None:
        """Offer `track` from now on, over `link`."""
        self.track, self.ssrc = track, link.fresh_ssrc()
        self.repair_ssrc = link.fresh_ssrc() if self.kind == "video" else None
        self.agreed = self.flowing = self.repairs = False

    def copy(self) -> Copy | None:
        """What the listener agreed to, as the packet path needs it."""
        if self.track is None or self.ssrc is None:
            return None
        return Copy(self.ssrc, self.repair_ssrc if self.repairs else None, self.mid, self.track.participant)

    def line(self) -> sdp.Line:
        """How our offer describes it."""
        if self.track is None:
            return sdp.Line(self.mid, self.kind)
        return sdp.Line(self.mid, self.kind, self.track.participant, self.track.source, self.ssrc, self.repair_ssrc)


class Subscriber:
    """The connection that we offer to a member. Media flows into a slot once its offer was answered and DTLS stands."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.slots: list[Slot] = []
        self.closing: list[Link] = []
        self.link: Link | None = None
        self.pictures = Pictures(member)
        self._rev = 0
        self._in_flight: dict[str, int | None] | None = None
        self._dirty = False
        self._gone = False
        self._fingerprints: tuple[tuple[str, str], ...] = ()

    # What is to be received.
    def subscribe(self, track: Track) -> None:
        """Give `track` a slot and offer it."""
        slot = next((slot for slot in self.slots if slot.track is None and slot.kind == track.kind), None)
        if slot is None:
            slot = Slot(str(len(self.slots)), track.kind)
            self.slots.append(slot)
        slot.begin(track, self._connection())
        self._negotiate()

    def unsubscribe(self, track: Track) -> None:
        """Free the slot of `track`, at once, and offer it as inactive."""
        for slot in self.slots:
            if slot.track is track:
                self._stop(slot)
                slot.track = slot.ssrc = slot.repair_ssrc = None
                self._negotiate()

    def _stop(self, slot: Slot) -> None:
        if slot.track is not None and slot.flowing:
            self.member.room.path.remove(slot.track.key, self.member.participant)
            if slot.track.ceiling is not None:
                slot.track.ceiling.forget(self.member.participant)
            if self.link is not None and slot.ssrc is not None:
                for ssrc in (slot.ssrc, slot.repair_ssrc):
                    if ssrc is not None:
                        self.link.retire(ssrc)
        if slot.track is not None:
            self.pictures.forget(slot.track)
        slot.agreed = slot.flowing = False

    def _connection(self) -> Link:
        if self.link is None:
            self.pictures = Pictures(self.member)
            self.link = self.member.room.edge.link(self._on_event, self._on_state)
        return self.link

    # One offer in flight.
    def _negotiate(self) -> None:
        """Offer the present slots, or remember to when the client has answered the offer in flight."""
        if self._gone or not self.slots:
            return
        if self._in_flight is not None:
            self._dirty = True
            return
        link, room = self._connection(), self.member.room
        self._rev += 1
        self._in_flight, self._dirty = {slot.mid: slot.ssrc for slot in self.slots}, False
        ours = sdp.Transport(room.edge.listening, link.ufrag, link.pwd, link.fingerprint, link.session)
        tracks = [
            {"mid": slot.mid, "participant": slot.track.participant, "source": slot.track.source} for slot in self.slots if slot.track is not None
        ]
        text = sdp.offer([slot.line() for slot in self.slots], ours, self._rev)
        self.member.send({"kind": "offer", "rev": self._rev, "sdp": text, "tracks": tracks})

    def subscribed(self, rev: int, text: object) -> None:
        """The client's answer. A stale one is ignored; a malformed one is Refused, and the offer stays in flight."""
        offered = self._in_flight
        if offered is None or rev != self._rev:
            return
        answer = sdp.parse_answer(text, list(offered))
        link = self._connection()
        link.remote = (answer.ufrag, answer.pwd)
        if link.state == "new":
            self._fingerprints = answer.fingerprints
            link.start(answer.fingerprints)
        self.member.room.edge.ask_waiting(link)
        self._in_flight = None
        accepted = {section.mid: section for section in answer.sections if section.receives}
        for slot in self.slots:
            if slot.track is not None and offered.get(slot.mid) == slot.ssrc and not slot.flowing:
                section = accepted.get(slot.mid)
                slot.agreed = section is not None
                slot.repairs = section is not None and section.repair_payload_type is not None and sdp.TRANSPORT_CC in section.extensions
        self._flow()
        if self._dirty:
            self._negotiate()

    def restart(self) -> None:
        """ICE restart, or a new connection when the old one is closed; either way a new offer, once none is in flight."""
        if self.link is None or self.link.closed:
            self._renew()
        else:
            self.link.restart()
        self._negotiate()

    def _renew(self) -> None:
        """Start over with a new connection: what was agreed about the old one, its offer in flight included, is void."""
        self.link, self._in_flight, self._dirty = None, None, False
        for slot in self.slots:
            if slot.track is not None:
                slot.begin(slot.track, self._connection())

    # Flow.
    def _flow(self) -> None:
        """Let media into every slot that is agreed. Only to a member: the roster is asked for every single copy."""
        link, room = self.link, self.member.room
        if link is None or link.state != "connected" or not room.is_member(self.member):
            return
        for slot in self.slots:
            track, copy = slot.track, slot.copy()
            if track is not None and copy is not None and slot.agreed and not slot.flowing:
                slot.flowing = True
                room.path.add(track.key, self.member.participant, link, copy, None if track.kind == "video" else 0)
        self.pictures.choose(self.received(), room.clock())

    def _on_state(self, state: str) -> None:
        self.member.send({"kind": "state", "pc": "sub", "state": state})
        if state == "connected":
            self._flow()
        elif state in ("failed", "closed"):
            for slot in self.slots:
                self._stop(slot)

    def received(self) -> list[Track]:
        """Every track that flows, or would if its picture were shown."""
        return [slot.track for slot in self.slots if slot.flowing and slot.track is not None]

    def show(self) -> None:
        """The page shows other pictures than before."""
        self.pictures.choose(self.received(), self.member.room.clock())

    def tick(self, now: float) -> None:
        """Choose the layer of each picture that flows."""
        if self.pictures.is_due(now):
            self.pictures.tick(self.received(), now)

    def close(self) -> None:
        """Nothing more is received; slots are not offered again."""
        self._gone = True
        for slot in self.slots:
            self._stop(slot)
        if self.link is not None:
            self.link.close()
            self.closing = [self.link]

    # What the listener reports.
    def _on_event(self, event: Event) -> None:
        """Loss of a copy lowers its publisher's ceiling (D16); what the connection can take is told to its estimate."""
        self.pictures.heed(event)
        if isinstance(event, Lost):
            track = next((slot.track for slot in self.slots if slot.flowing and slot.track is not None and slot.track.key == event.track), None)
            if track is not None and track.ceiling is not None:
                track.ceiling.lost(self.member.participant, event.fraction / 256, self.member.room.clock())
