"""Recordings for the room page and for the tenant's own programs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from calls import queries as calls
from tenants import identity as who
from tenants.base_views import OFFSET, Endpoint, Following, Offset
from tenants.errors import Refused

from . import queries, services
from .models import Recording


class RecordingOutput(serializers.Serializer[Any]):
    """A recording as its tenant sees it: no media, no key, no name of a stored object."""

    id = serializers.UUIDField()
    call = serializers.UUIDField(source="call_id")
    state = serializers.ChoiceField(Recording.State.choices)
    requested_by = serializers.UUIDField(source="requested_by_id")
    requested_at = serializers.DateTimeField()
    stopped_at = serializers.DateTimeField(allow_null=True)
    incomplete = serializers.BooleanField()


class Recordings(Endpoint):
    """Recordings of the tenant; with a staff session those of meetings that its person may see."""

    ability = {"GET": "recordings.see", "POST": "recordings.start"}

    class Asked(Offset):
        call = serializers.UUIDField(required=False)

    class Input(serializers.Serializer[Any]):
        call = serializers.UUIDField()

    class Output(Following):
        results = RecordingOutput(many=True)

    @extend_schema(
        operation_id="recordings_list",
        parameters=[
            OpenApiParameter("call", {"type": "string", "format": "uuid"}, description="Only recordings of this call."),
            OFFSET,
        ],
        responses=Output,
    )
    def get(self, request: Request) -> Response:
        """Newest first, at most a hundred at a time."""
        asked = self.wanted(request)
        found = queries.recordings_for(self.actor, who.identity_of(request._request).roles)
        return self.paged(found.filter(call=asked["call"]) if "call" in asked else found, asked["offset"])

    @extend_schema(operation_id="recordings_start", request=Input, responses={201: RecordingOutput})
    def post(self, request: Request) -> Response:
        """Ask for capture of a call: of those who agreed, from the moment they agreed."""
        call = calls.call(self.asked(request)["call"])
        if call is None:
            raise Refused("not-found", 404)
        calls.meeting_for(self.actor, who.identity_of(request._request).roles, call.meeting_id)
        recording = services.start(call=call, by=self.actor, at=timezone.now())
        return Response(RecordingOutput(recording).data, status=201)


class OneRecording(Endpoint):
    """One recording."""

    ability = "recordings.see"

    @extend_schema(operation_id="recordings_get", responses=RecordingOutput)
    def get(self, request: Request, recording: UUID) -> Response:
        """Its state as the database has it now."""
        return Response(RecordingOutput(queries.recording_for(self.actor, who.identity_of(request._request).roles, recording)).data)


class StopRecording(Endpoint):
    """The end of a recording."""

    ability = "recordings.stop"

    @extend_schema(operation_id="recordings_stop", request=None, responses=RecordingOutput)
    def post(self, request: Request, recording: UUID) -> Response:
        """Stop capture. Stopping again changes nothing."""
        found = queries.recording_for(self.actor, who.identity_of(request._request).roles, recording)
        return Response(RecordingOutput(services.stop(recording=found, by=self.actor, at=timezone.now())).data)
