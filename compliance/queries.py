"""Guarded reads of requests. All run inside one tenant's scope and raise ScopeError without one."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, Q, When
from django.db.models.functions import Coalesce

from tenants.errors import Refused
from tenants.models import Person

from .models import Request


def requests() -> Any:
    """Every request of the tenant: what is not answered first, by deadline; then what is, newest first."""
    found = Request.objects.select_related("person")
    return found.order_by(Case(When(state__in=(Request.State.DONE, Request.State.REVOKED), then=1), default=0), "due_at", "pk")


def request_for(request_id: UUID) -> Request:
    """One request of the tenant, for the desk and for programs. Raises Refused("not-found", 404)."""
    found: Request | None = Request.objects.select_related("person").filter(pk=request_id).first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def requests_of(person_id: UUID | str) -> Any:
    """What a person asked for, newest first."""
    return Request.objects.filter(person_id=person_id).order_by("-asked_at", "pk")


def own_request(person_id: UUID | str, request_id: UUID) -> Request:
    """One of `requests_of`. Raises Refused("not-found", 404)."""
    found: Request | None = requests_of(person_id).filter(pk=request_id).first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def unfinished(person_id: UUID | str, kind: str) -> Request | None:
    """The person's request of this kind that is not done yet, or None. There is never more than one."""
    found: Request | None = Request.objects.filter(person_id=person_id, kind=kind, state__in=Request.UNFINISHED).first()
    return found


def locked_request(request_id: UUID) -> Request | None:
    """The request as it is now, locked until the commit, or None."""
    rows = Request.objects.select_for_update(no_key=True, of=("self",)).select_related("person")
    found: Request | None = rows.filter(pk=request_id).first()
    return found


def is_followed(request: Request) -> bool:
    """Did the person ask for the same again, and is something still to be done about that?"""
    later = Request.objects.filter(person=request.person_id, kind=request.kind, asked_at__gt=request.asked_at)
    return bool(later.exclude(next_at=None).exists())


def people_asking() -> Any:
    """Ids of everybody who has a request that something is still to be done about."""
    return Request.objects.filter(Q(state__in=Request.UNFINISHED) | Q(next_at__isnull=False)).values("person")


def lock_person(person_id: UUID | str, *, alone: bool = False) -> Person:
    """The person as it is now, locked until the commit: one request is opened after the other. Raises Refused("unknown-person", 404).

    `alone`: also nothing is made meanwhile that points at it.
    """
    found: Person | None = Person.objects.select_for_update(no_key=not alone).filter(pk=person_id, erased_at=None).first()
    if found is None:
        raise Refused("unknown-person", 404)
    return found


def long_answered(before: datetime) -> Any:
    """Requests that were done with before then, and about which nothing is to be done; the oldest first."""
    ended = Coalesce("done_at", "waits_until", "asked_at")
    closed = Request.objects.filter(state__in=(Request.State.DONE, Request.State.REVOKED), next_at=None)
    return closed.annotate(ended=ended).filter(ended__lt=before).order_by("ended", "pk")


def due_work(at: datetime) -> list[UUID]:
    """Requests whose time to be taken on has come."""
    return list(Request.objects.filter(next_at__lte=at).order_by("next_at").values_list("pk", flat=True))
