"""Jobs of the house itself."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone

from . import jobs, queries, services

AT_ONCE = 200  # rows of one sweep
DONE_FOR = timedelta(days=14)


@shared_task(name="tenants.forget_ended_sessions")
def forget_ended_sessions() -> None:
    """Delete browser sessions whose time is over, guests' too. Safe to run twice."""
    SessionStore.clear_expired()
    services.forget_guest_sessions(before=timezone.now())


@shared_task(name="tenants.sweep_outbox")
def sweep_outbox() -> None:
    """Wake a job for every promise that is due and not yet kept, and forget those kept long ago. Safe to run twice."""
    now = timezone.now()
    for row in queries.work_due(now)[:AT_ONCE]:
        jobs.wake(row)
    services.forget_kept_promises(before=now - DONE_FOR)
