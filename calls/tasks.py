"""Jobs of meetings."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils import timezone

from consent import queries as catalogue
from tenants import jobs, scope
from tenants.jobs import tenant_task
from tenants.models import Tenant

from . import placement, queries, services
from .models import Invitation, Meeting

HOSTLESS = timedelta(seconds=30)  # a host who was removed by mistake is back by then
ABANDONED = timedelta(seconds=30)  # after a lease that nobody renewed: as long as a worker waits that takes a call over


@shared_task(name="calls.sweep")
def sweep() -> None:
    """Write down as gone whoever was in a call that lost its worker and that no worker was asked for since, and end calls without a host.

    Safe to run twice, and at once.

    Where somebody did come back, the call has a worker, and that worker does the same for those who did not.
    """
    jobs.for_each_tenant("the sweep of calls", sweep_tenant)


def sweep_tenant(tenant: Tenant) -> None:
    """One tenant's part of the sweep."""
    with scope.entered(tenant):
        found = {call.pk: call for call in queries.calls_with_people_inside()}
        for call_id in placement.silent(found, ABANDONED):
            services.leave_unseen(call=found[call_id], seen=(), by=jobs.actor("calls-sweep"), at=timezone.now())
        at = timezone.now()
        for call in queries.calls_without_host(at - HOSTLESS):
            services.end_without_host(call=call, away_since=at - HOSTLESS, by=jobs.actor("calls-without-host"), at=at)


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
    mail_of(invitation, url).send()
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
