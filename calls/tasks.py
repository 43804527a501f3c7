"""Jobs of meetings."""

from __future__ import annotations

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils import timezone

from consent import queries as catalogue
from tenants import jobs
from tenants.jobs import tenant_task

from . import queries, services
from .models import Invitation, Meeting


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
