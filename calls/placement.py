"""Which worker carries which call: registration, leases, fences (D8).

What must never happen here: two workers that both believe they carry a call. A lease is taken only where none is in force, by one
conditional UPDATE, and every taking raises the fence; a worker renews only what it still holds, and closes what it could not
renew. All times are the database's own, so that machines whose clocks disagree agree about leases.

Worker and Placement have no scope: they are read before a tenant is known and hold ids, times and addresses only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db.models import Count, F, Q
from django.db.models.functions import Now

from tenants.errors import Refused
from tenants.models import Tenant

from .models import Placement, Worker

LEASE = timedelta(seconds=10)
FRESH = timedelta(seconds=6)  # three heartbeats; who was silent for longer gets no new call
FORGET = timedelta(hours=1)  # silent for so long, a worker's row is of no use to anybody
TRIES = 5  # each lost race means that somebody else placed the call


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


def worker_for(call_id: UUID | str, tenant: Tenant) -> Place:
    """The worker that carries a call; places the call first if nobody does. Several who ask at once get the same answer.

    Call it outside a transaction: the worker has to see the row. Raises Refused("no-media-worker", 503) when no worker lives.
    A worker that died is named until its lease has lapsed: nobody else may know that it is dead, and who is not answered asks again.
    """
    for _ in range(TRIES):
        placed = _placed(call_id)
        if placed and placed.worker:
            return Place(placed.worker.control_address, placed.fence)
        worker = _least_loaded()
        if worker is None:
            raise Refused("no-media-worker", 503)
        _take(call_id, tenant, worker)
    raise Refused("no-media-worker", 503)


def _placed(call_id: UUID | str) -> Placement | None:
    """The call's placement if its lease is in force."""
    return Placement.objects.select_related("worker").filter(pk=call_id, worker__isnull=False, lease_until__gte=Now()).first()


def _least_loaded() -> Worker | None:
    carried = Count("placements", filter=Q(placements__lease_until__gte=Now()))
    living = Worker.objects.filter(seen_at__gte=Now() - FRESH, draining=False)
    return living.annotate(carried=carried).order_by("carried", "pk").first()


def _take(call_id: UUID | str, tenant: Tenant, worker: Worker) -> None:
    """Give the call to `worker` unless somebody else was faster; whoever reads next sees who it was."""
    lease = Now() + LEASE
    free = Placement.objects.filter(Q(lease_until__lt=Now()) | Q(worker=None), pk=call_id)
    if not free.update(worker=worker, fence=F("fence") + 1, lease_until=lease):
        first = Placement(call_id=call_id, tenant=tenant, worker=worker, fence=1, lease_until=lease)
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


def beat(worker_id: UUID, address: str, *, draining: bool = False) -> None:
    """Say that this worker lives. Makes its row anew if somebody took it away."""
    if not Worker.objects.filter(pk=worker_id).update(seen_at=Now(), draining=draining):
        Worker(pk=worker_id, control_address=address, seen_at=Now(), draining=draining).save(force_insert=True)


def held(worker_id: UUID) -> list[Held]:
    """The calls whose lease this worker holds."""
    found = Placement.objects.select_related("tenant").filter(worker=worker_id, lease_until__gte=Now())
    return [Held(placed.call_id, placed.tenant, placed.fence) for placed in found]


def renew(worker_id: UUID, call_ids: Iterable[UUID]) -> frozenset[UUID]:
    """Lengthen these leases; returns the calls still held. A lease that lapsed is lost, also if nobody has taken the call yet."""
    mine = Placement.objects.filter(worker=worker_id, pk__in=list(call_ids), lease_until__gte=Now())
    mine.update(lease_until=Now() + LEASE)
    return frozenset(mine.values_list("pk", flat=True))


def release(worker_id: UUID, call_ids: Iterable[UUID]) -> None:
    """Give these calls back at once. Their rows stay, because the fence must go on growing."""
    Placement.objects.filter(worker=worker_id, pk__in=list(call_ids)).update(worker=None, lease_until=Now())


def retire(worker_id: UUID) -> None:
    """Give every call back and forget the worker."""
    Placement.objects.filter(worker=worker_id).update(worker=None, lease_until=Now())
    Worker.objects.filter(pk=worker_id).delete()
