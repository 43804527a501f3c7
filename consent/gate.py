"""May this person's media be kept? The only questions that anybody may ask, and the only place that answers them.

What must never happen here, and what holds it:

* *Somebody is captured who did not agree.* The answer is no unless one row says yes: the person's newest decision for this
  purpose in this call (`queries.standing`). Undecided, declined and withdrawn all look alike: no permit. There is no
  default, no mandatory purpose, no policy and no setting that can turn a missing row into a permit.
* *A yes is stretched.* It counts for one person, one call and one version of the notice. When a new version is published the
  old yes ends by itself, also in a running call, and the question is open again. It counts for the sources of its own
  purpose alone: `SOURCES` is code, so no row that a tenant adds or changes can open a microphone.
* *A yes that nobody gave.* A grant counts only while its log entry opens to its commitment and its record repeats person,
  purpose, call, notice and time of the row. A row written past `consent.services`, a "no" turned into "yes" in the table, a
  blanked or altered entry: no permit. A newer row that was taken away is found by the replay of the log, not here.
* *Another tenant's answer.* Every read is inside one tenant's scope, and raises without one.
* *An error is taken for a yes.* Nothing here catches an exception: whoever cannot ask has no permit. The media worker drops
  what it knew when it has not been able to confirm it in time; it never carries a permit over.
* *Two answers drift apart.* `allows`, `require`, `permits`, `reading` and `queries.marks` all read `queries.standing`. A
  `reading` asks it once, and its permits, marks and refusals are made of that one list. The list stays inside: no question
  here takes decisions from its caller, so nobody can bring older ones, another call's, or ones that were not proven.

This module reads. It is asked again and again: a permit, and a whole `Reading`, is true at the moment it was read, and holds
nobody's word for later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from compliance import log
from tenants.errors import Refused

from . import queries
from .catalogue import SOURCES
from .models import Decision

__all__ = ["SOURCES", "Permit", "Reading", "allows", "permits", "reading", "require"]


@dataclass(frozen=True)
class Permit:
    """That a source of one person may be kept now, and by which decision. A plain value: it may cross threads and queues.

    `entry_hash` is the 32-byte leaf hash of the decision's log entry; what is captured is bound to it. Agreeing again after
    a withdrawal is a new decision with another hash. `decided_at` is database time to the millisecond.
    """

    source: str
    purpose: str
    decision_id: UUID
    entry_hash: bytes
    decided_at: datetime


@dataclass(frozen=True)
class Reading:
    """What one look at a call's decisions found. A plain value; each mapping goes from person id to source.

    `permits` is what `permits` says and `marks` what `queries.marks` says; `refused_at` is when the no that stands now was
    decided, in database time to the millisecond. A source has a permit, a refusal, or neither; never both.
    """

    permits: Mapping[str, Mapping[str, Permit]]
    marks: Mapping[str, Mapping[str, str]]
    refused_at: Mapping[str, Mapping[str, datetime]]


def reading(call_id: UUID | str) -> Reading:
    """Everything that is permitted, shown and refused in this call now, all from the same rows. Two queries."""
    decisions, marks = queries.standing_and_marks(call_id)
    return Reading(_permits(decisions), marks, _refused_at(decisions))


def permits(call_id: UUID | str) -> dict[str, dict[str, Permit]]:
    """Person id -> source -> Permit, for what is granted in this call now and for nothing else. One query."""
    return _permits(queries.standing(call_id))


def _permits(standing: Iterable[Decision]) -> dict[str, dict[str, Permit]]:
    found: dict[str, dict[str, Permit]] = {}
    for decision in standing:
        if not decision.granted:
            continue
        entry_hash = log.entry_hash(decision.entry)
        for source in SOURCES.get(decision.purpose.key, ()):
            permit = Permit(source, decision.purpose.key, decision.pk, entry_hash, decision.decided_at)
            found.setdefault(str(decision.person_id), {})[source] = permit
    return found


def _refused_at(standing: Iterable[Decision]) -> dict[str, dict[str, datetime]]:
    found: dict[str, dict[str, datetime]] = {}
    for decision in standing:
        if not decision.granted:
            sources = SOURCES.get(decision.purpose.key, ())
            found.setdefault(str(decision.person_id), {}).update(dict.fromkeys(sources, decision.decided_at))
    return found


def allows(person_id: UUID | str, purpose: str, call_id: UUID | str) -> bool:
    """True when this person's answer to the purpose with this key counts in this call and is yes."""
    return any(decision.granted and decision.purpose.key == purpose for decision in queries.standing(call_id, person_id))


def require(person_id: UUID | str, purpose: str, call_id: UUID | str) -> None:
    """Raise Refused("no-consent", 403) unless `allows`."""
    if not allows(person_id, purpose, call_id):
        raise Refused("no-consent", 403, purpose=purpose)
