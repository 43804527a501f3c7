"""What capture remembers of a call: the newest view, and each take: one track under one decision, from the question to END."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from calls.media.orders import CallView
from calls.media.room import Member, Room
from consent.gate import Permit

from ..recorder import Recorder
from .orders import Wish

STORED_WITHIN = 4.0  # seconds: the mark is on while a record was stored in this time
Place = tuple[str, str]  # participant, source


@dataclass(eq=False)
class Take:
    """One track under one decision. Without a recorder it waits for its epoch, and neither key nor encryptor exists on this side.

    Once off its track (`off_at`, seconds of capture's clock, for the reason `cut`) nothing enters; END waits for a view read after that.
    """

    participant: str
    person_id: str
    source: str
    track: int
    recording_id: UUID
    decision_id: UUID
    recorder: Recorder | None = None
    epoch_id: UUID | None = None
    off_at: float | None = None
    cut: str = ""

    @property
    def place(self) -> Place:
        return (self.participant, self.source)


@dataclass(eq=False)
class Followed:
    """One call on this worker, as capture sees it."""

    view: CallView
    room: Room
    started: dict[UUID, float] = field(default_factory=dict)
    takes: dict[Place, Take] = field(default_factory=dict)
    ending: list[Take] = field(default_factory=list)
    closing: dict[UUID, Place] = field(default_factory=dict)
    faults: set[Place] = field(default_factory=set)
    retry_at: dict[Place, float] = field(default_factory=dict)
    greeted: dict[str, Member] = field(default_factory=dict)
    state: str = ""
    since: datetime | None = None

    @property
    def wish(self) -> Wish | None:
        return self.view.wish if isinstance(self.view.wish, Wish) else None

    def permit(self, person_id: str, source: str) -> Permit | None:
        found = self.view.permits.get(person_id, {}).get(source)
        return found if isinstance(found, Permit) else None

    def permitted(self, take: Take) -> bool:
        """Does the decision that it was begun under stand by the newest view?"""
        permit = self.permit(take.person_id, take.source)
        return permit is not None and permit.decision_id == take.decision_id

    def still(self, take: Take) -> str:
        """Why this take may not go on by the newest view and the room; empty when it may."""
        if not self.permitted(take):
            return "withdrawn"
        if self.wish is None or self.wish.recording_id != take.recording_id:
            return "stopped"
        member = self.room.members.get(take.participant)
        if member is None or member.person_id != take.person_id:
            return "left"
        track = self.room.track(*take.place)
        return "" if track is not None and track.key == take.track else "ended"

    def why_over(self, take: Take) -> str:
        """Why a take has ended, by the newest view. A page that hears of the call's end goes at once, and has not left for that."""
        if self.view.ended and (take.off_at is None or (take.cut == "left" and take.participant in self.view.people)):
            return "ended"
        return take.cut

    def mark(self, place: Place, decided: str, now: float) -> str:
        """What is true of a source at this moment (product rule 7). Where several marks hold: fault, stopping, captured, starting, the decision."""
        if place in self.faults:
            return "fault"
        if place in self.closing.values() or any(ending.place == place for ending in self.ending):
            return "stopping"
        if self.is_captured(place, now):
            return "captured"
        take = self.takes.get(place)
        return "starting" if take is not None and (take.recorder is None or take.recorder.stored_at is None) else decided

    def is_captured(self, place: Place, now: float) -> bool:
        """Was a record of the source stored a moment ago? Also while the stretch before it is still being closed."""
        take = self.takes.get(place)
        stored = take.recorder.stored_at if take is not None and take.recorder is not None else None
        return stored is not None and now - stored <= STORED_WITHIN
