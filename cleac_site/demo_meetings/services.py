"""Writes of the demo's meetings. The media is not among them: it comes in by the front door."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from calls import queries as calls
from calls import services as meetings
from calls.models import Meeting
from consent.catalogue import SOURCES
from recordings import forgetting
from recordings import queries as recordings
from recordings import services as recording_services
from tenants import queries as house_queries
from tenants import scope
from tenants import services as house
from tenants.models import Person, Tenant
from tenants.permissions import SCOPES, Actor

from . import queries


@transaction.atomic
def issue_key(*, by: Actor, at: datetime) -> str:
    """A new API key of the current tenant that may do whatever a key may; those of the demo before it are revoked."""
    for older in house_queries.api_keys_of(scope.current()).filter(name=queries.KEY, revoked_at=None):
        house.revoke_api_key(key=older, by=by, at=at)
    _, secret = house.issue_api_key(name=queries.KEY, scopes=SCOPES, last_day=(at + house.KEY_LIFE).date(), by=by, at=at)
    return secret


@transaction.atomic
def plan(*, title: str, why: str, host: Person, by: Actor, at: datetime) -> Meeting:
    """A meeting that asks about voice, camera and screen. Entry: `meeting.scheduled`."""
    return meetings.schedule(title=title, why=why, host=host, purposes=SOURCES, by=by, at=at)


@transaction.atomic
def open_room(*, meeting: Meeting, by: Actor, at: datetime) -> None:
    """People can enter from now on. Entry: `call.opened`."""
    meetings.open_call(meeting=meeting, by=by, at=at)


@transaction.atomic
def link_for(*, meeting: Meeting, person: Person, secret: str, by: Actor, at: datetime) -> str:
    """The secret of a guest's link to this meeting: the one that is known, or a new one where that opens nothing. Entries of `invite_again`."""
    if queries.link_opens(secret, at):
        return secret
    invitation, _ = meetings.invite_again(meeting=meeting, person=person, by=by, at=at)
    return meetings.new_invitation_link(invitation=invitation, by=by, at=at).partition("#")[2]


def discard(*, tenant: Tenant, meeting: Meeting, by: Actor, at: datetime) -> None:
    """End a meeting whose recording was interrupted, and erase what was kept of it. Safe to run twice.

    A transaction for each step, because each locks in its own order. Entries: `call.ended`, `recording.stopped`, `person.restricted`.
    """
    with scope.entered(tenant):
        call = calls.open_call(meeting)
        if call is not None:
            meetings.end(call=call, by=by, at=at)
        found = queries.recordings_of(meeting)
    for recording in found:
        with scope.entered(tenant):
            recording_services.stop(recording=recording, by=by, at=at)
        with scope.entered(tenant):
            people = {epoch.track.person for epoch in recordings.epochs(recording)}
        for person in people:
            with scope.entered(tenant):
                forgetting.restrict(person=person, recording=recording, by=by, at=at)
