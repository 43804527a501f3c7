"""A call that the worker's database thread looks after, and what that thread answers."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from calls import control, placement
from calls.control import Control
from calls.media.orders import Answer, CallView, Look
from calls.models import Call, Meeting, Participant, Worker
from compliance.models import LogEntry
from tenants import scope
from tests.calls.processes import PATIENCE

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
State = Participant.State


class Sitting:
    """A call of Acme with Hana, Gail and Gus in it, and the thread that looks after it."""

    def __init__(self, cast: Any) -> None:
        self.cast = cast
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.control = Control(f"127.0.0.1:{4000 + os.getpid() % 1000}", self.answers.put, wish=lambda call_id, reading: f"wish for {call_id}")
        with scope.entered(cast.acme):
            meeting = Meeting.objects.create(tenant=cast.acme, title="Offer", host=cast.hana, created_at=AT)
            self.call = Call.objects.create(tenant=cast.acme, meeting=meeting, started_at=AT)
            self.hana = self.enters(cast.hana, "host", State.ADMITTED)
            self.gail = self.enters(cast.gail, "guest", State.ADMITTED)
            self.gus = self.enters(cast.gus, "guest", State.WAITING)

    def enters(self, person: Any, role: str, state: str) -> Participant:
        found: Participant = Participant.objects.create(tenant=self.cast.acme, call=self.call, person=person, role=role, state=state, entered_at=AT)
        return found

    def change(self, participant: Participant, **fields: Any) -> None:
        with scope.entered(self.cast.acme):
            Participant.objects.filter(pk=participant.pk).update(**fields)

    def state_of(self, participant: Participant) -> str:
        with scope.entered(self.cast.acme):
            return str(Participant.objects.get(pk=participant.pk).state)

    def entries(self) -> list[str]:
        with scope.entered(self.cast.acme):
            return list(LogEntry.objects.filter(kind__startswith="participant.").order_by("index").values_list("kind", flat=True))

    def start(self, patience: float = control.RETURN) -> None:
        """The thread runs and carries the call; people have `patience` seconds to come back to it."""
        self.control.return_within = patience
        self.control.start()
        deadline = time.monotonic() + PATIENCE
        while True:
            if self.control.worker_id and Worker.objects.filter(pk=self.control.worker_id).exists():
                break
            assert time.monotonic() < deadline
            self.control.join(0.01)
        placement.worker_for(self.call.pk, self.cast.acme)

    def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The next answer that is wanted; earlier ones are dropped."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if wanted(answer):
                return answer

    def look(self, wanted: Callable[[CallView], bool] = lambda view: True) -> CallView:
        """What the thread reads when it is told to."""
        self.control.ask(Look(str(self.call.pk), 1))
        found: CallView = self.until(lambda answer: isinstance(answer, CallView) and wanted(answer))
        return found
