"""Meetings of Acme's for tests, made by the services that pages use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from calls import queries, services
from calls.models import Call, Meeting, Participant
from compliance.models import LogEntry
from tenants import scope
from tenants import services as house
from tenants.models import Person
from tenants.permissions import Actor

PURPOSES = ["record-voice", "record-camera", "record-screen"]


@contextmanager
def acme(cast: Any) -> Iterator[None]:
    with scope.entered(cast.acme):
        yield


def meeting(cast: Any, *, starts_at: datetime | None = None, guests: tuple[str, ...] = ("gail", "gus")) -> Meeting:
    """Hana's meeting with these guests invited, each with the link that a mail would carry. Inside Acme's scope."""
    by, at = Actor.person(cast.hana), timezone.now()
    made = services.schedule(title="Review", why="To look at the offer", host=cast.hana, purposes=PURPOSES, starts_at=starts_at, by=by, at=at)
    for guest in guests:
        invitation, _ = services.invite_again(meeting=made, person=getattr(cast, guest), by=by, at=at)
        services.new_invitation_link(invitation=invitation, by=by, at=at)
    return made


def link(cast: Any, found: Meeting, person: Person) -> str:
    """A further personal link's secret, as a mail would carry it."""
    facts = {"by": Actor.person(cast.hana), "at": timezone.now()}
    invitation, _ = services.invite_again(meeting=found, person=person, **facts)
    return services.new_invitation_link(invitation=invitation, **facts).partition("#")[2]


def guest_token(cast: Any, found: Meeting, person: Person) -> str:
    """The cookie of a browser in which the person's link was opened."""
    with acme(cast):
        secret = link(cast, found, person)
    return house.open_guest_session(secret=secret, at=timezone.now())[1]


def entered(found: Meeting, person: Person) -> Participant:
    """The person in the lobby; the meeting's host as host."""
    return services.enter_lobby(meeting=found, person=person, host=True, by=Actor.person(person), at=timezone.now())


def waiting(found: Meeting, person: Person) -> Participant:
    return services.ready(participant=entered(found, person), by=Actor.person(person), at=timezone.now())


def admitted(found: Meeting, person: Person) -> Participant:
    """Let in, whether host or guest."""
    participant = waiting(found, person)
    return services.admit(participant=participant, by=Actor.person(found.host), at=timezone.now())


def call_of(found: Meeting) -> Call:
    call = queries.open_call(found)
    assert call is not None
    return call


def kinds() -> list[str]:
    """Kinds of the current tenant's log entries, oldest first."""
    return list(LogEntry.objects.order_by("index").values_list("kind", flat=True))


def later(**kwargs: float) -> datetime:
    return timezone.now() + timedelta(**kwargs)
