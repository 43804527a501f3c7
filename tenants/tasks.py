"""Jobs of the house itself."""

from __future__ import annotations

from celery import shared_task
from django.contrib.sessions.backends.db import SessionStore


@shared_task(name="tenants.forget_ended_sessions")
def forget_ended_sessions() -> None:
    """Delete browser sessions whose time is over. Safe to run twice."""
    SessionStore.clear_expired()
