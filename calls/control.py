"""The database side of the media worker: one thread, asked and answering with plain values (`calls.media.orders`).

Every two seconds it reads each call again: who is let in, what is permitted, whether it has ended. The heartbeat and the leases are
another thread's (`calls.leases`), which this one starts and stops. A worker that died wrote no farewells: whoever has not come back half
a minute after this one took the call over is written down as gone. A note only makes it read sooner, so a lost note delays and never
prevents. When the database does not answer, nothing is carried over in silence: each call is reported as unconfirmed, with the moment up
to which it was confirmed. A process that stood still knows old things: history is committed only where the database has said, as the last
thing before, that the call is this worker's, and lets nobody take it in between.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
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
from .leases import Holding, Leases, give_up_after
from .media import clock, faults
from .media.orders import Admitted, Answer, CallView, Errand, Joined, Left, Look, Lost, Order, Outcome, Release, Renewed, Unconfirmed
from .models import Participant

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds between two readings of a call without a note
SILENCE = "3s"  # after which PostgreSQL gives up a statement of ours
RETURN = 30.0  # seconds that people have to come back after a call was taken over; a page tries again every 8 s at the latest
LAST_BEAT = 5.0  # seconds that the other thread has to end before its leases are given back
UNWRITTEN = 10_000  # arrivals and departures kept while the database is away
ACTOR = Actor.job("media-worker")
Wish = Callable[[UUID, gate.Reading], object | None]
Stays = Callable[[], bool]  # asked in a transaction: does the call stay this worker's until that is over?
Handlers = Mapping[type[Errand], Callable[[Any, Stays | None], Outcome]]


@dataclass
class Newcomers:
    """Who has come since this worker took a call, until the time to come back is over."""

    fence: int
    until: float
    seen: set[UUID] = field(default_factory=set)


class Control(threading.Thread):
    """Reads the calls of one worker until `stop`, and keeps the thread that registers it and renews its leases.

    `answer` is called in these threads; hand over with `loop.call_soon_threadsafe`. `load` says what the worker does now. `wish` reads
    the recording side's value of one call, inside its tenant's scope, and is given what the gate has just said of the call. `handlers`
    do the errands of other parts: each is given the errand and, where this worker still holds its call under its fence, what says so in a
    transaction, else None. It opens its tenant's scope itself, asks as the last thing in it, and may be run again after an outage.
    """

    def __init__(
        self,
        address: str,
        answer: Callable[[Answer], None],
        wish: Wish | None = None,
        handlers: Handlers | None = None,
        load: Callable[[], placement.Load] = placement.Load,
    ) -> None:
        super().__init__(name="control", daemon=True)  # a database that hangs must not keep a stopped worker alive
        self.return_within = RETURN
        self._answer = answer
        self._leases = Leases(address, self._told, load)
        self._wish = wish
        self._handlers = handlers or {}
        self._inbox: queue.SimpleQueue[Order | Holding | None] = queue.SimpleQueue()
        self._stopping = False
        self._due = 0.0
        self._held: dict[UUID, placement.Held] = {}
        self._lease_until = self._held_as_of = 0.0
        self._confirmed: dict[UUID, float] = {}
        self._asked: set[UUID] = set()
        self._unknown: set[UUID] = set()
        self._newcomers: dict[UUID, Newcomers] = {}
        self._unwritten: deque[Joined | Left | Release | Errand] = deque(maxlen=UNWRITTEN)

    @property
    def worker_id(self) -> UUID | None:
        """This worker's name in the registry, once it has one."""
        return self._leases.worker_id

    @property
    def in_order(self) -> bool:
        """Do both threads live, the other one once it was started?"""
        return self.is_alive() and (self._leases.ident is None or self._leases.is_alive())

    def ask(self, order: Order) -> None:
        """Any thread: put an order. Never waits."""
        self._inbox.put(order)

    def drain(self) -> None:
        """Any thread: take no new calls from now on."""
        self._leases.drain()

    def stop(self, patience: float) -> None:
        """Write what was ordered, give every lease back, end; waits at most `patience` seconds for it."""
        self._stopping = True
        self._inbox.put(None)
        self.join(patience)

    def _told(self, holding: Holding) -> None:
        """In the other thread: a heartbeat was taken. The loop is told at once, whatever this thread waits for."""
        fences = {str(call_id): held.fence for call_id, held in holding.held.items()}
        self._answer(Renewed(fences, holding.read_at, holding.until, holding.drain_in))
        self._inbox.put(holding)

    def run(self) -> None:
        self._leases.start()
        while not self._stopping:
            self._collect()
            self._safely(self._step)
        self._collect()
        self._safely(self._write)
        self._leases.stop(LAST_BEAT)
        self._safely(self._retire)
        connections.close_all()

    def _collect(self) -> None:
        """Wait for orders until the next heartbeat is due; take all that are there. Several looks at one call become one."""
        wait = max(0.0, self._due - clock.now()) if not self._stopping else 0.0
        try:
            order = self._inbox.get(timeout=wait) if wait else self._inbox.get_nowait()
            while True:
                if isinstance(order, Look):
                    self._note(order)
                elif isinstance(order, Holding):
                    self._hold(order.held, order.read_at, order.until)
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
            self._due = clock.now() + EVERY
            self._report_unconfirmed()

    def _report_unconfirmed(self) -> None:
        now = clock.now()
        for call_id in self._held.keys() | self._asked:
            self._answer(Unconfirmed(str(call_id), self._confirmed.get(call_id, 0.0), now))
        self._asked.clear()
        self._unknown.clear()

    def _step(self) -> None:
        if clock.now() >= self._due:
            self._due = clock.now() + EVERY
            give_up_after(SILENCE, "default")
            if self._handlers:
                self._limit_keys()
            self._asked |= self._held.keys()
        if self._unknown:
            self._renew()
        self._write()
        self._settle()
        while self._asked:
            self._look(self._asked.pop())

    def _limit_keys(self) -> None:
        """As for the database of calls; but a key store that is away ends no call: whose errand needs a key is refused."""
        try:
            give_up_after(SILENCE, "keys")
        except DatabaseError as error:
            log.warning("the key store does not answer: %s", type(error).__name__)
            connections["keys"].close()

    def _renew(self) -> None:
        """Find what was placed here since the last heartbeat: somebody waits for it."""
        if self.worker_id is None:
            return
        started = clock.now()
        mine = {held.call_id: held for held in placement.held(self.worker_id)}
        still = placement.renew(self.worker_id, mine)
        held = {call_id: one for call_id, one in mine.items() if call_id in still}
        self._hold(held, started, started + placement.LEASE.total_seconds())
        self._unknown.clear()

    def _hold(self, held: Mapping[UUID, placement.Held], read_at: float, until: float) -> None:
        """These calls are ours; report what is lost. A heartbeat that began before the newest reading says nothing new."""
        if read_at < self._held_as_of:
            return
        self._held_as_of, self._lease_until = read_at, until
        for call_id in self._held.keys() - held.keys():
            self._lose(call_id, read_at)
        self._asked |= {call_id for call_id, one in held.items() if call_id not in self._held or self._held[call_id].fence != one.fence}
        self._held = dict(held)
        self._newcomers = {call_id: self._newcomers_of(one, read_at) for call_id, one in held.items()}

    def _newcomers_of(self, held: placement.Held, now: float) -> Newcomers:
        """Those of this holding; a call that was taken just now begins with nobody."""
        known = self._newcomers.get(held.call_id)
        return known if known is not None and known.fence == held.fence else Newcomers(held.fence, now + self.return_within)

    def _lose(self, call_id: UUID, read_at: float) -> None:
        self._confirmed.pop(call_id, None)
        self._answer(Lost(str(call_id), read_at))

    def _look(self, call_id: UUID) -> None:
        started = clock.now()
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
                held_as_of=self._held_as_of,
            )

    def _give_back(self, call_id: UUID) -> None:
        if self.worker_id is not None:
            placement.release(self.worker_id, [call_id])
        self._held_as_of = clock.now()
        self._held.pop(call_id, None)
        self._newcomers.pop(call_id, None)
        self._confirmed.pop(call_id, None)

    def _write(self) -> None:
        """Write down who came and went, in order. What the database does not take now stays for the next time."""
        while self._unwritten:
            order = self._unwritten[0]
            held = self._held.get(UUID(order.call_id))
            ours = held is not None and held.fence == order.fence and self._is_ours(held)
            if isinstance(order, Errand):
                self._answer(self._run_errand(order, partial(self._stays_ours, held) if held is not None and ours else None))
            # After the lease is lost the next worker writes this call's history, not we.
            elif held is not None and ours:
                if isinstance(order, Release):
                    self._give_back(held.call_id)
                else:
                    self._write_down(held, order)
            self._unwritten.popleft()

    def _is_ours(self, held: placement.Held) -> bool:
        """Does the database still say so? What this thread knows may be old: the process may have stood still."""
        return self.worker_id is not None and placement.is_held(self.worker_id, held.call_id, held.fence)

    @contextmanager
    def _as_ours(self, held: placement.Held) -> Iterator[None]:
        """A transaction of the call's tenant that is committed only while the call is ours. Raises Refused("moved", 409), and nothing is written.

        Asked at its end, because the heartbeat waits for the row that is locked by it.
        """
        with scope.entered(held.tenant):
            yield
            if not self._stays_ours(held):
                raise Refused("moved", 409)

    def _stays_ours(self, held: placement.Held) -> bool:
        return self.worker_id is not None and placement.stays_held(self.worker_id, held.call_id, held.fence)

    def _run_errand(self, errand: Errand, stays: Stays | None) -> Outcome:
        try:
            return self._handlers[type(errand)](errand, stays)
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
            with self._as_ours(held):
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
        due = [call_id for call_id, newcomers in self._newcomers.items() if newcomers.until <= clock.now()]
        for call_id in due:
            held, newcomers = self._held[call_id], self._newcomers[call_id]
            if not self._is_ours(held):
                continue
            try:
                with self._as_ours(held):
                    call = queries.call(call_id)
                    gone = services.leave_unseen(call=call, seen=newcomers.seen, by=ACTOR, at=timezone.now()) if call else []
            except DatabaseError:
                raise
            except Refused as refused:
                log.warning("who did not come back was not written: %s", refused.code)
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
