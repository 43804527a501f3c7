"""The heartbeat of a media worker: one thread that says every second that the worker lives, and renews its leases.

It is apart from the thread that reads calls (`calls.control`), so that a slow reading or a disk that is waited for costs nobody a lease. It
needs the database and nothing else. What must never happen here: a lease is believed for longer than the database grants it. So its end
counts from the moment *before* the heartbeat was sent, by a clock that goes on while this machine sleeps (`media.clock`), and nothing is
said when a heartbeat fails: the worker is then fenced by the last moment that it was told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import connections

from . import placement
from .media import clock

log = logging.getLogger(__name__)

EVERY = 1.0  # seconds between two heartbeats
SILENCE = "2s"  # after which PostgreSQL gives up a statement of this thread: less than a lease


@dataclass(frozen=True)
class Holding:
    """What one heartbeat found: the calls that are this worker's, read at `read_at`, under leases that end at `until` (`clock.now`)."""

    held: Mapping[UUID, placement.Held]
    read_at: float
    until: float
    drain_in: float | None = None


class Leases(threading.Thread):
    """Registers the worker and keeps its leases until `stop`.

    `told` is called in this thread after each heartbeat that the database took; `load` is asked before, and answers at once.
    """

    def __init__(self, address: str, told: Callable[[Holding], None], load: Callable[[], placement.Load]) -> None:
        super().__init__(name="leases", daemon=True)  # a database that hangs must not keep a stopped worker alive
        self.worker_id: UUID | None = None
        self._address, self._told, self._load = address, told, load
        self._draining = self._stopping = False
        self._wake = threading.Event()

    def drain(self) -> None:
        """Any thread: take no new calls from now on."""
        self._draining = True
        self._wake.set()

    def stop(self, patience: float) -> None:
        """Any other thread: no heartbeat follows. The leases are for whoever stops this to give back."""
        self._stopping = True
        self._wake.set()
        self.join(patience)

    def run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            due = clock.now() + EVERY
            try:
                self._beat()
            except DatabaseError as error:
                log.warning("a heartbeat was not taken: %s", type(error).__name__)
                connections.close_all()
            self._wake.wait(max(0.0, due - clock.now()))
        connections.close_all()

    def _beat(self) -> None:
        give_up_after(SILENCE, "default")
        if self.worker_id is None:
            self.worker_id = placement.register(self._address)
        started = clock.now()
        placement.beat(self.worker_id, self._address, self._load(), draining=self._draining)
        mine = {held.call_id: held for held in placement.held(self.worker_id)}
        still = placement.renew(self.worker_id, mine)
        held = {call_id: one for call_id, one in mine.items() if call_id in still}
        self._told(Holding(held, started, started + placement.LEASE.total_seconds(), placement.drain_in(self.worker_id)))


def give_up_after(silence: str, *aliases: str) -> None:
    """From now on PostgreSQL gives up a statement of this thread that takes longer, and a transaction in which nothing happens for so long.

    The second is for a process that stands still in the middle of one: what it has locked, others wait for.
    """
    for alias in aliases:
        if connections[alias].vendor == "postgresql":
            with connections[alias].cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, false), set_config('idle_in_transaction_session_timeout', %s, false)",
                    [silence, silence],
                )
