"""Work promised in a transaction and done after it, inside one tenant (D7).

`later` writes the promise as a row of the same transaction; the message that follows the commit only wakes a job process.
A lost message is found by `tenants.tasks.sweep_outbox`, a doubled one finds the row claimed or done. A row is claimed by a
conditional update that counts the try; the number of the try is the fence of the last update, so a job that was thought
dead and comes back cannot commit. Five tries, then the row is parked and stays to be seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial, wraps
from typing import Any
from uuid import UUID

from celery import current_app, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from kombu.exceptions import OperationalError

from . import queries, scope
from .models import OutboxRow, Tenant
from .permissions import Actor

TRIES = 5
CLAIM = timedelta(minutes=6)  # longer than the hard time limit of a job
PAUSE = timedelta(seconds=15)  # doubled with each try that failed

logger = logging.getLogger(__name__)


class LostClaimError(RuntimeError):
    """Another process took the row over while this one worked; what this one did is rolled back."""


def actor(name: str) -> Actor:
    """The named job as history remembers it."""
    return Actor.job(name)


def later(task_name: str, *, due_at: datetime | None = None, **ids: UUID | str) -> OutboxRow:
    """Promise the task for the current tenant, in this transaction. `ids` are ids only: no name, address or secret.

    Raises Refused("no-tenant") outside a scope.
    """
    arguments = {name: str(value) for name, value in ids.items()}
    row = OutboxRow(tenant=scope.current(), task=task_name, arguments=arguments, due_at=due_at or timezone.now())
    row.save(force_insert=True)
    if due_at is None:
        transaction.on_commit(partial(wake, row))
    return row


def wake(row: OutboxRow) -> None:
    """Tell a job process about a row. Without a broker the row simply waits for the sweep."""
    message = {**row.arguments, "tenant_id": str(row.tenant_id), "row_id": str(row.pk)}
    try:
        current_app.send_task(row.task, kwargs=message, retry=False)
    except OperationalError:
        logger.warning("no broker: %s waits for the sweep", row.task)


def tenant_task(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a job of a keyword-only function: `tenant_id` opens the scope, `row_id` names the promise, the rest are its ids."""

    def decorate(work: Callable[..., None]) -> Callable[..., None]:
        @shared_task(name=name)
        @wraps(work)
        def run(*, tenant_id: str, row_id: str | None = None, **ids: str) -> None:
            tenant = queries.tenant(UUID(tenant_id))
            if tenant is None:
                return
            if row_id is None:
                with scope.entered(tenant):
                    work(**ids)
            else:
                _keep_promise(tenant, row_id, partial(work, **ids))

        return run

    return decorate


def for_each_tenant(what: str, work: Callable[[Tenant], object]) -> None:
    """Work of the timetable, one tenant after another. Where it breaks, it keeps no other tenant from its turn.

    That is told in the service's own log, and `work` is tried again at its next time. It opens the scope itself.
    """
    for tenant, _members in queries.tenants():
        try:
            work(tenant)
        except SoftTimeLimitExceeded:  # the time of the whole job is over
            raise
        except Exception:
            logger.exception("%s failed for %s; it is tried again", what, tenant.slug)


def _keep_promise(tenant: Tenant, row_id: str, work: Callable[[], None]) -> None:
    """Claim, work and mark done; nothing when somebody else has it or it is done already."""
    tried = _claimed(row_id)
    if tried is None:
        return
    try:
        with scope.entered(tenant):
            work()
            if not queries.work(row_id).filter(tries=tried, done_at=None).update(done_at=timezone.now()):
                raise LostClaimError(row_id)
    except Exception:
        _give_back(row_id, tried)
        raise


def _claimed(row_id: str) -> int | None:
    """The number of this try, or None when the row is not to be had."""
    now = timezone.now()
    mine = queries.work(row_id).filter(done_at=None, parked_at=None, due_at__lte=now)
    with transaction.atomic():
        if not mine.update(tries=F("tries") + 1, due_at=now + CLAIM):
            return None
        return int(queries.work(row_id).values_list("tries", flat=True).get())


def _give_back(row_id: str, tried: int) -> None:
    """Due again after a pause, or parked after the last try."""
    now = timezone.now()
    changes: dict[str, Any] = {"parked_at": now} if tried >= TRIES else {"due_at": now + PAUSE * 2 ** (tried - 1)}
    queries.work(row_id).filter(tries=tried, done_at=None).update(**changes)
