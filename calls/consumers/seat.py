"""Whom a socket stands for, asked of the database anew each time. Called in threads; opens the tenant's scope itself."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.utils import timezone

from consent import services as consent
from tenants import identity, scope
from tenants import queries as house
from tenants.errors import Refused
from tenants.models import Tenant
from tenants.permissions import Actor, may

from .. import queries, services
from ..models import Call, Participant

T = TypeVar("T")


class Gone(Exception):
    """This socket has no right to be open any more; `reason` is what the page is told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Present:
    """A participant as the database has it now, and who acts."""

    participant: Participant
    actor: Actor
    is_host: bool
    at: datetime


@dataclass(frozen=True)
class Seat:
    """What a spent ticket is worth: one participant under one epoch, by one browser session with one role."""

    tenant: Tenant
    call_id: UUID
    participant_id: UUID
    epoch: int
    role: str
    cookie: identity.Cookie = field(repr=False)

    def act(self, work: Callable[[Present], T]) -> T:
        """Do `work` inside the tenant's scope and one transaction, for whoever this is now. Raises Gone, and what `work` raises."""
        with scope.entered(self.tenant):
            return work(self._present())

    def look(self, work: Callable[[Present], T]) -> T:
        """As `act`, for work that only reads: no decision waits for it."""
        with scope.reading(self.tenant):
            return work(self._present())

    def _present(self) -> Present:
        standing = identity.standing_of(self.cookie, self.tenant)
        if standing is None or standing.role != self.role or (standing.link is not None and standing.link.revoked_at is not None):
            raise Gone("signed-out")
        participant = queries.participant(self.participant_id)
        if participant is None or standing.actor.id != str(participant.person_id):
            raise Gone("signed-out")
        if participant.call.state != Call.State.OPEN:
            raise Gone(queries.how_ended(participant.call))
        denied = participant.state == Participant.State.DENIED and participant.epoch == self.epoch + 1
        if participant.epoch != self.epoch and not denied:
            raise Gone("removed")
        is_host = participant.role == Participant.Role.HOST and may({self.role}, "calls.host")
        return Present(participant, standing.actor, is_host, timezone.now())


def taken(ticket: str, kind: str, cookies: Collection[identity.Cookie]) -> Seat:
    """Spend a ticket. Raises Refused("ticket", 401) for one that does not let this browser in, whatever is wrong with it."""
    named, _, secret = ticket.partition(".")
    tenant = house.tenant(UUID(hex=named)) if _is_hex(named) else None
    if tenant is None:
        raise Refused("ticket", 401)
    by_ref = {cookie.ref: cookie for cookie in cookies}
    with scope.entered(tenant):
        participant, ref = services.use_ticket(secret=secret, kind=kind, session_refs=by_ref.keys(), at=timezone.now())
    standing = identity.standing_of(by_ref[ref], tenant)
    if standing is None or standing.actor.id != str(participant.person_id):
        raise Refused("ticket", 401)
    return Seat(tenant, participant.call_id, participant.pk, participant.epoch, standing.role, by_ref[ref])


def _is_hex(text: str) -> bool:
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)


def decide(present: Present, purpose: str, granted: bool, method: str) -> None:
    """Write down the person's own answer. Raises Refused("not-asked", 404) for a purpose that this meeting does not ask."""
    participant = present.participant
    if purpose not in participant.call.meeting.purposes:
        raise Refused("not-asked", 404)
    consent.decide(
        call_id=participant.call_id,
        person=participant.person,
        purpose=purpose,
        granted=granted,
        by=present.actor,
        at=present.at,
        method=method,
    )
