"""One call on a worker, and the pipe of each participant in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tenants.errors import Refused

from . import clock, wire
from .orders import Admitted, CallView
from .room import Member, Room


class Closed(Exception):
    """This pipe is not opened, or is closed; `reason` is what the page is told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Pipe:
    """One participant's pipe while the participant is in the room. Its task is the one that makes it."""

    def __init__(self, connection: wire.Connection, epoch: int) -> None:
        self.connection = connection
        self.epoch = epoch
        self.reason = "worker-lost"  # what is told when nothing better is known: a fault of ours
        self.gone = asyncio.Event()
        self._ended = False
        self._task = asyncio.current_task()

    def send(self, message: dict[str, Any]) -> None:
        """Queue a frame for the page; a page that cannot be told, or does not take its frames, loses its pipe."""
        try:
            self.connection.send(message)
        except Refused:
            self.end("worker-lost")

    def end(self, reason: str) -> None:
        """Close from our side: the page is told why, and its participant leaves the room. Nothing happens to a pipe that is going."""
        if not self._ended and self._task is not None:
            self._ended, self.reason = True, reason
            self._task.cancel()

    @contextmanager
    def until_ended(self) -> Iterator[None]:
        """Ends quietly when `end` was called; any other cancellation passes through. From then on nobody interrupts."""
        try:
            yield
        except asyncio.CancelledError:
            if not self._ended or self._task is None:
                raise
            self._task.uncancel()
        finally:
            self._task = None


MarksOf = Callable[[CallView, Member], Mapping[str, str]]


def decided_marks(view: CallView, member: Member) -> Mapping[str, str]:
    """What the member agreed to, by the view alone."""
    return view.marks.get(member.person_id, {})


class Carried:
    """One call on this worker, under one fence."""

    def __init__(self, view: CallView, room: Room, marks_of: MarksOf) -> None:
        self.view = view
        self.room = room
        self.lease_until = view.lease_until
        self._marks_of = marks_of
        self.pipes: dict[str, Pipe] = {}
        self.empty_since = clock.now()
        self.closed_for = ""

    def admit(self, claims: wire.Claims) -> Admitted:
        """Who this is, by the newest view. Raises Closed."""
        if self.closed_for or claims.fence != self.view.fence or claims.tenant != self.view.tenant_id:
            raise Closed(self.closed_for or "moved")
        if reason := self.why_not(claims.participant, claims.epoch):
            raise Closed(reason)
        return self.view.people[claims.participant]

    def why_not(self, participant_id: str, epoch: int) -> str:
        """Why this participant may not be in the room; empty when all is well."""
        if self.view.ended:
            return "ended"
        admitted = self.view.people.get(participant_id)
        if admitted is None:
            return "left" if participant_id in self.view.left else "removed"
        return "" if admitted.epoch == epoch else "signed-out"

    def show_marks(self) -> None:
        """Tell the room the marks of its members, by the newest view."""
        for member in list(self.room.members.values()):
            self.room.set_marks(member.participant, self._marks_of(self.view, member))
