"""Who hears whom. A room is one call on one worker: its members, their tracks, and who receives a copy of which.

The roster is derived from registrations: who was admitted here, and which tracks their connections carry. What must never
happen: a copy goes to somebody who is not a member. `_connectable` is asked before every copy, and members that go are
taken off every track before anybody is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import count
from typing import Protocol

from tenants.errors import Refused

from .. import rhythm
from ..edge import POLL_SECONDS, Edge
from ..path import MediaPath
from ..sink import Sink
from ..speakers import Speakers
from .member import Member, Message, Send
from .publisher import Track

__all__ = ["Member", "Message", "Room", "Send", "Track"]

TICK_SECONDS = 0.1
_numbers = count()


class Admitted(Protocol):
    """Somebody who may be in the call, as the database's newest view has it."""

    @property
    def person_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...


class Room:
    """One call. `send`, where given, hears what all members are told. All methods belong to the loop of `edge`.

    `last_speakers`: of how many people each member is sent the camera, those who spoke last; 0: of everybody.
    """

    def __init__(self, call_id: str, edge: Edge, send: Send | None = None, last_speakers: int = 0) -> None:
        self.call_id, self.edge = call_id, edge
        self.clock: Callable[[], float] = edge.clock
        self.path: MediaPath = edge.path
        self.members: dict[str, Member] = {}
        self.speakers, self.last_speakers = Speakers(), last_speakers
        self._send = send
        self._leaving: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._offset = next(_numbers) % 2 * POLL_SECONDS  # rooms in two halves, each with a turn of the packet path
        self.closed = False

    def admit(self, participant_id: str, person_id: str, name: str, role: str, send: Send) -> Member:
        """A member from now on. The same participant from before is replaced: told so, and gone at once.

        Raises Refused("call-ended", 409) when the room is closed.
        """
        if self.closed:
            raise Refused("call-ended", 409)
        before = self.members.get(participant_id)
        if before is not None:
            before.send({"kind": "closed", "reason": "replaced"})
            self._part(before, "replaced")
        member = Member(self, participant_id, person_id, name, role, send)
        self.broadcast({"kind": "joined", "person": member.person()})
        self.members[participant_id] = member
        for other in self.members.values():
            if other is not member:
                member.send({"kind": "joined", "person": other.person()})
                for track in other.publisher.tracks.values():
                    member.subscriber.subscribe(track)
        if self.speakers.active:
            member.send(self._speaking())
        if self._timer is None:
            self._tick()
        return member

    async def remove(self, participant_id: str, reason: str) -> None:
        """Take a member out; media stops before this awaits anything. `reason` is what the others are told.

        Telling the member itself is for whoever holds its pipe. Unknown participants are ignored: removing twice is harmless.
        """
        member = self.members.get(participant_id)
        if member is not None:
            await self._part(member, reason)

    def _part(self, member: Member, reason: str) -> asyncio.Task[None]:
        """Off every track in this turn of the loop; the goodbyes of its connections follow."""
        del self.members[member.participant]
        member.leave("left")
        self.broadcast({"kind": "left", "participant": member.participant, "reason": reason})
        task = asyncio.get_running_loop().create_task(member.wait_closed())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def close(self, reason: str) -> None:
        """End the room for everybody. Nobody is admitted afterwards."""
        self.cut(reason)
        while self._leaving:
            await asyncio.gather(*self._leaving)

    def cut(self, reason: str) -> None:
        """As `close`, without waiting for the goodbyes of connections: when this has returned, nobody is on any track."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        for member in list(self.members.values()):
            self._part(member, reason)

    def apply(self, people: Mapping[str, Admitted], marks: Mapping[str, Mapping[str, str]]) -> None:
        """The newest view of the database: `people` by participant, `marks` by person. Who is not in it is out, in this turn."""
        for member in list(self.members.values()):
            admitted = people.get(member.participant)
            if admitted is None or admitted.person_id != member.person_id:
                self._part(member, "removed")
                continue
            if (member.name, member.role) != (admitted.name, admitted.role):
                member.name, member.role = admitted.name, admitted.role
                self.tell_person(member)
            self.set_marks(member.participant, marks.get(member.person_id, {}))

    # Who speaks.
    def _listen(self, now: float) -> None:
        """Take in how loud everybody is, and say who speaks when that has changed. Nobody without an open microphone does."""
        heard: dict[str, float] = {}
        for who, member in self.members.items():
            if member.publisher.tracks and "mic" not in member.muted and (mic := member.publisher.track("mic")) is not None:
                heard[who] = mic.meter.loudness
        if not heard and self.speakers.knows(self.members):
            return
        self.speakers.note(heard, self.members, now)
        if self.speakers.news(now) is not None:
            self.broadcast(self._speaking())

    def _speaking(self) -> Message:
        return {"kind": "speaking", "participants": list(self.speakers.active)}

    # Roster.
    def people(self) -> list[Message]:
        """Every member as the protocol's Person; `marks` as set from outside, empty until then."""
        return [member.person() for member in self.members.values()]

    def set_marks(self, participant_id: str, marks: Mapping[str, str]) -> None:
        """What a member agreed to, by source; everybody is told when it changed. Unknown participants are ignored."""
        member = self.members.get(participant_id)
        if member is not None and member.marks != dict(marks):
            member.marks = dict(marks)
            self.tell_person(member)

    def tell_person(self, member: Member) -> None:
        """Something that the roster shows has changed."""
        if self.is_member(member):
            self.broadcast({"kind": "person", "person": member.person()})

    def broadcast(self, message: Message) -> None:
        """To every member, and to whoever listens to the room."""
        for member in list(self.members.values()):
            member.send(message)
        if self._send is not None:
            self._send(message)

    def is_member(self, member: Member) -> bool:
        """Is this very registration on the roster? A replaced one is not."""
        return self.members.get(member.participant) is member

    def edges(self) -> set[tuple[str, str, str]]:
        """Every (publisher, source, listener) that media flows along at this moment: each has a roster row at both ends."""
        tracks = [track for member in self.members.values() for track in member.publisher.tracks.values()]
        return {(t.participant, t.source, listener) for t in tracks for listener in self.path.listeners(t.key)}

    def forwarded(self) -> float:
        """Packets a second that go to listeners, none of which is counted as sent less than the best layer that arrives."""
        tracks = [track for member in self.members.values() for track in member.publisher.tracks.values()]
        return sum(track.meter.packets[track.meter.best] * len(self.path.listeners(track.key)) for track in tracks)

    # Tracks.
    def track_added(self, track: Track) -> None:
        """A member began to publish: everybody else is offered a copy."""
        for member in self.members.values():
            if member.participant != track.participant:
                member.subscriber.subscribe(track)

    def track_removed(self, track: Track) -> None:
        """A member stopped publishing a track; called before the packet path closes it."""
        for member in self.members.values():
            member.subscriber.unsubscribe(track)

    def track(self, participant: str, source: str) -> Track | None:
        """What this participant publishes from `source`, if anything."""
        member = self.members.get(participant)
        return member.publisher.track(source) if member else None

    # For the recorder.
    def tap(self, participant: str, source: str, sink: Sink) -> None:
        """Give `sink` this track from its next packet on, and ask for a key frame. Raises Refused("unknown-track", 404)."""
        track = self.track(participant, source)
        if track is None:
            raise Refused("unknown-track", 404)
        self.path.tap(track.key, sink, track.meter.best)
        track.taps.append(sink)
        track.want_key_frame()

    def untap(self, participant: str, source: str, sink: Sink) -> int | None:
        """Take `sink` off, in this turn of the loop. Returns the highest sequence number it was given, None if it got none."""
        track = self.track(participant, source)
        if track is None:
            return None
        track.taps = [tap for tap in track.taps if tap is not sink]
        return self.path.untap(track.key, sink)

    def want_key_frame(self, participant: str, source: str) -> None:
        """Ask the publisher for a key frame, as soon as the limit allows. Sound and unknown tracks: nothing happens."""
        track = self.track(participant, source)
        if track is not None:
            track.want_key_frame()

    # Time.
    def _tick(self) -> None:
        self._timer = rhythm.next_turn(self._tick, TICK_SECONDS, self._offset)  # first: one fault must not be the last turn
        self.tick()

    def tick(self) -> None:
        """What is due by the clock: requests held back, repeats, reports; who speaks; which pictures flow."""
        now = self.clock()
        for member in list(self.members.values()):
            if member.publisher.tracks:
                member.publisher.tick(now)
        self._listen(now)
        for member in list(self.members.values()):
            member.subscriber.tick(now)
