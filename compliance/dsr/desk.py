"""Opening requests and carrying them out.

What must never happen here, and what holds it:

* *Something is played after its erasure was asked for.* Opening an erasure restricts everything in the same transaction.
* *Capture goes on.* Whoever asks for the own erasure takes back every yes in a call that is on, first of all.
* *An erasure is called done while something is left.* A kind of data that failed keeps the request unfinished, and it is tried again.
* *What is held is destroyed.* Holds are asked before anything goes; what they keep stays restricted, and the request stays open.

An erasure has two steps. First the content goes. The name, the invitations and the personal links go `REACHABLE` later: until then the person can
read, by the own link, what was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from django.db import transaction

from calls import queries as calls
from compliance import clocks, holds, log, queries
from compliance.models import Request
from compliance.registry import Holding, Line, Outcome, holdings
from consent import queries as answers
from consent import services as consent
from consent.models import Decision
from recordings import forgetting
from tenants import jobs
from tenants.errors import Refused
from tenants.models import Person
from tenants.permissions import Actor

State, Kind = Request.State, Request.Kind
PACKAGE = timedelta(days=7)  # how long a package can be downloaded (D24)
REACHABLE = timedelta(days=7)  # how long the person can read what became of an erasure
AGAIN = timedelta(minutes=5)  # until something that failed is tried again
HELD_AGAIN = timedelta(hours=6)  # until it is asked again whether a hold still stands
TASK = "compliance.carry_out"
CONTENT_FIRST = ("recordings", "calls", "consent", "tenants", "compliance")
WHO_IT_IS = frozenset({"tenants.Person", "tenants.LinkSecret", "tenants.GuestSession", "calls.Invitation"})
HOLD = "hold"


@transaction.atomic
def open_request(*, person: Person, kind: str, channel: str, by: Actor, at: datetime) -> Request:
    """Write down what somebody asks about their own data, and promise the work. Asked again while one is unfinished, it is the same request.

    Entry: `request.opened`. Raises Refused: "unknown-kind" 400; "unknown-person" 404.
    """
    if kind not in Kind.values:
        raise Refused("unknown-kind", 400)
    person = queries.lock_person(person.pk)
    known = queries.unfinished(person.pk, kind)
    if known is not None:
        return known
    if kind == Kind.ERASURE:
        _take_back(person, by, at)
        forgetting.restrict(person=person, recording=None, by=by, at=at)
    made = Request(tenant_id=person.tenant_id, person=person, kind=kind, channel=channel, asked_at=at, due_at=clocks.due(at), next_at=at)
    made.save(force_insert=True)
    jobs.later(TASK, request_id=made.pk)
    log.record("request.opened", on=made, by=by, at=at, person=person.pk, request=kind, channel=channel)
    return made


def _take_back(person: Person, by: Actor, at: datetime) -> None:
    """Every yes of the person in a call that is on becomes a no: capture ends before anything is erased. Only in the person's own name."""
    if by != Actor.person(person):
        return
    for call in calls.open_calls_of(person):
        for key, answer in answers.answers(person, call.pk).items():
            if answer.granted:
                consent.decide(call_id=call.pk, person=person, purpose=key, granted=False, by=by, at=at, method=Decision.Method.LINK)


@transaction.atomic
def carry_out(*, request: Request, by: Actor, at: datetime) -> Request:
    """Take a request one step on. Safe to run twice. Entries: `request.ready`, `request.carried_out`, `request.failed`, `request.closed`."""
    now = queries.locked_request(request.pk)
    if now is None or now.next_at is None or now.next_at > at:
        return now or request
    now.started_at = now.started_at or at
    if now.kind == Kind.ACCESS:
        return _delivered(now, by, at) if now.state != State.READY else _closed(now, by, at)
    return _closed(now, by, at) if now.state == State.DONE else _erased(now, by, at)


def _delivered(request: Request, by: Actor, at: datetime) -> Request:
    """The package can be downloaded. Nothing of it is stored: it is made while it is sent."""
    request.state, request.ready_at, request.expires_at = State.READY, at, at + PACKAGE
    request.next_at = request.expires_at
    request.save()
    log.record("request.ready", on=request, by=by, at=at, person=request.person_id)
    return request


def _erased(request: Request, by: Actor, at: datetime) -> Request:
    """Erase what can be erased now; what failed or is held keeps the request unfinished."""
    person = request.person
    if holds.is_held(person.pk):
        forgetting.redact(person=person, recording=None, by=by, at=at)
        if request.state != State.WORKING:
            request.state, request.lines = State.WORKING, [asdict(Line("*", Outcome.KEPT, 0, HOLD))]
            request.next_at = at + HELD_AGAIN
            request.save()
            log.record("request.held", on=request, by=by, at=at, person=person.pk)
        else:
            request.next_at = at + HELD_AGAIN
            request.save(update_fields=["next_at"])
        return request
    lines = _erase(person, [holding for holding in _in_order() if holding.model not in WHO_IT_IS], at)
    request.lines = [asdict(line) for line in lines]
    failed = [line.model for line in lines if line.outcome is Outcome.FAILED]
    if failed:
        request.state, request.next_at = State.FAILED, at + AGAIN
        request.save()
        log.record("request.failed", on=request, by=by, at=at, person=person.pk, failed=failed)
        return request
    request.state, request.done_at, request.expires_at = State.DONE, at, at + REACHABLE
    request.next_at = request.expires_at
    request.save()
    log.record("request.carried_out", on=request, by=by, at=at, person=person.pk, models=[line.model for line in lines])
    return request


def _closed(request: Request, by: Actor, at: datetime) -> Request:
    """The time to download or to read is over; of an erasure, who it was goes too."""
    if request.kind == Kind.ERASURE:
        lines = _erase(request.person, [holding for holding in _in_order() if holding.model in WHO_IT_IS], at)
        request.lines = [*request.lines, *(asdict(line) for line in lines)]
    request.state, request.done_at, request.next_at = State.DONE, request.done_at or at, None
    request.save()
    log.record("request.closed", on=request, by=by, at=at, person=request.person_id)
    return request


def _in_order() -> list[Holding]:
    """Content before who it belongs to: a crash must not leave media that nobody can ask about any more."""
    erasing = [holding for holding in holdings() if holding.erase is not None]
    return sorted(erasing, key=lambda holding: CONTENT_FIRST.index(holding.model.partition(".")[0]))


def _erase(person: Person, some: Sequence[Holding], at: datetime) -> list[Line]:
    return [holding.erase(person, at) for holding in some if holding.erase is not None]


@transaction.atomic
def downloaded(*, request: Request, by: Actor, at: datetime) -> Request:
    """The package begins to be sent. Entry: `package.downloaded`. Raises Refused: "not-ready" 409; "expired" 410."""
    now = queries.locked_request(request.pk)
    if now is None or now.kind != Kind.ACCESS or now.state not in (State.READY, State.DONE):
        raise Refused("not-ready", 409)
    if now.state == State.DONE or now.expires_at is None or now.expires_at <= at:
        raise Refused("expired", 410)
    log.record("package.downloaded", on=now, by=by, at=at, person=now.person_id)
    return now
