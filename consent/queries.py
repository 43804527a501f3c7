"""Guarded reads of what was asked and answered. All run inside one tenant's scope and raise ScopeError without one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db.models import DateTimeField, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from compliance import log
from tenants import queries as house
from tenants.errors import Refused
from tenants.models import Person
from tenants.permissions import Actor

from .catalogue import LANGUAGE, SOURCES
from .models import GIVEN, Decision, Notice, Purpose, ServedNotice

AGREED, DECLINED, UNDECIDED = "agreed", "declined", "undecided"


def purpose_and_time(key: str) -> tuple[Purpose, datetime]:
    """The purpose of this key, and the database's time when this statement reached it, cut to the millisecond as in the log.

    Raises Refused("unknown-purpose", 404).
    """
    found = Purpose.objects.filter(key=key).annotate(database_time=Now(output_field=DateTimeField())).first()
    if found is None:
        raise Refused("unknown-purpose", 404)
    now: datetime = found.database_time
    return found, now.replace(microsecond=now.microsecond // 1000 * 1000)


def notices(asked: Iterable[str], language: str = LANGUAGE) -> list[Notice]:
    """The notices in force of the asked purposes, in the order of the catalogue, each in the best language there is.

    Best is `language`, then the same without its region, then English, then any. A key that names no purpose is left out.
    """
    wanted = (language, language.partition("-")[0], LANGUAGE)
    in_force = Notice.objects.select_related("purpose").filter(purpose__key__in=list(asked), version=_version_in_force("purpose"))
    best: dict[UUID, Notice] = {}
    for notice in in_force.order_by("purpose__order", "purpose__key", "language"):
        other = best.get(notice.purpose_id)
        if other is None or _rank(notice, wanted) < _rank(other, wanted):
            best[notice.purpose_id] = notice
    return list(best.values())


def versions(purpose: Purpose) -> QuerySet[Notice]:
    """Every wording of a purpose ever published, newest version first."""
    found: QuerySet[Notice] = Notice.objects.filter(purpose=purpose).order_by("-version", "language")
    return found


def standing(call_id: UUID | str, person_id: UUID | str | None = None) -> list[Decision]:
    """The decisions that count in a call: of each person and purpose the newest, if it answers the version now in force.

    A grant counts only when it is `proven`. Everybody's, or one person's; in the order of the catalogue.
    """
    newer = Decision.objects.filter(
        person=OuterRef("person"), purpose=OuterRef("purpose"), call_id=OuterRef("call_id"), sequence__gt=OuterRef("sequence")
    )
    found = _decisions().filter(~Exists(newer), call_id=call_id, notice__version=_version_in_force("purpose"))
    if person_id is not None:
        found = found.filter(person_id=UUID(str(person_id)))
    return [decision for decision in found.order_by("purpose__order", "person") if not decision.granted or proven(decision)]


def proven(decision: Decision) -> bool:
    """True when the decision's log entry opens and says, by its committed record, that this very decision was a grant."""
    entry, record = decision.entry, decision.entry.record
    return (
        log.opens(entry)
        and isinstance(record, dict)
        and record["kind"] == GIVEN
        and record["tenant"] == str(decision.tenant_id)
        and record["on"] == {"type": decision._meta.label_lower, "id": str(decision.pk)}
        and record["facts"] == decision.facts()
        and datetime.fromisoformat(record["at"]) == decision.decided_at
    )


def decision(decision_id: UUID) -> Decision | None:
    """One decision with its purpose, notice and entry, or None."""
    found: Decision | None = _decisions().filter(pk=decision_id).first()
    return found


def decisions(decision_ids: Iterable[UUID]) -> dict[UUID, Decision]:
    """These decisions by their ids; what is missing does not exist."""
    return {found.pk: found for found in _decisions().filter(pk__in=list(decision_ids))}


def every_decision(*, call: UUID | None = None, person: UUID | None = None, purpose: str | None = None) -> QuerySet[Decision]:
    """Every answer ever given, newest first; in one call, of one person, to one purpose."""
    asked = {"call_id": call, "person_id": person, "purpose__key": purpose}
    found: QuerySet[Decision] = _decisions().filter(**{name: value for name, value in asked.items() if value is not None})
    return found.order_by("-decided_at", "pk")


def last_answers(person_ids: Iterable[UUID], call_ids: Iterable[UUID] | None = None) -> dict[UUID, list[Decision]]:
    """Person -> their newest answer to each purpose, in whatever sitting or in one of these, in the order of the catalogue."""
    newest: dict[tuple[UUID, UUID], Decision] = {}
    given = _decisions().filter(person__in=list(person_ids))
    given = given if call_ids is None else given.filter(call_id__in=call_ids)
    for answer in given.order_by("decided_at", "sequence"):
        newest[answer.person_id, answer.purpose_id] = answer
    found: dict[UUID, list[Decision]] = {}
    for (person_id, _purpose), answer in newest.items():
        found.setdefault(person_id, []).append(answer)
    return {person_id: sorted(theirs, key=lambda one: (one.purpose.order, one.purpose.key)) for person_id, theirs in found.items()}


def last_marks(call_id: UUID | str) -> dict[str, dict[str, str]]:
    """As `marks`, for a call that is over: what each person last said in it, whatever wording was published since. Permits nothing."""
    found: dict[str, dict[str, str]] = {}
    for decision in _decisions().filter(call_id=call_id).order_by("sequence"):
        for source in SOURCES.get(decision.purpose.key, ()):
            found.setdefault(str(decision.person_id), {})[source] = AGREED if decision.granted else DECLINED
    return found


def newest(person: Person, purpose: Purpose, call_id: UUID) -> Decision | None:
    """The person's newest decision on a purpose in a call, whatever its notice, or None."""
    found: Decision | None = _decisions().filter(person=person, purpose=purpose, call_id=call_id).order_by("-sequence").first()
    return found


def replaced_at(decision_id: UUID) -> datetime | None:
    """When the person's next decision on the same purpose in the same call was made; None while this one is the newest."""
    later = Decision.objects.filter(
        person=OuterRef("person"), purpose=OuterRef("purpose"), call_id=OuterRef("call_id"), sequence__gt=OuterRef("sequence")
    )
    first = Subquery(later.order_by("sequence").values("decided_at")[:1])
    found: datetime | None = Decision.objects.filter(pk=decision_id).annotate(replaced=first).values_list("replaced", flat=True).first()
    return found


def answers(person: Person, call_id: UUID | str) -> dict[str, Decision]:
    """Purpose key -> the person's answer that counts in this call. What is missing was not asked, not answered, or changed its notice."""
    return {decision.purpose.key: decision for decision in standing(call_id, person.pk)}


def open_questions(person: Person, call_id: UUID | str, asked: Iterable[str], language: str = LANGUAGE) -> list[Notice]:
    """The notices that the person still has to be shown: of each asked purpose without an answer that counts."""
    answered = answers(person, call_id)
    return notices([key for key in asked if key not in answered], language)


def marks(call_id: UUID | str) -> dict[str, dict[str, str]]:
    """Person id -> source -> "agreed", "declined" or "undecided", for everybody who was shown a notice in this call.

    "agreed" is exactly what `gate.permits` holds; whoever is missing here was shown nothing and is undecided.
    """
    return standing_and_marks(call_id)[1]


def standing_and_marks(call_id: UUID | str) -> tuple[list[Decision], dict[str, dict[str, str]]]:
    """What `standing` and `marks` say of everybody, from one reading of the decisions: neither can know more than the other."""
    decisions = standing(call_id)  # first: whoever decided before this statement was shown a notice before the next one
    shown = ServedNotice.objects.filter(call_id=call_id).values_list("person_id", flat=True).distinct()
    every = [source for sources in SOURCES.values() for source in sources]
    found = {str(person_id): dict.fromkeys(every, UNDECIDED) for person_id in shown}
    for decision in decisions:
        for source in SOURCES.get(decision.purpose.key, ()):
            found[str(decision.person_id)][source] = AGREED if decision.granted else DECLINED
    return decisions, found


def shown_to(person: Person, purpose: Purpose, call_id: UUID) -> ServedNotice | None:
    """The newest notice of a purpose that the person was shown in this call, or None."""
    served = ServedNotice.objects.select_related("notice").filter(person=person, notice__purpose=purpose, call_id=call_id)
    found: ServedNotice | None = served.order_by("-notice__version", "-served_at").first()
    return found


def decisions_of(person: Person) -> QuerySet[Decision]:
    """Every decision a person ever made, in the order of their making."""
    return _decisions().filter(person=person).order_by("decided_at", "sequence")


def served_to(person: Person) -> QuerySet[ServedNotice]:
    """Every notice a person was ever shown, oldest first."""
    found: QuerySet[ServedNotice] = ServedNotice.objects.select_related("notice__purpose").filter(person=person).order_by("served_at", "pk")
    return found


def unanswered(person: Person) -> QuerySet[ServedNotice]:
    """Notices that a person was shown and that no decision refers to: evidence of nothing."""
    return served_to(person).filter(~Exists(Decision.objects.filter(served=OuterRef("pk"))))


def is_staff(actor: Actor) -> bool:
    """True when the actor is a person who works in the tenant that the actor names."""
    if actor.kind != "person" or not actor.tenant_id:
        return False
    return house.people(UUID(actor.tenant_id)).filter(pk=actor.id, membership__isnull=False).exists()


def _decisions() -> QuerySet[Decision]:
    found: QuerySet[Decision] = Decision.objects.select_related("purpose", "notice", "served", "entry")
    return found


def _version_in_force(purpose: str) -> Subquery:
    """The highest published version of the purpose that the outer query names in this column."""
    return Subquery(Notice.objects.filter(purpose=OuterRef(purpose)).order_by("-version").values("version")[:1])


def _rank(notice: Notice, wanted: tuple[str, ...]) -> int:
    return wanted.index(notice.language) if notice.language in wanted else len(wanted)
