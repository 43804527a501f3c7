"""The database side of the media worker: one thread, asked and answering with plain values (`calls.media.orders`).

Every two seconds it says that the worker lives, renews the leases, and reads each call again: who is let in, what is permitted,
whether it has ended. A worker that died wrote no farewells: whoever has not come back half a minute after this one took the call over
is written down as gone. A note only makes it read sooner, so a lost note delays and never prevents. When the database does not
answer, nothing is carried over in silence: each call is reported as unconfirmed, with the moment up to which it was confirmed.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from consent import gate
from tenants import scope
from tenants.errors import Refused
from tenants.permissions import Actor

from . import placement, queries, services
from .media import faults
from .media.orders import Admitted, Answer, CallView, Errand, Joined, Left, Look, Lost, Order, Outcome, Release, Unconfirmed
from .models import Participant

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds between two heartbeats
SILENCE = "3s"  # after which PostgreSQL gives up a statement of ours: less than half a lease
RETURN = 30.0  # seconds that people have to come back after a call was taken over; a page tries again every 8 s at the latest
UNWRITTEN = 10_000  # arrivals and departures kept while the database is away
ACTOR = Actor.job("media-worker")
Wish = Callable[[UUID, gate.Reading], object | None]
Handlers = Mapping[type[Errand], Callable[[Any, bool], Outcome]]


@dataclass
class Newcomers:
    """Who has come since this worker took a call, until the time to come back is over."""

    fence: int
    until: float
    seen: set[UUID] = field(default_factory=set)


class Control(threading.Thread):
    """Registers the worker, keeps its leases and reads its calls until `stop`.

    `answer` is called in this thread; hand over with `loop.call_soon_threadsafe`. `wish` reads the recording side's value of one
    call, inside its tenant's scope, and is given what the gate has just said of the call. `handlers` do the errands of other parts:
    each is given the errand and whether this worker still holds its call under its fence, opens its tenant's scope itself, and may be
    run again after an outage.
    """

    def __init__(self, address: str, answer: Callable[[Answer], None], wish: Wish | None = None, handlers: Handlers | None = None) -> None:
        super().__init__(name="control", daemon=True)  # a database that hangs must not keep a stopped worker alive
        self.worker_id: UUID | None = None
        self.return_within = RETURN
        self._address = address
        self._answer = answer
        self._wish = wish
        self._handlers = handlers or {}
        self._inbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._draining = threading.Event()
        self._stopping = False
        self._due = 0.0
        self._held: dict[UUID, placement.Held] = {}
        self._lease_until = 0.0
        self._confirmed: dict[UUID, float] = {}
        self._asked: set[UUID] = set()
        self._unknown: set[UUID] = set()
        self._newcomers: dict[UUID, Newcomers] = {}
        self._unwritten: deque[Joined | Left | Release | Errand] = deque(maxlen=UNWRITTEN)

    def ask(self, order: Order) -> None:
        """Any thread: put an order. Never waits."""
        self._inbox.put(order)

    def drain(self) -> None:
        """Any thread: take no new calls from now on."""
        self._draining.set()
        self._inbox.put(None)

    def stop(self, patience: float) -> None:
        """Write what was ordered, give every lease back, end; waits at most `patience` seconds for it."""
        self._stopping = True
        self._inbox.put(None)
        self.join(patience)

    def run(self) -> None:
        told_draining = False
        while not self._stopping:
            self._collect()
            if self._draining.is_set() and not told_draining:
                told_draining, self._due = True, 0.0
            self._safely(self._step)
        self._collect()
        self._safely(self._write)
        self._safely(self._retire)
        connections.close_all()

    def _collect(self) -> None:
        """Wait for orders until the next heartbeat is due; take all that are there. Several looks at one call become one."""
        wait = max(0.0, self._due - time.monotonic()) if not self._stopping else 0.0
        try:
            order = self._inbox.get(timeout=wait) if wait else self._inbox.get_nowait()
            while True:
                if isinstance(order, Look):
                    self._note(order)
                elif order is not None:
                    self._unwritten.append(order)
                    self._notice(order)
                order = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _note(self, look: Look) -> None:
        call_id = UUID(look.call_id)
        self._asked.add(call_id)
        held = self._held.get(call_id)
        if held is None or held.fence < look.fence:
            self._unknown.add(call_id)

    def _notice(self, order: Joined | Left | Release | Errand) -> None:
        """Remember who was seen, from the moment it was said: not only once it is written."""
        newcomers = self._newcomers.get(UUID(order.call_id))
        if isinstance(order, Joined) and newcomers is not None and newcomers.fence == order.fence:
            newcomers.seen.add(UUID(order.participant_id))

    def _safely(self, work: Callable[[], None]) -> None:
        """Do it; when the database does not answer, say so for every call and try again with the next heartbeat."""
        try:
            work()
        except DatabaseError as error:
            log.warning("the database does not answer: %s", type(error).__name__)
            connections.close_all()
            self._due = time.monotonic() + EVERY
            self._report_unconfirmed()

    def _report_unconfirmed(self) -> None:
        now = time.monotonic()
        for call_id in self._held.keys() | self._asked:
            self._answer(Unconfirmed(str(call_id), self._confirmed.get(call_id, 0.0), now))
        self._asked.clear()
        self._unknown.clear()

    def _step(self) -> None:
        if time.monotonic() >= self._due:
            self._beat()
            self._asked |= self._held.keys()
        elif self._unknown:
            self._renew()
        self._write()
        self._settle()
        while self._asked:
            self._look(self._asked.pop())

    def _beat(self) -> None:
        started = time.monotonic()
        for used in ("default", "keys") if self._handlers else ("default",):
            if connections[used].vendor == "postgresql":
                with connections[used].cursor() as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', %s, false)", [SILENCE])
        if self.worker_id is None:
            self.worker_id = placement.register(self._address)
        placement.beat(self.worker_id, self._address, draining=self._draining.is_set())
        self._renew()
        self._due = started + EVERY

    def _renew(self) -> None:
        """Lengthen all leases and find what was placed here since; report what is lost."""
        if self.worker_id is None:
            return
        started = time.monotonic()
        mine = {held.call_id: held for held in placement.held(self.worker_id)}
        still = placement.renew(self.worker_id, mine)
        self._lease_until = started + placement.LEASE.total_seconds()
        for call_id in self._held.keys() - still:
            self._lose(call_id, started)
        self._held = {call_id: held for call_id, held in mine.items() if call_id in still}
        self._newcomers = {call_id: self._newcomers_of(held, started) for call_id, held in self._held.items()}
        self._unknown.clear()

    def _newcomers_of(self, held: placement.Held, now: float) -> Newcomers:
        """Those of this holding; a call that was taken just now begins with nobody."""
        known = self._newcomers.get(held.call_id)
        return known if known is not None and known.fence == held.fence else Newcomers(held.fence, now + self.return_within)

    def _lose(self, call_id: UUID, read_at: float) -> None:
        self._confirmed.pop(call_id, None)
        self._answer(Lost(str(call_id), read_at))

    def _look(self, call_id: UUID) -> None:
        started = time.monotonic()
        held = self._held.get(call_id)
        if held is None:
            self._lose(call_id, started)
            return
        try:
            view = self._view(held, started)
        except DatabaseError:
            self._asked.add(call_id)
            raise
        except Exception as error:
            # One call that cannot be read must not hide the others; nothing is known of it, so nothing is confirmed.
            faults.record(error, f"call {call_id} cannot be read")
            self._answer(Unconfirmed(str(call_id), self._confirmed.get(call_id, 0.0), started))
            return
        self._confirmed[call_id] = started
        self._answer(view)
        if view.ended:
            self._give_back(call_id)

    def _view(self, held: placement.Held, started: float) -> CallView:
        """One call read in one transaction of its tenant, which locks nothing: no decision waits for a reading."""
        with scope.reading(held.tenant):
            call = queries.call(held.call_id)
            entered = list(queries.entered(held.call_id)) if call else []
            people = {p.pk: p for p in entered if p.state in queries.IN_THE_CALL}
            read = gate.reading(held.call_id)
            return CallView(
                call_id=str(held.call_id),
                tenant_id=str(held.tenant.pk),
                fence=held.fence,
                read_at=started,
                lease_until=self._lease_until,
                people={str(pk): Admitted(str(p.person_id), p.person.name, p.role, p.epoch) for pk, p in people.items()},
                left=frozenset(str(p.pk) for p in entered if p.state == Participant.State.LEFT),
                permits=read.permits,
                marks=read.marks,
                ended=call is None or call.ended_at is not None,
                wish=self._wish(held.call_id, read) if self._wish else None,
            )

    def _give_back(self, call_id: UUID) -> None:
        if self.worker_id is not None:
            placement.release(self.worker_id, [call_id])
        self._held.pop(call_id, None)
        self._newcomers.pop(call_id, None)
        self._confirmed.pop(call_id, None)

    def _write(self) -> None:
        """Write down who came and went, in order. What the database does not take now stays for the next time."""
        while self._unwritten:
            order = self._unwritten[0]
            held = self._held.get(UUID(order.call_id))
            ours = held is not None and held.fence == order.fence
            if isinstance(order, Errand):
                self._answer(self._run_errand(order, ours))
            # After the lease is lost the next worker writes this call's history, not we.
            elif held is not None and ours:
                if isinstance(order, Release):
                    self._give_back(held.call_id)
                else:
                    self._write_down(held, order)
            self._unwritten.popleft()

    def _run_errand(self, errand: Errand, ours: bool) -> Outcome:
        try:
            return self._handlers[type(errand)](errand, ours)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            # What the database refuses for its content would be refused again for ever. An errand of one track must not end the calls
            # of all; whoever sent it is told.
            faults.record(error, f"{type(errand).__name__} was not done")
            return Outcome(errand.call_id, errand, "fault")

    def _write_down(self, held: placement.Held, order: Joined | Left) -> None:
        service = services.joined if isinstance(order, Joined) else services.left
        try:
            with scope.entered(held.tenant):
                participant = queries.participant(UUID(order.participant_id))
                if participant is not None and participant.epoch == order.epoch:
                    service(participant=participant, by=ACTOR, at=order.at)
        except Refused as refused:
            log.warning("%s was not written: %s", type(order).__name__, refused.code)
        except DatabaseError:
            raise
        except Exception as error:
            # What cannot be written about one participant must not end the calls of all.
            faults.record(error, f"{type(order).__name__} was not written")

    def _settle(self) -> None:
        """The time to come back is over: who did not has gone. What the database does not take now is tried again."""
        due = [call_id for call_id, newcomers in self._newcomers.items() if newcomers.until <= time.monotonic()]
        for call_id in due:
            held, newcomers = self._held[call_id], self._newcomers[call_id]
            try:
                with scope.entered(held.tenant):
                    call = queries.call(call_id)
                    gone = services.leave_unseen(call=call, seen=newcomers.seen, by=ACTOR, at=timezone.now()) if call else []
            except DatabaseError:
                raise
            except Exception as error:
                # As with arrivals: what cannot be written about one call must not end the others.
                faults.record(error, "who did not come back was not written")
            else:
                if gone:
                    log.info("call %s: %d did not come back after it was taken over", call_id, len(gone))
            newcomers.until = math.inf

    def _retire(self) -> None:
        if self.worker_id is not None:
            placement.retire(self.worker_id)
