"""Which stored time a proven yes covers: grants replayed from the log, entry by entry (D25)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from compliance import log
from consent import queries as consent
from consent.catalogue import SOURCES
from consent.models import GIVEN, REFUSED, WITHDRAWN, Decision
from recordings.models import Epoch

from .intervals import Interval

# A withdrawal is learnt by its note when the reading that finds it is at most a second younger (`recordings.capture.loop.AT_ONCE`);
# what arrived before the recorder was taken off is kept.
AT_ONCE = timedelta(seconds=1)
# Taking the recorder off, and a recording's time 0, which is counted back from the moment before a reading and so lies a little early.
PRECISION = timedelta(seconds=0.5)
FOR_EVER = 2**63


@dataclass(frozen=True)
class Grant:
    """A yes that the log proves, and when the next answer to the same question was given."""

    decision: Decision
    until: datetime | None
    entry_hash: bytes


def replayed() -> dict[UUID, Grant]:
    """Every grant of the current tenant by its decision's id, replayed from the log in its order.

    An entry counts only if it opens; without its decision row, or beside a row that says something else, it is no grant. A no counts
    if either its entry or its row says so.
    """
    entries = list(log.of_kinds((GIVEN, REFUSED, WITHDRAWN)))
    rows = consent.decisions([decision for entry in entries if (decision := _named(entry)) is not None])
    found: dict[UUID, Grant] = {}
    newest: dict[tuple[UUID, UUID, UUID], UUID] = {}
    for entry in entries:
        row = rows.get(_named(entry) or UUID(int=0))
        if row is None:  # no grant; and of a no whose row is gone, whose it is can only be read in its entry
            _end_by_entry(entry, found)
            continue
        question = (row.person_id, row.purpose_id, row.call_id)
        before = newest.pop(question, None)
        if before is not None:
            found[before] = replace(found[before], until=row.decided_at)
        if row.granted and row.entry_id == entry.pk and consent.proven(row):
            found[row.pk] = Grant(row, None, log.entry_hash(entry))
            newest[question] = row.pk
    return found


def _named(entry: Any) -> UUID | None:
    """The decision that an entry is about; None when it is blanked, or its column was altered."""
    try:
        return UUID(entry.on_id)
    except ValueError:
        return None


def _end_by_entry(entry: Any, found: dict[UUID, Grant]) -> None:
    """An answer without its row still ends the grants of the person, purpose and call that its entry names, if it opens."""
    if not log.opens(entry):
        return
    facts, at = entry.record.get("facts", {}), datetime.fromisoformat(entry.record["at"])
    for key, grant in list(found.items()):
        named = grant.decision.facts()
        if grant.until is None and all(facts.get(name) == named[name] for name in ("person", "purpose", "call")):
            found[key] = replace(grant, until=at)


def closings() -> dict[str, datetime]:
    """Epoch id -> when its end was written down, by entries that open."""
    return {entry.on_id: datetime.fromisoformat(entry.record["at"]) for entry in log.of_kinds(("epoch.closed",)) if log.opens(entry)}


def cover(epoch: Epoch, granted: Mapping[UUID, Grant], closed: Mapping[str, datetime]) -> list[Interval]:
    """Where in the recording's time this stretch's media may lie; empty when no grant is proven for it."""
    grant, track = granted.get(epoch.decision), epoch.track
    recording = track.recording
    if grant is None or grant.entry_hash != bytes(epoch.entry_hash):
        return []
    decision = grant.decision
    if (decision.person_id, decision.call_id) != (track.person_id, recording.call_id) or track.source not in SOURCES.get(decision.purpose.key, ()):
        return []
    ends = [closed[str(epoch.pk)] + PRECISION] if str(epoch.pk) in closed else []
    ends += [grant.until + AT_ONCE + PRECISION] if grant.until is not None else []
    start = _since(recording.requested_at, decision.decided_at)
    return [(start, min((_since(recording.requested_at, at) for at in ends), default=FOR_EVER))]


def _since(start: datetime, at: datetime) -> int:
    return (at - start) // timedelta(microseconds=1)
