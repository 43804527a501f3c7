"""Jobs of the data protection officer's desk."""

from __future__ import annotations

import logging
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils import timezone

from tenants import jobs, scope
from tenants import queries as house
from tenants.models import Tenant

from . import queries, retention
from .dsr import desk
from .models import Request
from .reports import making

log = logging.getLogger(__name__)
AT_ONCE = 500  # parts of recordings and invitations of one tenant: far fewer seconds than a job may take


@shared_task(name="compliance.purge")
def purge() -> None:
    """Destroy what has been kept for as long as people agreed, in every tenant. Safe to run twice, and at the same time."""
    by, at = jobs.actor("retention"), timezone.now()
    jobs.for_each_tenant("retention", lambda tenant: retention.run(tenant=tenant, by=by, at=at, most=AT_ONCE))


@jobs.tenant_task(desk.TASK)
def carry_out(*, request_id: str) -> None:
    """Take a data-subject request one step on. Safe to run twice."""
    desk.carry_out(request=queries.request_for(UUID(request_id)), by=jobs.actor("requests"), at=timezone.now())


@jobs.tenant_task(desk.TELL)
def tell_person(*, request_id: str) -> None:
    """Mail a person what somebody else entered for them, and how to object. Run twice it sends twice, never none.

    Nobody is told who has no address, or is not concerned any more.
    """
    request = queries.request_for(UUID(request_id))
    if not request.person.email or request.state == Request.State.REVOKED:
        return
    jobs.send(mail_of(request))
    desk.told(request=request, by=jobs.actor("requests"), at=timezone.now())


def mail_of(request: Request) -> EmailMessage:
    """A plain text: who asked for what in whose name, until when it is answered, how it is taken back. It holds no link."""
    controller = request.person.tenant
    context = {
        "request": request,
        "person": request.person,
        "erasure": request.kind == Request.Kind.ERASURE,
        "controller": controller,
        "contact": controller.contact_email or settings.CLEAC.contact_email,
    }
    subject = " ".join(render_to_string("compliance/mail/entered_subject.txt", context).split())
    text = render_to_string("compliance/mail/entered.txt", context)
    reply_to = [controller.contact_email] if controller.contact_email else None
    return EmailMessage(subject, text, to=[request.person.email], reply_to=reply_to, headers={"Auto-Submitted": "auto-generated"})


@shared_task(name="compliance.sweep_requests")
def sweep_requests() -> None:
    """Take on requests whose time has come: what failed, what was held, and what has been ready for long enough. Safe to run twice.

    One that breaks is told in the service's own log and is due again at the next run; it keeps no other from its turn.
    """
    jobs.for_each_tenant("the sweep of requests", _take_on_requests)


def _take_on_requests(tenant: Tenant) -> None:
    by, at = jobs.actor("requests"), timezone.now()
    with scope.reading(tenant):
        due = queries.due_work(at)
    for request_id in due:
        try:
            with scope.entered(tenant):
                desk.carry_out(request=queries.request_for(request_id), by=by, at=at)
        except Exception:
            log.exception("request %s of %s could not be taken on; it is tried again", request_id, tenant.slug)


@shared_task(name="compliance.prove")
def prove() -> None:
    """The nightly proof of every tenant, so that the desk can say what was found. Entry: `store.proved`, one for each tenant.

    A tenant for which it cannot be made, because its log takes no entry, is told in the service's own log and keeps no other from its proof.
    """
    everybody = [tenant for tenant, _members in house.tenants()]
    by, at = jobs.actor("prove"), timezone.now()
    jobs.for_each_tenant("the proof of what is stored", lambda tenant: making.prove(tenant=tenant, everybody=everybody, by=by, at=at))
