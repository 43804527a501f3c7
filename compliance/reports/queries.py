"""Guarded reads of the figures. All run inside one tenant's scope; `since` is in the span, `until` is outside of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Min, Q, QuerySet

from calls.models import Call, Participant
from compliance import queries as desk
from compliance.models import Hold, Request
from consent import queries as consent
from consent.models import Decision, Purpose, ServedNotice
from recordings.models import Artefact, Recording, Viewing

Question = tuple[UUID, UUID, UUID]  # person, purpose, call


def purposes() -> QuerySet[Purpose]:
    """Everything that the tenant may ask, in the order in which it is asked."""
    found: QuerySet[Purpose] = Purpose.objects.order_by("order", "key")
    return found


def questions(since: datetime, until: datetime) -> list[Question]:
    """What was asked of whom in which call, each once: when it was shown for the first time lies in the span."""
    asked = ServedNotice.objects.values("person_id", "notice__purpose_id", "call_id").annotate(first=Min("served_at"))
    rows = asked.filter(first__gte=since, first__lt=until).values_list("person_id", "notice__purpose_id", "call_id")
    return [(person, purpose, call) for person, purpose, call in rows]


def last_answers(asked: Iterable[Question], until: datetime) -> dict[Question, bool]:
    """The last answer to each of these questions before `until`, whatever its wording. A yes that the log does not prove is no answer."""
    wanted = set(asked)
    found: dict[Question, Decision] = {}
    rows = Decision.objects.select_related("purpose", "notice", "served", "entry").filter(call_id__in={call for _, _, call in wanted})
    for decision in rows.filter(decided_at__lt=until).order_by("sequence").iterator():
        found[decision.person_id, decision.purpose_id, decision.call_id] = decision
    return {question: one.granted for question, one in found.items() if question in wanted and (not one.granted or consent.proven(one))}


def calls_held(since: datetime, until: datetime) -> QuerySet[Call]:
    """Sittings that began in the span and that somebody's media reached."""
    found: QuerySet[Call] = Call.objects.filter(started_at__gte=since, started_at__lt=until, participants__joined_at__isnull=False).distinct()
    return found


def people_met(since: datetime, until: datetime) -> int:
    """How many different people were in these sittings."""
    joined = Participant.objects.filter(call__in=calls_held(since, until).values("pk"), joined_at__isnull=False)
    return int(joined.values("person_id").distinct().count())


def recordings_asked(since: datetime, until: datetime) -> int:
    """How many recordings were asked for in the span."""
    return int(Recording.objects.filter(requested_at__gte=since, requested_at__lt=until).count())


def finished_files() -> list[tuple[UUID, str, list[tuple[int, int]]]]:
    """Track, source, and the stretches of time in microseconds, of every playback file that is kept now."""
    files = Artefact.objects.filter(kind=Artefact.Kind.PLAYBACK, state=Artefact.State.READY)
    rows: Any = files.values_list("epochs__track_id", "epochs__track__source", "spans").order_by("pk")
    return [(track, source, [(start, end) for start, end in spans]) for track, source, spans in rows if track is not None]


def views_by_purpose(since: datetime, until: datetime) -> dict[str, int]:
    """How often something was opened in the span, by the stated purpose."""
    opened = Viewing.objects.filter(opened_at__gte=since, opened_at__lt=until).order_by()
    return dict(opened.values_list("purpose").annotate(Count("pk")))


def holds_standing() -> int:
    """How many holds stand now."""
    return int(Hold.objects.filter(Q(lifted_at=None)).count())


def requests_asked(since: datetime, until: datetime) -> list[Request]:
    """What people asked for in the span about the data that is held about them, and did not take back."""
    asked = desk.requests().exclude(state=Request.State.REVOKED)
    return list(asked.filter(asked_at__gte=since, asked_at__lt=until).order_by("asked_at", "pk"))


def requests_due(before: datetime) -> list[Request]:
    """Requests without an answer whose deadline lies before this moment, the most urgent first."""
    waiting = desk.requests().exclude(state__in=(Request.State.READY, Request.State.DONE, Request.State.REVOKED))
    return list(waiting.filter(due_at__lt=before).order_by("due_at", "pk"))
