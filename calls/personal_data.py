"""What calls holds about people: whom they met, when they came and went, and what lets a socket in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Model

from compliance.registry import Data, Erase, Export, Field, Line, Outcome, Purpose, Retention, declare, fields
from tenants import queries as house
from tenants.models import Person

from . import queries

FRAME = Field(Data.NONE, Purpose.MEETINGS, Retention.TENANT)
SITTING = Field(Data.NONE, Purpose.MEETINGS, Retention.EVIDENCE)  # the row goes with the evidence about the call; a meeting's too, or sooner
PLAN = Field(Data.CONTENT, Purpose.MEETINGS, Retention.EVIDENCE, Export.INCLUDE, Erase.BLANK)
HOSTED = Field(Data.PSEUDONYM, Purpose.MEETINGS, Retention.EVIDENCE)
INVITED = Field(Data.ACTIVITY, Purpose.MEETINGS, Retention.INVITATION, Export.INCLUDE, Erase.DELETE)
TOOK_PART = Field(Data.ACTIVITY, Purpose.MEETINGS, Retention.EVIDENCE, Export.INCLUDE)  # of nobody once the person's row is blank
PLACE = Field(Data.PSEUDONYM, Purpose.MEETINGS, Retention.EVIDENCE)
TICKET = Field(Data.NONE, Purpose.SECURITY, Retention.SESSION)
TICKET_SECRET = Field(Data.CREDENTIAL, Purpose.SECURITY, Retention.SESSION, Export.OMIT, Erase.DELETE)
MACHINE = Field(Data.NONE, Purpose.OPERATION, Retention.TENANT)


def export_meetings(person: Model) -> Iterator[dict[str, Any]]:
    """The meetings that the person hosted."""
    assert isinstance(person, Person)
    for meeting in queries.meetings_hosted_by(person):
        times = {"starts_at": meeting.starts_at, "created_at": meeting.created_at, "ended_at": meeting.ended_at}
        yield {"title": meeting.title, "why": meeting.why, "purposes": meeting.purposes, "state": meeting.state, **times}


def erase_meetings(person: Model, at: datetime) -> Line:
    """Empty the words of meetings that a former member hosted. What a member plans is the work's, and stays with the membership."""
    assert isinstance(person, Person)
    if house.memberships_of_person(person).exists():
        rows = queries.meetings_hosted_by(person).count()
        return Line("calls.Meeting", Outcome.KEPT, rows, "member") if rows else Line("calls.Meeting", Outcome.DONE, 0)
    rows = queries.meetings_hosted_by(person).exclude(title="", why="").update(title="", why="")
    return Line("calls.Meeting", Outcome.DONE, rows)


def export_invitations(person: Model) -> Iterator[dict[str, Any]]:
    """To what the person was invited, and when a mail went out."""
    assert isinstance(person, Person)
    for invitation in queries.meetings_of(person):
        times = {"created_at": invitation.created_at, "sent_at": invitation.sent_at, "revoked_at": invitation.revoked_at}
        yield {"meeting": invitation.meeting.title, **times}


def erase_invitations(person: Model, at: datetime) -> Line:
    """Delete the person's invitations. Their links are the house's and go with it."""
    assert isinstance(person, Person)
    rows = queries.meetings_of(person).delete()[0]
    return Line("calls.Invitation", Outcome.DONE, rows)


def export_participations(person: Model) -> Iterator[dict[str, Any]]:
    """When the person entered, joined and left which call."""
    assert isinstance(person, Person)
    for own in queries.participations_of(person):
        times = {"entered_at": own.entered_at, "ready_at": own.ready_at, "joined_at": own.joined_at, "left_at": own.left_at}
        yield {"meeting": own.call.meeting.title, "role": own.role, "state": own.state, **times}


def erase_tickets(person: Model, at: datetime) -> Line:
    """Delete the person's tickets."""
    assert isinstance(person, Person)
    return Line("calls.Ticket", Outcome.DONE, queries.tickets_of(person).delete()[0])


declare(
    "calls.Meeting",
    fields("id tenant purposes state created_at starts_at ended_at", SITTING) | fields("title why", PLAN) | fields("host", HOSTED),
    export=export_meetings,
    erase=erase_meetings,
)
declare(
    "calls.Invitation",
    fields("id tenant", FRAME) | fields("meeting person link created_at sent_at revoked_at", INVITED),
    export=export_invitations,
    erase=erase_invitations,
)
declare("calls.Call", fields("id tenant meeting state started_at ended_at", SITTING))
declare(
    "calls.Participant",
    fields("id tenant call epoch", SITTING) | fields("person", PLACE) | fields("role state entered_at ready_at joined_at left_at", TOOK_PART),
    export=export_participations,
)
declare(
    "calls.Ticket",
    fields("id tenant epoch kind expires_at used_at", TICKET) | fields("participant session secret_hash", TICKET_SECRET),
    erase=erase_tickets,
)
declare("calls.Worker", fields("id control_address seen_at capacity forwarded core_share draining drain_by", MACHINE))
declare("calls.Placement", fields("call_id tenant worker fence placed_at lease_until", MACHINE))
