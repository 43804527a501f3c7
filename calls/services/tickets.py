"""Tickets: what lets one socket in, once."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction

from tenants.credentials import hashed
from tenants.errors import Refused

from .. import queries
from ..models import Call, Participant, Ticket
from ..queries import ENTERING, GUEST_SEATS, IN_THE_CALL
from .sittings import locked

TICKET_LIFE = timedelta(seconds=30)


@transaction.atomic
def issue_ticket(*, participant: Participant, kind: str, session_ref: str, at: datetime) -> str:
    """What lets one socket of `kind` in, once, within 30 s, for the browser session named by `session_ref`.

    `<tenant, 32 hex digits>.<secret, 43 characters>`; only the secret's hash is kept. The participant's tickets that can no
    longer be used go at the same time.

    Raises Refused: "not-admitted" 409 for a call ticket before the admission; "full" 409 for a guest who lost the line and
    whose seat was taken since.
    """
    participant = locked(participant=participant)
    allowed = IN_THE_CALL if kind == Ticket.Kind.CALL else (*ENTERING, *IN_THE_CALL)
    if participant.state not in allowed or participant.call.state != Call.State.OPEN:
        raise Refused("not-admitted", 409)
    came_back = participant.state == Participant.State.ADMITTED and participant.left_at is not None
    if came_back and participant.role == Participant.Role.GUEST and queries.guests_inside(participant.call) >= GUEST_SEATS:
        raise Refused("full", 409)
    Ticket.objects.filter(participant=participant, expires_at__lt=at).delete()
    secret = secrets.token_urlsafe(32)
    Ticket.objects.create(
        tenant_id=participant.tenant_id,
        participant=participant,
        epoch=participant.epoch,
        kind=kind,
        session=session_ref,
        secret_hash=hashed(secret),
        expires_at=at + TICKET_LIFE,
    )
    return f"{participant.tenant_id.hex}.{secret}"


@transaction.atomic
def use_ticket(*, secret: str, kind: str, session_refs: Collection[str], at: datetime) -> tuple[Participant, str]:
    """Spend a ticket: the participant it lets in, and which of the browser's sessions it is bound to.

    One conditional UPDATE decides, so of two sockets with the same ticket one gets in. Raises Refused("ticket", 401) for a
    ticket that is unknown, spent, too old, of another kind or session, or from before a removal.
    """
    usable = Ticket.objects.filter(secret_hash=hashed(secret), kind=kind, session__in=list(session_refs), used_at=None, expires_at__gt=at)
    if not usable.update(used_at=at):
        raise Refused("ticket", 401)
    ticket = Ticket.objects.get(secret_hash=hashed(secret))
    participant = queries.participant(ticket.participant_id)
    if participant is None or participant.epoch != ticket.epoch:
        raise Refused("ticket", 401)
    return participant, ticket.session
