"""Work promised in a transaction and done after it, inside one tenant (D7).

`later` writes the promise as a row of the same transaction; the message that follows the commit only wakes a job process.
A lost message is found by `tenants.tasks.sweep_outbox`, a doubled one finds the row claimed or done. A row is claimed by a
conditional update that counts the try; the number of the try is the fence of the last update, so a job that was thought
dead and comes back cannot commit. Five tries, then the row is parked and stays to be seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial, wraps
from smtplib import SMTPException
from typing import Any, TypeVar
from uuid import UUID

from celery import current_app, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.core.mail import EmailMessage
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

T = TypeVar("T")
logger = logging.getLogger(__name__)


class MailNotSentError(RuntimeError):
    """The mail server did not take a mail. It says by its kind what was wrong: a server's own words repeat the address."""


class LostClaimError(RuntimeError):
    """Another process took the row over while this one worked; what this one did is rolled back."""


def send(mail: EmailMessage) -> None:
    """Hand a mail to the mail server. Raises MailNotSentError."""
    try:
        mail.send()
    except (SMTPException, OSError) as error:
        raise MailNotSentError(type(error).__name__) from None


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


def is_promised(task_name: str, **ids: UUID | str) -> bool:
    """Is this very task promised to the current tenant, and neither done nor given up? Whoever promises again and again asks first."""
    return queries.promised(scope.current(), task_name, {name: str(value) for name, value in ids.items()})


def wake(row: OutboxRow) -> None:
    """Tell a job process about a row. Without a broker the row simply waits for the sweep."""
    message = {**row.arguments, "tenant_id": str(row.tenant_id), "row_id": str(row.pk)}
    try:
        current_app.send_task(row.task, kwargs=message, retry=False)
    except OperationalError:
        logger.warning("no broker: %s waits for the sweep", row.task)


def tenant_task(name: str, *, in_steps: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a job of a keyword-only function: `tenant_id` opens the scope, `row_id` names the promise, the rest are its ids.

    It runs in one transaction with the end of the promise. `in_steps` is for work that takes long, and holds no lock meanwhile: it runs
    in none, is given `tenant`, opens a scope for each step itself, and each step finds out by the rows whether it is still its turn.
    """

    def decorate(work: Callable[..., None]) -> Callable[..., None]:
        @shared_task(name=name)
        @wraps(work)
        def run(*, tenant_id: str, row_id: str | None = None, **ids: str) -> None:
            tenant = queries.tenant(UUID(tenant_id))
            if tenant is None:
                return
            before, within = (partial(work, tenant=tenant, **ids), _nothing) if in_steps else (_nothing, partial(work, **ids))
            if row_id is None:
                before()
                with scope.entered(tenant):
                    within()
            else:
                _keep_promise(tenant, row_id, before, within)

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


def for_each(tenant: Tenant, what: str, look: Callable[[], Iterable[T]], work: Callable[[T], object]) -> None:
    """Do `work` with everything that `look` finds, each in a scope and transaction of its own: what it locks is free before the next begins.

    One that breaks is told in the service's own log and tried again at the next time; it keeps no other from its turn.
    """
    with scope.entered(tenant):
        found = list(look())
    for one in found:
        try:
            with scope.entered(tenant):
                work(one)
        except SoftTimeLimitExceeded:  # the time of the whole job is over
            raise
        except Exception:
            logger.exception("a part of %s failed for %s; it is tried again", what, tenant.slug)


def _nothing() -> None:
    """What is left to do in a transaction for work that has its own."""


def _keep_promise(tenant: Tenant, row_id: str, before: Callable[[], None], within: Callable[[], None]) -> None:
    """Claim, work and mark done, `within` in one transaction with that; nothing when somebody else has it or it is done already."""
    tried = _claimed(row_id)
    if tried is None:
        return
    try:
        before()
        with scope.entered(tenant):
            within()
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
