"""Keeping as long as was agreed, and no longer: what is due, and its destruction by the functions that carry out an erasure.

What must never happen here, and what holds it:

* *Something goes before its time.* What is due is decided again under the locks, by the same function that pages show dates from
  (`recordings.queries.last_days`): the days of the notice that the person agreed to, per purpose, counted from the recording's stop.
* *Something stays for good.* Each unit of work, one person's part of one recording, has a transaction of its own. One that fails is
  told, keeps no other from going, and is due again at the next run; what a crash leaves of keys and objects is swept.
* *A proof goes while what it proves is there.* The evidence about a call goes only when nothing of the call is stored, and its time is counted
  from the moment at which the last of it went.
* *Somebody else's part goes too, or what is held.* Both are held by `recordings.forgetting`.
* *Somebody is forgotten whom something still concerns.* A guest's name goes last: after every stored object, request, invitation and hold.

`docs/retention.md` says how days are counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import Model, Q, QuerySet

from calls import queries as calls
from calls import services as meetings
from calls.models import Call, Invitation
from compliance import holds, queries, terms
from compliance import log as history
from compliance.dsr import erasing
from compliance.models import Hold, Request, RetentionRule
from consent import services as answers
from consent.catalogue import SOURCES
from recordings import forgetting
from recordings import queries as recordings
from recordings.models import Recording
from tenants import scope
from tenants.errors import Refused
from tenants.models import Person, Tenant
from tenants.permissions import Actor

INVITATION, PERSON = "invitation", "person"  # in place of a purpose, for what is no media
CONTENT = ("epoch.closed", "playback.ready", forgetting.REDACTED, forgetting.EXPIRED, forgetting.PURGED)  # when content was there, or went
PURPOSES = {source: purpose for purpose, sources in SOURCES.items() for source in sources}

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Due:
    """One unit of work: a person's part of a recording, an invitation, or with neither of them a guest of whom nothing else is left.

    `stretches`: purpose -> how many stretches of it are over. `used`: somebody came with the invitation.
    """

    person: Person
    recording: Recording | None = None
    invitation: Invitation | None = None
    used: bool = False
    stretches: dict[str, int] = field(default_factory=dict)
    held: bool = False

    @property
    def counted(self) -> dict[str, int]:
        """What a report counts of it."""
        return self.stretches or {INVITATION if self.invitation is not None else PERSON: 1}


@dataclass
class Report:
    """What one run found and did in one tenant. Counted are stretches by purpose, invitations and guests, and stored objects destroyed."""

    tenant: str
    due: Counter[str] = field(default_factory=Counter)
    held: int = 0  # units that a hold keeps
    failed: int = 0  # units that are tried again
    objects: int = 0
    invitations: int = 0
    meetings: int = 0  # to which nobody came, after their last invitation
    people: int = 0
    recordings: int = 0  # of which nothing is left now
    evidence: int = 0  # calls whose entries, answers and rows went
    closed: int = 0  # answered requests and lifted holds that went

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, as the command prints it."""
        counted = {"held": self.held, "failed": self.failed}
        purged = {"objects": self.objects, "invitations": self.invitations, "meetings": self.meetings, "people": self.people}
        purged |= {"recordings": self.recordings, "evidence": self.evidence, "closed": self.closed}
        return {"tenant": self.tenant, "due": dict(sorted(self.due.items())), **counted, "purged": purged}


def due(at: datetime) -> list[Due]:
    """What has been kept for as long as it may be, in the current tenant: stretches by recording and person, then invitations, then guests."""
    found: dict[tuple[Any, Any], Due] = {}
    for epoch in recordings.to_expire(at):
        track = epoch.track
        place = (track.recording_id, track.person_id)
        if place not in found:
            found[place] = Due(track.person, track.recording, held=holds.is_held(track.person_id))
        counted, purpose = found[place].stretches, PURPOSES[track.source]
        counted[purpose] = counted.get(purpose, 0) + 1
    unused = [Due(one.person, invitation=one) for one in calls.unused_invitations(ended_before=at - terms.kept_for(terms.Kind.INVITATION, at))]
    used = [
        Due(one.person, invitation=one, used=True)
        for one in calls.used_invitations(ended_before=at - terms.kept_for(terms.Kind.ACCOUNT, at))
        if not _wanted(one)
    ]
    without = [unit.invitation.pk for unit in (*unused, *used) if unit.invitation is not None]
    guests = [Due(person) for person in _guests(at, without)]
    return [*found.values(), *(replace(unit, held=holds.is_held(unit.person.pk)) for unit in (*unused, *used, *guests))]


def _wanted(invitation: Invitation) -> bool:
    """Does the person still need the link: for what is stored of that meeting, or to follow a request?"""
    stored = recordings.still_stored().filter(track__person=invitation.person_id, track__recording__call__meeting=invitation.meeting_id)
    return stored.exists() or queries.people_asking().filter(person=invitation.person_id).exists()


def _guests(at: datetime, without: Iterable[UUID] = ()) -> QuerySet[Person]:
    """Guests whose last meeting is long over and of whom nothing else is left; `without` counting these invitations."""
    found = calls.guests_long_gone(before=at - terms.kept_for(terms.Kind.ACCOUNT, at), without=without)
    return found.exclude(pk__in=recordings.still_stored().values("track__person")).exclude(pk__in=queries.people_asking())


def purge(*, due: Due, by: Actor, at: datetime) -> forgetting.Redacted:
    """Destroy one unit of what is due, if it still is at `at`; how many stored objects went, and whether a hold kept the rest.

    In one transaction; safe to run twice. Entries: `recording.expired`, `person.held`, `invitation.expired`, `person.expired`.
    """
    if due.recording is not None:
        return forgetting.expire(person=due.person, recording=due.recording, by=by, at=at)
    if due.invitation is None:
        gone = _forget(due.person, by, at)
    elif due.used and _wanted(due.invitation):
        gone = False
    else:
        before = at - terms.kept_for(terms.Kind.ACCOUNT if due.used else terms.Kind.INVITATION, at)
        gone = meetings.expire_invitation(invitation=due.invitation, used=due.used, ended_before=before, by=by, at=at)
    return forgetting.Redacted(int(gone), held=not gone and holds.is_held(due.person.pk))


@transaction.atomic
def _forget(person: Person, by: Actor, at: datetime) -> bool:
    """Empty the row of a guest, if nothing is left that it is needed for; whether it was this call's doing."""
    found = queries.lock_person(person.pk, alone=True)
    if holds.is_held(found.pk) or not _guests(at).filter(pk=found.pk).exists():
        return False
    erasing.erase(found, erasing.of_the_account(), at)
    history.record("person.expired", on=found, by=by, at=at, person=found.pk)
    return True


def run(*, tenant: Tenant, by: Actor, at: datetime, dry: bool = False, most: int | None = None) -> Report:
    """Everything that is due in one tenant, each unit in a scope and transaction of its own; `dry` only counts. Opens the scope itself.

    What fails is told in the service's own log and counted, and the run goes on. `most` bounds a run: units that a hold keeps come last.
    """
    report = Report(tenant.slug)
    with scope.reading(tenant):
        units = due(at)
    for unit in units:
        for purpose, count in unit.counted.items():
            report.due[purpose] += count
    if dry:
        report.held = sum(unit.held for unit in units)
        return report
    for unit in sorted(units, key=lambda unit: unit.held)[:most]:
        gone = _done(report, tenant, partial(purge, due=unit, by=by, at=at))
        if gone is None:
            continue
        report.held += gone.held
        if unit.recording is not None:
            report.objects += gone.shredded
        elif unit.invitation is not None:
            report.invitations += gone.shredded
        else:
            report.people += gone.shredded
    _run_the_rest(report, tenant, by, at, most)
    return report


def _run_the_rest(report: Report, tenant: Tenant, by: Actor, at: datetime, most: int | None) -> None:
    """What is over once those units are gone: empty recordings, meetings that nobody came to, evidence, and what was done with."""
    with scope.reading(tenant):
        emptied = list(recordings.emptied())
        before = at - terms.kept_for(terms.Kind.INVITATION, at)
        never_held = [one for one in calls.meetings_never_held(over_before=before) if not holds.is_held(one.host_id)]
    for meeting in never_held[:most]:
        report.meetings += bool(_done(report, tenant, partial(meetings.expire_meeting, meeting=meeting, over_before=before, by=by, at=at)))
    for recording in emptied:
        ended = _done(report, tenant, partial(forgetting.conclude, recording=recording, by=by, at=at))
        report.recordings += bool(ended)
    with scope.reading(tenant):
        old = evidence_due(at)
        closed = closed_due(at)
    for call in old[:most]:
        report.evidence += bool(_done(report, tenant, partial(forget_evidence, call=call, by=by, at=at)))
    for row in closed[:most]:
        report.closed += bool(_done(report, tenant, partial(forget_closed, row=row, by=by, at=at)))


def shorten(*, kind: str, days: int, in_force_from: datetime, by: Actor, at: datetime) -> RetentionRule:
    """From then on the current tenant keeps this kind for so many days. What is over by then goes at the next run. Entry: `retention.shortened`.

    Raises Refused: "unknown-kind"; "too-long" for more than the baseline; "too-short" for less than a day; "in-the-past".
    """
    if kind not in terms.BASELINE:
        raise Refused("unknown-kind")
    if days > terms.BASELINE[kind]:
        raise Refused("too-long", limit=terms.BASELINE[kind])
    if days < 1:
        raise Refused("too-short")
    if in_force_from < at:
        raise Refused("in-the-past")
    rule = RetentionRule(tenant=scope.current(), kind=kind, days=days, in_force_from=in_force_from)
    with transaction.atomic():
        rule.save(force_insert=True)
        facts = {"rule": kind, "days": days, "in_force_from": in_force_from.isoformat()}
        history.record("retention.shortened", on=rule, by=by, at=at, **facts)
    return rule


def evidence_due(at: datetime) -> list[Call]:
    """Calls that ended long enough ago, of which nothing is stored, and whose last content went long enough ago; without what a hold keeps."""
    before = at - terms.kept_for(terms.Kind.EVIDENCE, at)
    begun = [entry.on_id for entry in history.of_kinds(["call.opened"]).filter(at__lt=before).exclude(on_id="")]
    return [call for call in calls.ended_calls(begun, before) if _is_over(call, before)]


def _is_over(call: Call, before: datetime) -> bool:
    people = {participant.person_id for participant in calls.participants(call)}
    if any(holds.is_held(person) for person in people) or recordings.is_stored(call.pk):
        return False
    return not history.matching(_about(call)).filter(kind__in=CONTENT, at__gte=before).exists()


def _about(call: Call) -> Q:
    """Entries that name the call, one of its recordings, or anything of either."""
    made = [str(pk) for pk in recordings.ids_of(call.pk)]
    own = [str(pk) for pk in (call.pk, *calls.participants(call).values_list("pk", flat=True))]
    named = Q(record__facts__call=str(call.pk)) | Q(record__facts__recording__in=made)
    return named | Q(on_id__in=[*own, *made])


@transaction.atomic
def forget_evidence(*, call: Call, by: Actor, at: datetime) -> bool:
    """Blank the log's entries about a call, delete its answers and all rows about it; whether it was this call's doing. Safe to run twice.

    Commitments stay, so the log still verifies; that the call was, and when its evidence went, is all that is left. Entry: `evidence.expired`.
    """
    if call.pk not in {one.pk for one in evidence_due(at)}:
        return False
    _blanked(_about(call), call, by, at)
    answers.forget_answers(call_id=call.pk)
    forgetting.forget_rows(call_id=call.pk)
    meetings.forget_call(call=call)
    return True


def closed_due(at: datetime) -> list[Request | Hold]:
    """Requests that were done with, and holds that were lifted, as long ago as evidence is kept; without what a hold keeps."""
    before = at - terms.kept_for(terms.Kind.EVIDENCE, at)
    found = [*queries.long_answered(before), *holds.long_lifted(before)]
    return [row for row in found if not holds.is_held(row.person_id)]


@transaction.atomic
def forget_closed(*, row: Request | Hold, by: Actor, at: datetime) -> bool:
    """Delete a request or hold that was over long ago, and blank the entries about it; whether it was this call's doing. Safe to run twice.

    Entry: `evidence.expired`.
    """
    if (type(row), row.pk) not in {(type(one), one.pk) for one in closed_due(at)}:
        return False
    named = "request" if isinstance(row, Request) else "hold"
    _blanked(Q(on_id=str(row.pk)) | Q(**{f"record__facts__{named}": str(row.pk)}), row, by, at)
    row.delete()
    return True


def _blanked(about: Q, row: Model, by: Actor, at: datetime) -> None:
    """Blank these entries, and say of what they were."""
    entries = list(history.matching(about))
    history.blank(entries, by=by, at=at, reason="retention")
    history.record("evidence.expired", on=row, by=by, at=at, entries=len(entries))


def _done(report: Report, tenant: Tenant, work: Callable[[], T]) -> T | None:
    """What the work gives, in the tenant's scope; None when it failed, which is told and counted."""
    try:
        with scope.entered(tenant):
            return work()
    except Exception:
        log.exception("a part of what is due in %s could not be destroyed; it is tried again", tenant.slug)
        report.failed += 1
        return None
