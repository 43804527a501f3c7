"""Eva is invited to work for Acme: the invitation, its mail, and what a browser does with the link."""

from __future__ import annotations

import re
from typing import Any

from django.core import mail
from django.test import Client
from django.utils import timezone

from compliance.models import LogEntry
from tenants import invitations, queries, scope, tasks
from tenants.models import Membership, OutboxRow, StaffInvitation, Tenant
from tenants.permissions import Actor

ADDRESS = "eva@acme.example"
PASSWORD = "correct horse battery staple"
PAGE = "/t/acme/members/"
JSON = "application/json"


def send(**changed: Any) -> dict[str, str]:
    return {"name": "Eva", "email": ADDRESS, "role": "host"} | changed


def invite(cast: Any, **changed: Any) -> StaffInvitation:
    with scope.entered(cast.acme):
        return invitations.invite(**(send() | {"by": Actor.person(cast.ada), "at": timezone.now()} | changed))


def work(tenant: Tenant) -> None:
    """What the job process does after the commit."""
    for row in OutboxRow.objects.filter(tenant=tenant, task="tenants.send_staff_invitation", done_at=None):
        tasks.send_staff_invitation(**row.arguments, tenant_id=str(row.tenant_id), row_id=str(row.pk))


def secret_of(cast: Any) -> str:
    """The secret in the newest mail."""
    work(cast.acme)
    found = re.findall(r"/staff#([\w-]+)", str(mail.outbox[-1].body))
    return str(found[0])


def invited(cast: Any, **changed: Any) -> str:
    """The secret of an invitation as its mail carries it."""
    invite(cast, **changed)
    return secret_of(cast)


def opened(browser: Client, secret: str) -> Any:
    return browser.post("/staff/open", {"secret": secret}, content_type=JSON)


def holder(secret: str, browser: Client | None = None) -> Client:
    """A browser in which the link was opened."""
    browser = browser or Client()
    assert opened(browser, secret).json() == {"next": "/staff/invitation"}
    return browser


def seen(browser: Client) -> str:
    answer = browser.get("/staff/invitation")
    assert answer.status_code == 200
    return str(answer.content.decode())


def sign_up(browser: Client, **changed: str) -> Any:
    sent = {"email": ADDRESS, "password1": PASSWORD, "password2": PASSWORD, "next": "/staff/invitation"} | changed
    return browser.post("/account/signup/", sent)


def member(tenant: Tenant, address: str) -> Membership | None:
    return Membership.objects.filter(tenant=tenant, user__email=address).first()


def kinds(tenant: Tenant) -> list[str]:
    with scope.entered(tenant):
        return list(LogEntry.objects.order_by("index").values_list("kind", flat=True))


def queries_open(cast: Any) -> list[StaffInvitation]:
    with scope.entered(cast.acme):
        return list(queries.open_staff_invitations())
