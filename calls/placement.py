"""Which worker carries which call: registration, leases, fences, load (D8).

What must never happen here: two workers that both believe they carry a call. A lease is taken only where none is in force, by one
conditional UPDATE, and every taking raises the fence; a worker renews only what nobody has taken from it, and while it could not renew
it forwards nothing (`calls.leases`). All times are the database's own, so that machines whose clocks disagree agree about leases.

Worker and Placement have no scope: they are read before a tenant is known and hold ids, times, addresses and loads only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Now

from tenants.errors import Refused
from tenants.models import Tenant

from .models import Placement, Worker

LEASE = timedelta(seconds=3)  # three heartbeats; who was silent for longer loses its calls and gets none
FORGET = timedelta(hours=1)  # silent for so long, a worker's row is of no use to anybody
TRIES = 5  # each lost race means that somebody else placed the call
FULL_SHARE = 0.6  # of a core: above it a burst would wait, so no call is added
UNSEEN = timedelta(seconds=10)  # what was placed since then is not in the worker's own figures yet
FIRST_GUESS = 1000.0  # packets a second that such a call is expected to need: three people with camera and microphone
GOES_ON = timedelta(minutes=1)  # a call that lost its worker so lately is placed however busy the others are


@dataclass(frozen=True)
class Place:
    """Where a call is carried: the worker's control address, and the fence that its tokens must show."""

    address: str
    fence: int


@dataclass(frozen=True)
class Held:
    """One call that a worker carries."""

    call_id: UUID
    tenant: Tenant
    fence: int


@dataclass(frozen=True)
class Load:
    """What a worker does now: packets sent to listeners a second, the part of one core that it uses, and its capacity in packets a second."""

    forwarded: float = 0.0
    core_share: float = 0.0
    capacity: int = 0


@dataclass(frozen=True)
class Standing:
    """A worker as an operator sees it. `silent` and `drain_in`: seconds, by the database's clock."""

    id: UUID
    address: str
    silent: float
    calls: int
    load: Load
    draining: bool
    drain_in: float | None

    @property
    def lives(self) -> bool:
        return self.silent <= LEASE.total_seconds()


def worker_for(call_id: UUID | str, tenant: Tenant) -> Place:
    """The worker that carries a call; places the call first if nobody does. Several who ask at once get the same answer.

    Call it outside a transaction: the worker has to see the row. Raises Refused: `no-media-worker` when none lives that takes calls,
    `busy` when all that do have enough to do, both with status 503. A worker that died is named until its lease has lapsed: nobody else
    may know that it is dead, and who is not answered asks again.
    """
    for _ in range(TRIES):
        placed = _placed(call_id)
        if placed and placed.worker:
            return Place(placed.worker.control_address, placed.fence)
        _take(call_id, tenant, _least_loaded(goes_on=_went_on_lately(call_id)))
    raise Refused("no-media-worker", 503)


def any_worker() -> str:
    """The control address of the least loaded worker, however busy, for what belongs to no call. Raises Refused("no-media-worker", 503)."""
    return _least_loaded(goes_on=True).control_address


def _placed(call_id: UUID | str) -> Placement | None:
    """The call's placement if its lease is in force."""
    return Placement.objects.select_related("worker").filter(pk=call_id, worker__isnull=False, lease_until__gte=Now()).first()


def _went_on_lately(call_id: UUID | str) -> bool:
    """Did a worker carry this call a moment ago?"""
    return Placement.objects.filter(pk=call_id, lease_until__gte=Now() - GOES_ON).exists()


def _least_loaded(*, goes_on: bool) -> Worker:
    """The worker with the least predicted load: what it says, and a first guess for each call that its figures cannot show yet."""
    leased = Q(placements__lease_until__gte=Now())
    unseen = leased & Q(placements__placed_at__gte=Now() - UNSEEN)
    living = _living().filter(draining=False).annotate(carried=Count("placements", filter=leased), unseen=Count("placements", filter=unseen))
    ranked = sorted((worker.forwarded + worker.unseen * FIRST_GUESS, worker.carried, str(worker.pk), worker) for worker in living)
    if not ranked:
        raise Refused("no-media-worker", 503)
    for predicted, _, _, worker in ranked:
        if goes_on or (worker.core_share <= FULL_SHARE and (not worker.capacity or predicted < worker.capacity)):
            return worker
    raise Refused("busy", 503)


def _living() -> QuerySet[Worker]:
    return Worker.objects.filter(seen_at__gte=Now() - LEASE)


def _take(call_id: UUID | str, tenant: Tenant, worker: Worker) -> None:
    """Give the call to `worker` unless somebody else was faster; whoever reads next sees who it was."""
    lease = Now() + LEASE
    free = Placement.objects.filter(Q(lease_until__lt=Now()) | Q(worker=None), pk=call_id)
    if not free.update(worker=worker, fence=F("fence") + 1, placed_at=Now(), lease_until=lease):
        first = Placement(call_id=call_id, tenant=tenant, worker=worker, fence=1, placed_at=Now(), lease_until=lease)
        Placement.objects.bulk_create([first], ignore_conflicts=True)


def where(call_id: UUID | str) -> str | None:
    """The control address of the worker that carries a call now, or None."""
    placed = _placed(call_id)
    return placed.worker.control_address if placed and placed.worker else None


def silent(call_ids: Iterable[UUID], since: timedelta) -> frozenset[UUID]:
    """Those of these calls that nobody has carried for so long after the last lease."""
    asked = frozenset(call_ids)
    carried = Placement.objects.filter(pk__in=asked, lease_until__gte=Now() - since).values_list("pk", flat=True)
    return asked - frozenset(carried)


# What a worker does for itself


def register(address: str) -> UUID:
    """A new worker's id. Rows of workers that fell silent long ago go at the same time."""
    Worker.objects.filter(seen_at__lt=Now() - FORGET).delete()
    worker = Worker(control_address=address, seen_at=Now())
    worker.save(force_insert=True)
    return worker.pk


def beat(worker_id: UUID, address: str, load: Load = Load(), *, draining: bool = False) -> None:  # noqa: B008 - reason: it cannot be changed
    """Say that this worker lives and what it does. Makes its row anew if somebody took it away; drains for good once it has begun to."""
    said = {"seen_at": Now(), "forwarded": load.forwarded, "core_share": load.core_share, "capacity": load.capacity}
    if draining:
        said["draining"] = True
    if not Worker.objects.filter(pk=worker_id).update(**said):
        Worker(pk=worker_id, control_address=address, **said).save(force_insert=True)


def drain_in(worker_id: UUID) -> float | None:
    """How many seconds this worker has to move its calls; None while nobody has asked it to drain."""
    row = Worker.objects.filter(pk=worker_id, draining=True).values_list("drain_by", Now()).first()
    if row is None:
        return None
    return _left(*row) if row[0] is not None else 0.0


def _left(until: datetime, now: datetime) -> float:
    return max(0.0, (until - now).total_seconds())


def held(worker_id: UUID) -> list[Held]:
    """The calls that are this worker's: whose lease it holds, and whose lease lapsed and that nobody has taken since."""
    found = Placement.objects.select_related("tenant").filter(worker=worker_id)
    return [Held(placed.call_id, placed.tenant, placed.fence) for placed in found]


def is_held(worker_id: UUID, call_id: UUID, fence: int) -> bool:
    """Does this worker carry the call at this moment, under this fence?"""
    return Placement.objects.filter(pk=call_id, worker=worker_id, fence=fence, lease_until__gte=Now()).exists()


def stays_held(worker_id: UUID, call_id: UUID, fence: int) -> bool:
    """As `is_held`, inside a transaction: where it is so, nobody can take the call before that is over. The last thing to ask in it."""
    own = Placement.objects.select_for_update(no_key=True).filter(pk=call_id, worker=worker_id, fence=fence, lease_until__gte=Now())
    return own.first() is not None


def renew(worker_id: UUID, call_ids: Iterable[UUID]) -> frozenset[UUID]:
    """Lengthen these leases; returns the calls still held. One that lapsed goes on under its fence, unless somebody has taken the call."""
    mine = Placement.objects.filter(worker=worker_id, pk__in=list(call_ids))
    mine.update(lease_until=Now() + LEASE)
    return frozenset(mine.values_list("pk", flat=True))


def release(worker_id: UUID, call_ids: Iterable[UUID]) -> None:
    """Give these calls back at once. Their rows stay, because the fence must go on growing."""
    Placement.objects.filter(worker=worker_id, pk__in=list(call_ids)).update(worker=None, lease_until=Now())


def forget(call_id: UUID) -> None:
    """Nobody carries this call again."""
    Placement.objects.filter(pk=call_id).delete()


def retire(worker_id: UUID) -> None:
    """Give every call back and forget the worker."""
    Placement.objects.filter(worker=worker_id).update(worker=None, lease_until=Now())
    Worker.objects.filter(pk=worker_id).delete()


# What an operator does


def workers() -> list[Standing]:
    """All workers that the registry knows, the living first."""
    carried = Count("placements", filter=Q(placements__lease_until__gte=Now()))
    found = []
    for worker in Worker.objects.annotate(carried=carried, now=Now()).order_by("-seen_at"):
        left = _left(worker.drain_by, worker.now) if worker.drain_by else None
        silent_for = max(0.0, (worker.now - worker.seen_at).total_seconds())
        load = Load(worker.forwarded, worker.core_share, worker.capacity)
        found.append(Standing(worker.pk, worker.control_address, silent_for, worker.carried, load, worker.draining, left))
    return found


def drain(worker_id: UUID, within: timedelta) -> None:
    """From now on this worker gets no new call, and within this time it moves the ones it has. It learns so by its next heartbeat."""
    Worker.objects.filter(pk=worker_id).update(draining=True, drain_by=Now() + within)
