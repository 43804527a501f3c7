"""Publish words, show them, and write down what somebody answered. The only writers of consent.

`Decision.decided_at` is the database's time, read after the person's row was locked and just before the entry is written,
and the entry carries the same time. Only the entry, the row and the commit follow: it is the commit's time as nearly as a row
can hold it, and never later. Early is the safe side: a withdrawal takes more with it, and a grant is seen by nobody before
its commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import rfc8785
from django.db import transaction

from compliance import holds, log
from tenants import scope
from tenants.errors import Refused
from tenants.models import Person, Tenant
from tenants.permissions import Actor

from . import queries
from .catalogue import BASELINE, KEEP_DAYS, LANGUAGE, SOURCES, Wording
from .models import GIVEN, REFUSED, WITHDRAWN, Decision, Notice, Purpose, ServedNotice
from .signals import decided


def ensure_catalogue(*, tenant: Tenant, by: Actor, at: datetime) -> list[Purpose]:
    """The purposes of the baseline with version 1 of their notices, made where they are missing. Safe to run at any time, twice at once too.

    Opens the tenant's scope itself. A purpose that has any notice is left alone: its tenant's own words stand.
    """
    with scope.entered(tenant):
        purposes = []
        for order, baseline in enumerate(BASELINE, 1):
            defaults = {"title": baseline.title, "sources": list(SOURCES[baseline.key]), "order": order}
            purpose, _made = Purpose.objects.get_or_create(tenant=tenant, key=baseline.key, defaults=defaults)
            purposes.append(purpose)
        wordings = {baseline.key: {LANGUAGE: baseline.wording(tenant.name)} for baseline in BASELINE}
        bare = [purpose for purpose in map(_locked_purpose, wordings) if not queries.versions(purpose).exists()]
        made = [_new_notices(purpose, 1, wordings[purpose.key], tenant, at) for purpose in bare]
        _record_published([notice for notices in made for notice in notices], by, at)
        return purposes


@transaction.atomic
def publish_notice(*, purpose: str, wordings: Mapping[str, Wording], by: Actor, at: datetime) -> list[Notice]:
    """Publish the next version of a purpose's notice, in all its languages (code -> words) at once. Whether `by` may is asked by the view.

    From the commit on earlier answers to this purpose count no longer, in running calls either (`consent.gate`). The words
    that are in force already are not published again: they are returned as they are.

    Raises Refused: "unknown-purpose" 404; "notice-incomplete" 400 for no language or an empty text; "keeps-too-long" 400
    beyond the baseline's days, or when two languages name different days.
    """
    tenant = scope.current()
    asked = _locked_purpose(purpose)
    _check(wordings)
    in_force = list(queries.versions(asked))
    version = in_force[0].version if in_force else 0
    in_force = [notice for notice in in_force if notice.version == version]
    if {notice.language: (_words(notice), notice.controller) for notice in in_force} == {
        language: (wording, tenant.name) for language, wording in wordings.items()
    }:
        return in_force
    published = _new_notices(asked, version + 1, wordings, tenant, at)
    _record_published(published, by, at)
    return published


@transaction.atomic
def serve(*, person: Person, call_id: UUID | str, purposes: Iterable[str], at: datetime, language: str = LANGUAGE) -> list[ServedNotice]:
    """Note that the person is shown the notices in force of these purposes in this call; once per notice, the first time counts.

    In the order of the catalogue. `call_id` is a call of the current tenant that the person takes part in; the caller knows.
    Raises Refused("unknown-person", 404) for another tenant's, Refused("unknown-purpose", 404) for a key without a notice.
    """
    if person.tenant_id != scope.current().pk:
        raise Refused("unknown-person", 404)
    asked = set(purposes)
    shown = queries.notices(asked, language)
    if len(shown) < len(asked):
        raise Refused("unknown-purpose", 404)
    return [_served(notice, person, UUID(str(call_id)), at) for notice in shown]


@transaction.atomic
def decide(
    *,
    call_id: UUID | str,
    person: Person,
    purpose: str,
    granted: bool,
    by: Actor,
    at: datetime,
    method: str = Decision.Method.PAGE,
    served: ServedNotice | Notice | None = None,
) -> Decision:
    """Write down a person's yes or no to one purpose in one call: shown notice, decision and log entry together, or none of them.

    `served` is what the page showed: a ServedNotice, or a Notice that is noted as shown at `at` in the same transaction.
    Without it the newest that was served in this call stands. The same answer to the same version again is the same decision.
    A no after a yes is a withdrawal; it, and a no said again, never fail for a notice that has changed meanwhile: they
    then refer to the notice of the decision before. After the commit of a new decision `signals.decided` is sent.

    Staff (`by`), and the tenant's programs and jobs, may write down a withdrawal that came by letter; everything else is the person's own.
    While an erasure is asked for nobody says yes: what was captured under it would be erased, too.

    Raises Refused: "only-the-person-decides" 403; "being-erased" 409; "unknown-person", "unknown-purpose", "unknown-notice" 404;
    "notice-not-served" 409; "notice-changed" 409; "nothing-to-withdraw" 409 (by letter). TypeError unless `granted` is a bool.
    """
    if not isinstance(granted, bool):
        raise TypeError("an answer is True or False, nothing that merely looks like it")
    call_id, method = UUID(str(call_id)), Decision.Method(method)
    _check_actor(person, granted, by, method)
    _lock(person)
    being_erased = holds.is_to_be_erased(person.pk)  # asked whatever the answer: yes and no take the same steps
    if granted and being_erased:
        raise Refused("being-erased", 409)
    asked, now = queries.purpose_and_time(purpose)
    before = queries.newest(person, asked, call_id)
    if method == Decision.Method.LETTER:
        if before is None:
            raise Refused("nothing-to-withdraw", 409)
        shown = before.served
    else:
        shown = _shown(asked, person, call_id, granted, served, before, at)
    if before is not None and _repeats(before, granted, shown):
        return before
    decision = Decision(tenant_id=person.tenant_id, person=person, purpose=asked, notice=shown.notice, served=shown, call_id=call_id)
    decision.granted, decision.method, decision.decided_at = granted, method, now
    decision.sequence = before.sequence + 1 if before else 1
    return _append(decision, before, by)


def withdraw_all(*, person: Person, call_id: UUID | str, by: Actor, at: datetime) -> int:
    """Every yes of the person in this call becomes a no, because what was captured under it is to be erased; how many there were.

    In the caller's transaction. By the person's own hand it is a withdrawal from the personal link, by any other one by letter. Raises as `decide`.
    """
    method = Decision.Method.LINK if by == Actor.person(person) else Decision.Method.LETTER
    agreed = [key for key, answer in queries.answers(person, call_id).items() if answer.granted]
    for key in agreed:
        decide(call_id=call_id, person=person, purpose=key, granted=False, by=by, at=at, method=method)
    return len(agreed)


def _append(decision: Decision, before: Decision | None, by: Actor) -> Decision:
    """Entry, row, and the signal once both are committed. The row points at its entry, so it is the one statement after `record`."""
    kind = GIVEN if decision.granted else WITHDRAWN if before and before.granted else REFUSED
    decision.entry = log.record(kind, on=decision, by=by, at=decision.decided_at, **decision.facts())
    decision.save()
    facts = {"call_id": decision.call_id, "person_id": decision.person_id, "tenant_id": decision.tenant_id}
    transaction.on_commit(lambda: decided.send_robust(sender=Decision, **facts))
    return decision


def _lock(person: Person) -> None:
    """Let one decision of a person happen after the other, until the commit; the order constraint of Decision is behind it.

    The key is not locked, so rows that point at the person can be written meanwhile. Raises Refused("unknown-person", 404).
    """
    if not list(Person.objects.select_for_update(no_key=True).filter(pk=person.pk).values_list("pk")):
        raise Refused("unknown-person", 404)


def _check_actor(person: Person, granted: bool, by: Actor, method: str) -> None:
    """Raise Refused("only-the-person-decides", 403) unless it is the person, or a withdrawal by letter of staff, a program or a job."""
    if method == Decision.Method.LETTER:
        ours = by.tenant_id == str(person.tenant_id) and (by.kind == "api_key" or queries.is_staff(by))
        allowed = not granted and (ours or by.kind == "job")
    else:
        allowed = by == Actor.person(person)
    if not allowed:
        raise Refused("only-the-person-decides", 403)


def _shown(
    purpose: Purpose, person: Person, call_id: UUID, granted: bool, served: ServedNotice | Notice | None, before: Decision | None, at: datetime
) -> ServedNotice:
    """The notice that an answer refers to, as it was served. Raises Refused when there is none, or when it is not in force any more."""
    seen = served if served is not None else queries.shown_to(person, purpose, call_id)
    notice = seen.notice if isinstance(seen, ServedNotice) else seen
    if isinstance(seen, ServedNotice) and (seen.person_id, seen.call_id) != (person.pk, call_id):
        raise Refused("unknown-notice", 404)
    if notice is not None and notice.purpose_id != purpose.pk:
        raise Refused("unknown-notice", 404)
    version = queries.versions(purpose).values_list("version", flat=True).first()
    if notice is not None and notice.version == version:
        if isinstance(seen, ServedNotice) and served is None:  # read in this transaction
            return seen
        return _served(notice, person, call_id, at)
    if before is not None and not granted:
        return before.served
    raise Refused("notice-not-served" if notice is None else "notice-changed", 409)


def _repeats(before: Decision, granted: bool, shown: ServedNotice) -> bool:
    """True for the same answer to the same version. A yes whose entry proves nothing is no yes yet, and may be given again."""
    same = before.granted == granted and before.notice.version == shown.notice.version
    return same and (not granted or queries.proven(before))


def _served(notice: Notice, person: Person, call_id: UUID, at: datetime) -> ServedNotice:
    served, _made = ServedNotice.objects.select_related("notice").get_or_create(
        notice=notice, person=person, call_id=call_id, defaults={"tenant_id": person.tenant_id, "served_at": at}
    )
    found: ServedNotice = served
    return found


def _locked_purpose(key: str) -> Purpose:
    """The purpose, locked until the commit: versions are counted one after the other. Raises Refused("unknown-purpose", 404)."""
    purpose: Purpose | None = Purpose.objects.select_for_update(no_key=True).filter(key=key).first()
    if purpose is None:
        raise Refused("unknown-purpose", 404)
    return purpose


def _check(wordings: Mapping[str, Wording]) -> None:
    empty = sorted({name for wording in wordings.values() for name, text in asdict(wording).items() if not str(text).strip()})
    if not wordings or empty:
        raise Refused("notice-incomplete", 400, fields=empty)
    days = {wording.keep_days for wording in wordings.values()}
    if len(days) > 1 or not 1 <= min(days) <= max(days) <= KEEP_DAYS:
        raise Refused("keeps-too-long", 400, limit=KEEP_DAYS)


def _words(notice: Notice) -> Wording:
    return Wording(notice.title, notice.what, notice.why, notice.who_sees, notice.keep_text, notice.keep_days)


def _new_notices(purpose: Purpose, version: int, wordings: Mapping[str, Wording], tenant: Tenant, at: datetime) -> list[Notice]:
    """Rows of one version. `digest` is the hex SHA-256 of the RFC 8785 form of everything that a reader is told."""
    made = []
    for language, wording in sorted(wordings.items()):
        words = asdict(wording)
        told = words | {"purpose": purpose.key, "version": version, "language": language, "controller": tenant.name}
        digest = sha256(rfc8785.dumps(told)).hexdigest()
        notice = Notice(tenant=tenant, purpose=purpose, version=version, language=language, controller=tenant.name, digest=digest, **words)
        notice.published_at = at
        notice.save()
        made.append(notice)
    return made


def _record_published(published: list[Notice], by: Actor, at: datetime) -> None:
    for notice in published:
        facts = {"purpose": notice.purpose.key, "version": notice.version, "language": notice.language, "digest": notice.digest}
        log.record("notice.published", on=notice, by=by, at=at, **facts)


@transaction.atomic
def forget_answers(*, call_id: UUID) -> int:
    """Delete who was shown what in a call and answered what, once the retention of evidence is over; returns how many answers. Safe to run twice.

    In the transaction of whoever decided that, who also blanks their entries.
    """
    gone = int(Decision.objects.filter(call_id=call_id).forget())
    ServedNotice.objects.filter(call_id=call_id).delete()
    return gone
