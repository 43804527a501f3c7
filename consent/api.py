"""Decisions for the tenant's own programs: to be read, never written. Only people decide, and only in their own name."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compliance import log
from tenants.base_views import OFFSET, Endpoint, Following, Offset

from . import queries
from .models import Decision

IDENTIFIER = {"type": "string", "format": "uuid"}
KEY = {"type": "string", "maxLength": 40, "pattern": "^[-a-zA-Z0-9_]+$"}


class DecisionOutput(serializers.Serializer[Any]):
    """One answer of one person to one question in one sitting."""

    id = serializers.UUIDField()
    person = serializers.UUIDField(source="person_id")
    call = serializers.UUIDField(source="call_id")
    purpose = serializers.CharField(source="purpose.key")
    granted = serializers.BooleanField()
    decided_at = serializers.DateTimeField()
    sequence = serializers.IntegerField(help_text="Counts the person's answers to this question in this sitting; the highest is in force.")
    method = serializers.ChoiceField(Decision.Method.choices)
    notice_version = serializers.IntegerField(source="notice.version")
    notice_digest = serializers.CharField(source="notice.digest")
    entry_hash = serializers.SerializerMethodField(help_text="Leaf hash of the log entry, 64 hexadecimal digits.")

    def get_entry_hash(self, decision: Decision) -> str:
        return log.entry_hash(decision.entry).hex()


class Decisions(Endpoint):
    """What people of the tenant answered."""

    ability = "decisions.see"

    class Asked(Offset):
        call = serializers.UUIDField(required=False)
        person = serializers.UUIDField(required=False)
        purpose = serializers.SlugField(max_length=40, required=False)

    class Output(Following):
        results = DecisionOutput(many=True)

    @extend_schema(
        operation_id="decisions_list",
        parameters=[
            OFFSET,
            OpenApiParameter("call", IDENTIFIER, description="Only answers in this sitting."),
            OpenApiParameter("person", IDENTIFIER, description="Only answers of this person."),
            OpenApiParameter("purpose", KEY, description="Only answers to this question."),
        ],
        responses=Output,
    )
    def get(self, request: Request) -> Response:
        """Newest first, at most a hundred at a time."""
        asked = self.wanted(request)
        return self.paged(queries.every_decision(**{name: value for name, value in asked.items() if name != "offset"}), asked["offset"])
