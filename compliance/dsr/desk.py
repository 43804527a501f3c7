"""Opening requests and carrying them out.

What must never happen here, and what holds it:

* *Something is played after its erasure was asked for.* Opening an erasure restricts everything in the same transaction.
* *Something is destroyed because somebody said so who is not the person.* The own session or link is proof; whatever else asks (a program, the
  desk) is weaker: everything is restricted, keys live for `TAKE_BACK` more, and until then it can be taken back.
* *Capture goes on.* Opening an erasure, whoever asks for it, takes back every yes of the person in a call that is on, in the same transaction; until
  it is carried out `consent` writes down no new one.
* *An erasure is called done while something is left.* A kind of data that failed keeps the request unfinished, and it is tried again.
* *A copy counts as given that cannot be made.* It is ready only after everything of it was opened once, and is not ready any more when sending it
  broke off: either is tried again. What is lost for good is left out and told.
* *What came after it is left behind with nobody to ask for it.* Before who it was goes, the content is erased once more. Whoever is a member, or was
  invited again after the request, stays, with what is newer than the request.
* *What is held is destroyed.* Holds are asked before anything goes; what they keep stays restricted, and the request stays open.

An erasure has two steps. First the content goes. The name, the invitations and the personal links go `REACHABLE` later: until then the person can
read, by the own link, what was done.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from calls import queries as calls
from compliance import clocks, holds, log, queries, terms
from compliance.dsr import erasing, package
from compliance.models import Request
from compliance.registry import Line, Outcome
from consent import services as consent
from recordings import forgetting
from recordings import queries as recordings
from tenants import jobs, scope
from tenants import queries as house
from tenants.errors import Refused
from tenants.models import Person, Tenant
from tenants.permissions import Actor

logger = logging.getLogger(__name__)
State, Kind = Request.State, Request.Kind
REACHABLE = timedelta(days=7)  # how long the person can read what became of an erasure
TAKE_BACK = timedelta(hours=72)  # how long an erasure by weaker proof can be taken back (product rule 9)
AGAIN = timedelta(minutes=5)  # until something that failed is tried again
HELD_AGAIN = timedelta(hours=6)  # until it is asked again whether a hold still stands
PATIENCE = timedelta(days=3)  # from the request: as long as none of its files opens, the store is thought to be away and not to be lost
TASK = "compliance.carry_out"
TELL = "compliance.tell_person"
HOLD, MEMBER, INVITED, UNMADE, UNOPENED = "hold", "member", "invited-again", "cannot-be-made", "cannot-be-opened"


@transaction.atomic
def open_request(*, person: Person, kind: str, channel: str, by: Actor, at: datetime) -> Request:
    """Write down what somebody asks about their own data, and promise the work. Asked again while one is unfinished, it is the same request.

    A person who asks for the erasure that waits by weaker proof has it carried out now. Entries: `request.opened`; `request.confirmed`.
    Raises Refused: "unknown-kind" 400; "unknown-person" 404.
    """
    if kind not in Kind.values:
        raise Refused("unknown-kind", 400)
    person = queries.lock_person(person.pk)
    own = by == Actor.person(person)
    known = queries.unfinished(person.pk, kind)
    if known is not None:
        return _confirmed(known, by, at) if own and known.waits_until is not None else known
    made = Request(tenant_id=person.tenant_id, person=person, kind=kind, channel=channel, asked_at=at, due_at=clocks.due(at), next_at=at)
    facts: dict[str, str] = {}
    if kind == Kind.ERASURE:
        made.waits_until = None if own else at + TAKE_BACK
        made.next_at = made.waits_until or at
        facts = {} if made.waits_until is None else {"waits_until": made.waits_until.isoformat()}
        forgetting.restrict(person=person, recording=None, by=by, at=at, erase_from=made.waits_until)  # its rows before the log's head
        _end_capture(person, by, at)
    made.save(force_insert=True)
    if made.waits_until is None:  # what waits is taken on by the sweep
        jobs.later(TASK, request_id=made.pk)
    if not own:
        jobs.later(TELL, request_id=made.pk)
    log.record("request.opened", on=made, by=by, at=at, person=person.pk, request=kind, channel=channel, **facts)
    return made


def _confirmed(known: Request, by: Actor, at: datetime) -> Request:
    """The person asks, by the own proof, for what somebody else had asked for: it waits no longer."""
    now = queries.locked_request(known.pk)
    if now is None or not now.can_be_taken_back(at):
        return now or known
    forgetting.restrict(person=now.person, recording=None, by=by, at=at)
    _end_capture(now.person, by, at)
    now.waits_until, now.next_at = None, at
    now.save(update_fields=["waits_until", "next_at"])
    jobs.later(TASK, request_id=now.pk)
    log.record("request.confirmed", on=now, by=by, at=at, person=now.person_id)
    return now


@transaction.atomic
def take_back(*, request: Request, by: Actor, at: datetime) -> Request:
    """An erasure that was asked for by weaker proof is not wanted: what it restricted can be played again. Entry: `request.taken_back`.

    Raises Refused: "too-late" 409 for any other request, and when its time is over.
    """
    now = queries.locked_request(request.pk)
    if now is None or not now.can_be_taken_back(at):
        raise Refused("too-late", 409)
    forgetting.lift(person=now.person, by=by, at=at)
    now.state, now.next_at = State.REVOKED, None
    now.save(update_fields=["state", "next_at"])
    log.record("request.taken_back", on=now, by=by, at=at, person=now.person_id)
    return now


def told(*, request: Request, by: Actor, at: datetime) -> None:
    """The mail about what somebody else entered for the person was handed to the mail server. Entry: `request.told`."""
    log.record("request.told", on=request, by=by, at=at, person=request.person_id)


def _end_capture(person: Person, by: Actor, at: datetime) -> None:
    """Every yes of the person in a call that is on becomes a no: capture ends before anything is erased."""
    for call in calls.open_calls_of(person):
        consent.withdraw_all(person=person, call_id=call.pk, by=by, at=at)


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
    """The package can be downloaded, once all of it was opened. Nothing of it is stored: it is made while it is sent."""
    opened = _tried(request.person)
    if opened is None or (opened.lost and not opened.files and at < request.asked_at + PATIENCE):
        news = request.state != State.FAILED
        request.state, request.next_at, request.lines = State.FAILED, at + AGAIN, [asdict(Line("*", Outcome.FAILED, 0, UNMADE))]
        request.save()
        if news:  # the same again is none
            log.record("request.failed", on=request, by=by, at=at, person=request.person_id, failed=["*"])
        return request
    left_out = [Line("recordings.Artefact", Outcome.FAILED, len(opened.lost), UNOPENED)] if opened.lost else []
    request.lines = [asdict(line) for line in left_out]
    request.state, request.ready_at, request.expires_at = State.READY, at, at + terms.kept_for(terms.Kind.PACKAGE, at)
    request.next_at = request.expires_at
    request.save()
    log.record("request.ready", on=request, by=by, at=at, person=request.person_id, files=opened.files, lost=opened.lost)
    return request


def _tried(person: Person) -> package.Opened | None:
    """What of the package can be opened; None when it cannot be made at all, which the service's own log tells."""
    try:
        with transaction.atomic():
            return package.tried(person=person)
    except Exception:
        logger.exception("the copy for person %s cannot be made; it is tried again", person.pk)
        return None


def _erased(request: Request, by: Actor, at: datetime) -> Request:
    """Erase the content; who it was follows later."""
    if not _content_gone(request, by, at):
        return request
    request.state, request.done_at, request.expires_at = State.DONE, at, at + REACHABLE
    request.next_at = request.expires_at
    request.save()
    models = [line["model"] for line in request.lines]
    log.record("request.carried_out", on=request, by=by, at=at, person=request.person_id, models=models)
    return request


def _content_gone(request: Request, by: Actor, at: datetime) -> bool:
    """Erase what can be erased now; whether that was all. What failed or is held keeps the request unfinished, or makes it so again."""
    person = request.person
    if holds.is_held(person.pk):
        forgetting.redact(person=person, recording=None, by=by, at=at)
        news = request.state != State.WORKING
        if news:
            request.lines = [asdict(Line("*", Outcome.KEPT, 0, HOLD))]
        _unfinished(request, State.WORKING, at + HELD_AGAIN)
        if news:
            log.record("request.held", on=request, by=by, at=at, person=person.pk)
        return False
    before = [line["model"] for line in request.lines if line["outcome"] == Outcome.FAILED] if request.state == State.FAILED else []
    lines = erasing.erase(person, erasing.content(), at)
    told = {line["model"]: line["rows"] for line in request.lines}  # what went the first time is there no more the second
    request.lines = [asdict(replace(line, rows=max(line.rows, told.get(line.model, 0)))) for line in lines]
    failed = [line.model for line in lines if line.outcome is Outcome.FAILED]
    if failed:
        _unfinished(request, State.FAILED, at + AGAIN)
        if failed != before:  # the same again is no news
            log.record("request.failed", on=request, by=by, at=at, person=person.pk, failed=failed)
    return not failed


def _unfinished(request: Request, state: str, again: datetime) -> None:
    request.state, request.next_at = state, again
    request.done_at = request.expires_at = None
    request.save()


def _closed(request: Request, by: Actor, at: datetime) -> Request:
    """The time to download or to read is over; of an erasure, who it was goes too."""
    if request.kind == Kind.ERASURE and not queries.is_followed(request) and not _identity_gone(request, by, at):
        return request
    request.state, request.done_at, request.next_at = State.DONE, request.done_at or at, None
    request.save()
    log.record("request.closed", on=request, by=by, at=at, person=request.person_id)
    return request


def _identity_gone(request: Request, by: Actor, at: datetime) -> bool:
    """Erase who it was, after the content that came meanwhile; whether that is done. Of who stays only what is older than the request goes."""
    if request.person.erased_at is not None:
        return True
    person = queries.lock_person(request.person_id, alone=True)  # nobody is invited between the question and the answer
    member = house.memberships_of_person(person).exists()
    if member or calls.invited_since(person, request.asked_at, at).exists():
        if holds.is_held(person.pk):
            request.next_at = at + HELD_AGAIN
            request.save(update_fields=["next_at"])
            return False
        lines = erasing.of_who_stays(person, ground=MEMBER if member else INVITED, asked_at=request.asked_at, at=at)
    else:
        recordings.lock_for_forgetting(person, None)  # before the log's head, which the answers lock
        _end_capture(person, by, at)
        if not _content_gone(request, by, at):
            return False
        lines = erasing.erase(person, erasing.identity(), at)
    request.lines = [*request.lines, *(asdict(line) for line in lines)]
    return True


@transaction.atomic
def downloaded(*, request: Request, by: Actor, at: datetime) -> Request:
    """The package begins to be sent; `sent` does it. Entry: `package.downloaded`. Raises Refused: "not-ready" 409; "expired" 410."""
    now = queries.locked_request(request.pk)
    if now is None or now.kind != Kind.ACCESS or now.state not in (State.READY, State.DONE):
        raise Refused("not-ready", 409)
    if now.state == State.DONE or now.expires_at is None or now.expires_at <= at:
        raise Refused("expired", 410)
    log.record("package.downloaded", on=now, by=by, at=at, person=now.person_id)
    return now


def sent(*, request: Request, tenant: Tenant, by: Actor, at: datetime) -> Iterator[bytes]:
    """The package, piece by piece, and what became of it. Opens the scope itself, and raises what breaks the package off.

    Entries: those of `package.collected`, then `package.sent` or `package.broken_off`; neither when the reader goes away in the middle.
    """
    try:
        with scope.entered(tenant):
            made = package.collected(person=request.person, tenant=tenant, by=by, at=at)
        opened = yield from package.stream(made)
    except Exception as fault:
        with scope.entered(tenant):
            broken_off(request=request, why=fault.code if isinstance(fault, Refused) else type(fault).__name__, by=by, at=timezone.now())
        raise
    with scope.entered(tenant):
        facts = {"person": request.person_id, "files": opened.files, "lost": opened.lost}
        log.record("package.sent", on=request, by=by, at=timezone.now(), **facts)


@transaction.atomic
def broken_off(*, request: Request, why: str, by: Actor, at: datetime) -> None:
    """Sending a package ended in the middle, and not because its reader went away: it is made ready anew. Entry: `package.broken_off`."""
    now = queries.locked_request(request.pk)
    if now is not None and now.state == State.READY:
        now.state, now.ready_at, now.expires_at, now.next_at = State.FAILED, None, None, at
        now.lines = [asdict(Line("*", Outcome.FAILED, 0, UNMADE))]
        now.save()
    log.record("package.broken_off", on=request, by=by, at=at, person=request.person_id, why=why)
