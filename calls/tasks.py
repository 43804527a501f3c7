"""Jobs of meetings."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from celery import shared_task
from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils import timezone

from consent import queries as catalogue
from tenants import jobs
from tenants.jobs import tenant_task
from tenants.models import Tenant

from . import placement, queries, services
from .models import Call, Invitation, Meeting

ABANDONED = timedelta(seconds=30)  # after a lease that nobody renewed: as long as a worker waits that takes a call over


@shared_task(name="calls.sweep")
def sweep() -> None:
    """Write down as gone whoever was in a call that lost its worker and that no worker was asked for since, and end calls without a host.

    Safe to run twice, and at once.

    Where somebody did come back, the call has a worker, and that worker does the same for those who did not.
    """
    jobs.for_each_tenant("the sweep of calls", sweep_tenant)


def sweep_tenant(tenant: Tenant) -> None:
    """One tenant's part of the sweep, each call by itself: no call waits for another's, and one that breaks holds up none."""
    each = partial(jobs.for_each, tenant, "the sweep of calls")
    by, at = jobs.actor("calls-sweep"), timezone.now()
    each(_without_worker, lambda call: services.leave_unseen(call=call, seen=(), by=by, at=at))
    hostless, away_since = jobs.actor("calls-without-host"), at - queries.HOSTLESS
    each(lambda: queries.calls_without_host(away_since), lambda call: services.end_without_host(call=call, away_since=away_since, by=hostless, at=at))


def _without_worker() -> list[Call]:
    """Calls with people inside that nobody has carried for a while."""
    found = {call.pk: call for call in queries.calls_with_people_inside()}
    return [found[call_id] for call_id in placement.silent(found, ABANDONED)]


@tenant_task("calls.send_invitation")
def send_invitation(*, invitation_id: str) -> None:
    """Mail one invitation with a link of its own. A try that fails takes its link back with it; run twice, it sends twice, never none."""
    invitation = queries.invitation(invitation_id)
    if invitation is None or invitation.revoked_at or not invitation.person.email:
        return
    if invitation.meeting.state in (Meeting.State.ENDED, Meeting.State.CANCELLED):
        return
    by, at = jobs.actor("invitations"), timezone.now()
    url = services.new_invitation_link(invitation=invitation, by=by, at=at)
    jobs.send(mail_of(invitation, url))
    services.mail_sent(invitation=invitation, by=by, at=at)


def mail_of(invitation: Invitation, url: str) -> EmailMessage:
    """A plain text: who invites, why, what will be asked, who answers for the data. It loads nothing and follows nobody."""
    meeting = invitation.meeting
    controller = meeting.tenant
    context = {
        "invitation": invitation,
        "meeting": meeting,
        "host": meeting.host,
        "controller": controller,
        "contact": controller.contact_email or settings.CLEAC.contact_email,
        "questions": catalogue.notices(meeting.purposes),
        "url": url,
    }
    subject = " ".join(render_to_string("calls/mail/invitation_subject.txt", context).split())
    text = render_to_string("calls/mail/invitation.txt", context)
    reply_to = [controller.contact_email] if controller.contact_email else None
    return EmailMessage(subject, text, to=[invitation.person.email], reply_to=reply_to, headers={"Auto-Submitted": "auto-generated"})
