"""Jobs of the house itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from compliance import terms

from . import accounts, invitations, jobs, queries, services
from .jobs import tenant_task
from .models import StaffInvitation, Tenant

AT_ONCE = 200  # rows of one sweep
DONE_FOR = timedelta(days=14)


@shared_task(name="tenants.forget_ended_sessions")
def forget_ended_sessions() -> None:
    """Delete browser sessions whose time is over, guests' too, and counts of wrong passwords. Safe to run twice."""
    now = timezone.now()
    SessionStore.clear_expired()
    services.forget_guest_sessions(before=now)
    services.forget_sign_in_failures(before=now)


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
    jobs.send(EmailMessage(subject, text, to=[found.user.email], headers={"Auto-Submitted": "auto-generated"}))


@tenant_task("tenants.send_staff_invitation")
def send_staff_invitation(*, invitation_id: str) -> None:
    """Mail an invitation with a link of its own. A try that fails takes its link back with it; run twice, it sends twice, never none."""
    found, at = queries.staff_invitation(invitation_id), timezone.now()
    if found is None or invitations.state_of(found, at) is not invitations.State.OPEN or not found.person.email:
        return
    by = jobs.actor("staff-invitations")
    secret = invitations.new_secret(invitation=found, by=by, at=at)
    context = {
        "invitation": found,
        "person": found.person,
        "tenant": found.tenant,
        "url": f"{settings.CLEAC.public_url.rstrip('/')}{reverse('invited_link')}#{secret}",
        "contact": found.tenant.contact_email or settings.CLEAC.contact_email,
    }
    subject = " ".join(render_to_string("tenants/mail/staff_invitation_subject.txt", context).split())
    text = render_to_string("tenants/mail/staff_invitation.txt", context)
    jobs.send(EmailMessage(subject, text, to=[found.person.email], headers={"Auto-Submitted": "auto-generated"}))
    invitations.mail_sent(invitation=found, by=by, at=at)


@shared_task(name="tenants.forget_staff_invitations")
def forget_staff_invitations() -> None:
    """Delete invitations of staff whose end is long enough ago (`compliance.terms`), with their links. Safe to run twice."""
    jobs.for_each_tenant("forgetting invitations of staff", forget_invitations_of)


def forget_invitations_of(tenant: Tenant) -> None:
    """One tenant's part of it, each invitation by itself."""
    by, at = jobs.actor("staff-invitations"), timezone.now()

    def over() -> Iterable[StaffInvitation]:
        return queries.staff_invitations_over(at - terms.kept_for(terms.Kind.INVITATION, at))

    jobs.for_each(tenant, "forgetting invitations of staff", over, lambda invitation: invitations.forget(invitation=invitation, by=by, at=at))
