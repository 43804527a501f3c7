"""Jobs of the house itself."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from . import accounts, jobs, queries, services
from .jobs import tenant_task

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


@tenant_task("tenants.send_owner_mail")
def send_owner_mail(*, membership_id: str) -> None:
    """Mail an owner how to sign in. Run twice it sends twice, never none; the links in both are good until one is used."""
    found = queries.membership(membership_id)
    if found is None:
        return
    new = not found.user.has_usable_password()
    context = {
        "person": found.person,
        "tenant": found.tenant,
        "new": new,
        "url": accounts.entrance(found.user),
        "again": settings.CLEAC.public_url + reverse("account_reset_password"),
        "contact": settings.CLEAC.contact_email,
    }
    subject = " ".join(render_to_string("tenants/mail/owner_subject.txt", context).split())
    text = render_to_string("tenants/mail/owner.txt", context)
    EmailMessage(subject, text, to=[found.user.email], headers={"Auto-Submitted": "auto-generated"}).send()
