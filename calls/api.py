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
from tenants.base_views import Endpoint
from tenants.errors import Refused
from tenants.models import Person
from tenants.permissions import may

from . import queries, services
from .models import Meeting

PAGE = 100


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


class Meetings(Endpoint):
    """Meetings of the tenant; with a staff session those that its person may see."""

    ability = {"GET": "meetings.see", "POST": "meetings.write"}

    class Asked(serializers.Serializer[Any]):
        offset = serializers.IntegerField(min_value=0, max_value=1_000_000, default=0)

    class Input(serializers.Serializer[Any]):
        title = serializers.CharField(max_length=120)
        why = serializers.CharField(max_length=1000, allow_blank=True, default="")
        host = serializers.UUIDField(required=False, help_text="A person of the tenant who may host. Left out: the person of the session.")
        purposes = serializers.ListField(child=serializers.CharField(max_length=40), max_length=20, default=list)
        starts_at = serializers.DateTimeField(allow_null=True, default=None)

    class Output(serializers.Serializer[Any]):
        results = MeetingOutput(many=True)
        next_offset = serializers.IntegerField(allow_null=True)

    @extend_schema(
        operation_id="meetings_list",
        parameters=[OpenApiParameter("offset", {"type": "integer", "minimum": 0, "maximum": 1_000_000}, description="How many to skip.")],
        responses=Output,
    )
    def get(self, request: Request) -> Response:
        """Newest first, at most a hundred at a time."""
        asked = self.Asked(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        offset = asked.validated_data["offset"]
        found = list(queries.meetings_for(self.actor, who.identity_of(request._request).roles)[offset : offset + PAGE + 1])
        following = offset + PAGE if len(found) > PAGE else None
        return Response(self.Output({"results": found[:PAGE], "next_offset": following}).data)

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


class Invitations(Endpoint):
    """Personal links to one meeting."""

    ability = "meetings.write"

    class Input(serializers.Serializer[Any]):
        name = serializers.CharField(max_length=120)
        email = serializers.EmailField(max_length=254, allow_blank=True, default="")

    class Output(serializers.Serializer[Any]):
        id = serializers.UUIDField()
        person = serializers.UUIDField()
        link = serializers.CharField(help_text="The personal link. It is shown in this answer and never again.")

    @extend_schema(operation_id="invitations_create", request=Input, responses={201: Output})
    def post(self, request: Request, meeting: UUID) -> Response:
        """Invite somebody; with an address a mail is sent too. Inviting again gives a further link."""
        found = queries.meeting_for(self.actor, who.identity_of(request._request).roles, meeting)
        invitation, url = services.invite(meeting=found, **self.asked(request), by=self.actor, at=timezone.now())
        return Response(self.Output({"id": invitation.pk, "person": invitation.person_id, "link": url}).data, status=201)
