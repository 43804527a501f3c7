"""Data-subject requests for the tenant's own programs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response

from tenants import queries as house
from tenants.base_views import OFFSET, Endpoint, Following, Offset
from tenants.errors import Refused

from . import queries
from .dsr import desk
from .models import Request


class LineOutput(serializers.Serializer[Any]):
    """What became of one kind of data."""

    model = serializers.CharField()
    outcome = serializers.CharField()
    rows = serializers.IntegerField()
    ground = serializers.CharField(allow_blank=True)


class RequestOutput(serializers.Serializer[Any]):
    """A request as its tenant sees it."""

    id = serializers.UUIDField()
    person = serializers.UUIDField(source="person_id")
    kind = serializers.ChoiceField(Request.Kind.choices)
    state = serializers.ChoiceField(Request.State.choices)
    channel = serializers.ChoiceField(Request.Channel.choices)
    asked_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField()
    waits_until = serializers.DateTimeField(allow_null=True)
    ready_at = serializers.DateTimeField(allow_null=True)
    done_at = serializers.DateTimeField(allow_null=True)
    lines = LineOutput(many=True)


class Requests(Endpoint):
    """What people asked about their own data."""

    ability = {"GET": "requests.see", "POST": "requests.write"}

    class Asked(Offset):
        pass

    class Input(serializers.Serializer[Any]):
        person = serializers.UUIDField()
        kind = serializers.ChoiceField(Request.Kind.choices)

    class Output(Following):
        results = RequestOutput(many=True)

    @extend_schema(operation_id="requests_list", parameters=[OFFSET], responses=Output)
    def get(self, request: ApiRequest) -> Response:
        """What is not answered first, by its deadline."""
        return self.paged(queries.requests(), self.wanted(request)["offset"])

    @extend_schema(operation_id="requests_create", request=Input, responses={201: RequestOutput})
    def post(self, request: ApiRequest) -> Response:
        """Open a request for a person who asked you. Asking again while one is unfinished answers with that one.

        An erasure restricts everything at once and is carried out at `waits_until`; until then it can be taken back.
        """
        asked = self.asked(request)
        person = house.person(asked["person"])
        if person is None:
            raise Refused("not-found", 404)
        made = desk.open_request(person=person, kind=asked["kind"], channel=Request.Channel.API, by=self.actor, at=timezone.now())
        return Response(RequestOutput(made).data, status=201)


class OneRequest(Endpoint):
    """One request."""

    ability = "requests.see"

    @extend_schema(operation_id="requests_get", responses=RequestOutput)
    def get(self, request: ApiRequest, request_id: UUID) -> Response:
        """Its state as the database has it now."""
        return Response(RequestOutput(queries.request_for(request_id)).data)


class TakeBack(Endpoint):
    """An erasure that is not wanted after all."""

    ability = "requests.write"

    @extend_schema(operation_id="requests_take_back", request=None, responses=RequestOutput)
    def post(self, request: ApiRequest, request_id: UUID) -> Response:
        """Before `waits_until`: what it restricted can be played again. 409 `too-late` after that, and for any other request."""
        found = desk.take_back(request=queries.request_for(request_id), by=self.actor, at=timezone.now())
        return Response(RequestOutput(found).data)
