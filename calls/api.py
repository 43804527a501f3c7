"""Meetings and invitations for the tenant's own programs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import identity as who
from tenants import queries as house
from tenants.base_views import OFFSET, Endpoint, Following, Offset
from tenants.errors import Refused
from tenants.models import Person
from tenants.permissions import may

from . import queries, services
from .models import Call, Meeting


class MeetingOutput(serializers.Serializer[Any]):
    """A meeting as its tenant sees it."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    why = serializers.CharField(allow_blank=True)
    host = serializers.UUIDField(source="host_id")
    purposes = serializers.ListField(child=serializers.CharField())
    starts_at = serializers.DateTimeField(allow_null=True)
    state = serializers.ChoiceField(Meeting.State.choices)
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class SittingOutput(serializers.Serializer[Any]):
    """One sitting of a meeting: what decisions and recordings name as `call`."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(Call.State.choices)
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class Meetings(Endpoint):
    """Meetings of the tenant; with a staff session those that its person may see."""

    ability = {"GET": "meetings.see", "POST": "meetings.write"}

    class Asked(Offset):
        state = serializers.ChoiceField(Meeting.State.choices, required=False)

    class Input(serializers.Serializer[Any]):
        title = serializers.CharField(max_length=120)
        why = serializers.CharField(max_length=1000, allow_blank=True, default="")
        host = serializers.UUIDField(required=False, help_text="A person of the tenant who may host. Left out: the person of the session.")
        purposes = serializers.ListField(child=serializers.CharField(max_length=40), max_length=20, default=list)
        starts_at = serializers.DateTimeField(allow_null=True, default=None)

    class Output(Following):
        results = MeetingOutput(many=True)

    @extend_schema(
        operation_id="meetings_list",
        parameters=[OFFSET, OpenApiParameter("state", enum=Meeting.State.values, description="Only meetings in this state.")],
        responses=Output,
    )
    def get(self, request: Request) -> Response:
        """Newest first, at most a hundred at a time."""
        asked = self.wanted(request)
        found = queries.meetings_for(self.actor, who.identity_of(request._request).roles)
        return self.paged(found.filter(state=asked["state"]) if "state" in asked else found, asked["offset"])

    @extend_schema(operation_id="meetings_create", request=Input, responses={201: MeetingOutput})
    def post(self, request: Request) -> Response:
        """Plan a meeting."""
        asked = self.asked(request)
        host = self._host(asked.pop("host", None))
        meeting = services.schedule(**asked, host=host, by=self.actor, at=timezone.now())
        return Response(MeetingOutput(meeting).data, status=201)

    def _host(self, person_id: UUID | None) -> Person:
        """Raises Refused("host-needed") and Refused("cannot-host")."""
        identity = who.identity_of(self.request._request)
        if person_id is None:
            if identity.person is None:
                raise Refused("host-needed")
            return identity.person
        person = house.person(person_id)
        membership = house.memberships_of_person(person).first() if person else None
        if person is None or membership is None or not may({membership.role}, "calls.host"):
            raise Refused("cannot-host")
        if identity.person is not None and person != identity.person and not may(identity.roles, "meetings.see_all"):
            raise Refused("cannot-host")
        return person


class OneMeeting(Endpoint):
    """One meeting and its sittings."""

    ability = "meetings.see"

    class Output(MeetingOutput):
        calls = SittingOutput(many=True, source="calls_in_order")

    @extend_schema(operation_id="meetings_get", responses=Output)
    def get(self, request: Request, meeting: UUID) -> Response:
        """Its state as the database has it now."""
        found = _meeting(self, meeting)
        found.calls_in_order = queries.sittings(found)  # type: ignore[attr-defined]  # reason: what the serializer shows beside the row
        return Response(self.Output(found).data)


class CancelMeeting(Endpoint):
    """A planned meeting that will not be held."""

    ability = "meetings.write"

    @extend_schema(operation_id="meetings_cancel", request=None, responses=MeetingOutput)
    def post(self, request: Request, meeting: UUID) -> Response:
        """Call it off. A meeting that has begun is ended instead."""
        return Response(MeetingOutput(services.cancel(meeting=_meeting(self, meeting), by=self.actor, at=timezone.now())).data)


class EndMeeting(Endpoint):
    """A call that is on."""

    ability = "meetings.write"

    @extend_schema(operation_id="meetings_end", request=None, responses=MeetingOutput)
    def post(self, request: Request, meeting: UUID) -> Response:
        """End the call for everybody, and with it the meeting."""
        call = queries.open_call(_meeting(self, meeting))
        if call is None:
            raise Refused("meeting-not-open", 409)
        services.end(call=call, by=self.actor, at=timezone.now())
        return Response(MeetingOutput(_meeting(self, meeting)).data)


def _meeting(endpoint: Endpoint, meeting_id: UUID) -> Meeting:
    return queries.meeting_for(endpoint.actor, who.identity_of(endpoint.request._request).roles, meeting_id)


class InvitationOutput(serializers.Serializer[Any]):
    """An invitation without its link: a secret is shown once."""

    id = serializers.UUIDField()
    person = serializers.UUIDField(source="person_id")
    name = serializers.CharField(source="person.name")
    email = serializers.CharField(source="person.email", allow_blank=True)
    created_at = serializers.DateTimeField()
    sent_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class Invitations(Endpoint):
    """Personal links to one meeting."""

    ability = {"GET": "meetings.see", "POST": "meetings.write"}

    class Asked(Offset):
        pass

    class Input(serializers.Serializer[Any]):
        name = serializers.CharField(max_length=120)
        email = serializers.EmailField(max_length=254, allow_blank=True, default="")

    class Output(Following):
        results = InvitationOutput(many=True)

    class Made(serializers.Serializer[Any]):
        id = serializers.UUIDField()
        person = serializers.UUIDField()
        link = serializers.CharField(
            allow_null=True,
            help_text="The personal link of somebody without an address, shown in this answer and never again. Null where it is mailed.",
        )

    @extend_schema(operation_id="invitations_list", parameters=[OFFSET], responses=Output)
    def get(self, request: Request, meeting: UUID) -> Response:
        """Everybody invited, in order of their invitation."""
        return self.paged(queries.invitations(_meeting(self, meeting)), self.wanted(request)["offset"])

    @extend_schema(operation_id="invitations_create", request=Input, responses={201: Made})
    def post(self, request: Request, meeting: UUID) -> Response:
        """Invite somebody; to an address the link is mailed, and shown to nobody else. Inviting again gives a further link."""
        invitation, url = services.invite(meeting=_meeting(self, meeting), **self.asked(request), by=self.actor, at=timezone.now())
        return Response(self.Made({"id": invitation.pk, "person": invitation.person_id, "link": url or None}).data, status=201)


class RevokeInvitation(Endpoint):
    """An invitation that is taken back."""

    ability = "meetings.write"

    @extend_schema(operation_id="invitations_revoke", request=None, responses=InvitationOutput)
    def post(self, request: Request, meeting: UUID, invitation: UUID) -> Response:
        """Close its links and remove its holder from the call. Revoking again changes nothing."""
        found = queries.invitation_for(_meeting(self, meeting), invitation)
        services.revoke_invitation(invitation=found, by=self.actor, at=timezone.now())
        return Response(InvitationOutput(queries.invitation(found.pk)).data)
