"""What a data protection officer answers for, as numbers of one tenant over a span of days. Counts only: no name, address or id of anybody.

A day begins and ends at midnight in the zone of this installation; the first and the last day are both in the span. What was asked or done is
counted in the span; what is kept, held and written in the log is counted as it is now, which no past span can tell.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db.models import QuerySet
from django.utils import timezone

from compliance import log, registry
from compliance.models import Request
from compliance.proof.intervals import Interval, length, union
from consent.models import WITHDRAWN
from recordings.forgetting import EXPIRED, REDACTED
from recordings.models import Track, Viewing
from tenants import scope

from . import queries

PROVED = "store.proved"  # kind of the entry that a proof of the store leaves
FEW = 10  # of fewer answers than these a share may tell what one person said


@dataclass(frozen=True)
class Rate:
    """One purpose: how many questions were asked, and the last answer to each. `withdrawn`: how often a yes was taken back in the span.

    A question is one purpose, one person and one call; asked = agreed + declined + undecided.
    """

    purpose_key: str
    title: str
    asked: int
    agreed: int
    declined: int = 0
    undecided: int = 0
    withdrawn: int = 0

    @property
    def percent(self) -> int | None:
        """The consent rate, agreed of asked, in whole per cent; None where nobody was asked."""
        return round(100 * self.agreed / self.asked) if self.asked else None

    @property
    def few(self) -> bool:
        """So few that the share may tell what one person said."""
        return 0 < self.asked < FEW


@dataclass(frozen=True)
class Requests:
    """Requests that were opened in the span, by how they stand now: opened = in_time + late + overdue + waiting.

    `in_time` and `late` have their answer, before the deadline or after; `overdue` and `waiting` have none. A copy is an answer once all of it
    was opened, and is none any more when sending it broke off; what was taken back is not counted.
    """

    opened: int = 0
    in_time: int = 0
    late: int = 0
    overdue: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class LogStanding:
    """Entries and root (hex) of the log. `root` is None for an altered head, `verified` where the log was not recomputed."""

    entries: int
    root: str | None
    verified: bool | None


@dataclass(frozen=True)
class Proven:
    """What the last proof of the store found for this tenant, and when. Seconds and objects without a yes that the log proves."""

    at: datetime
    stored_seconds: float
    orphan_seconds: float
    orphan_objects: int
    clean: bool


@dataclass(frozen=True)
class Figures:
    """All figures of one tenant. `stored_seconds` by source and `looks` by stated purpose name every source and purpose, zeros included."""

    first: date
    last: date
    made_at: datetime
    meetings: int
    people_met: int
    people_asked: int
    decisions: list[Rate]
    recordings: int
    stored_seconds: dict[str, float]
    looks: dict[str, int]
    erasures: int
    expired: int
    requests: Requests
    holds: int
    log: LogStanding
    undeclared_fields: int
    proof: Proven | None

    def as_json(self) -> dict[str, Any]:
        """Plain values: dates and times as ISO 8601, and the rate of each purpose in whole per cent."""
        told = asdict(self) | {"decisions": [asdict(rate) | {"percent": rate.percent} for rate in self.decisions]}
        told |= {name: told[name].isoformat() for name in ("first", "last", "made_at")}
        if self.proof is not None:
            told["proof"] = told["proof"] | {"at": self.proof.at.isoformat()}
        return told


class Span(NamedTuple):
    """Two moments; the second is outside."""

    since: datetime
    until: datetime


def span(start: date, end: date) -> Span:
    """From the first moment of `start` to the end of `end`. Raises ValueError when they are reversed."""
    if end < start:
        raise ValueError("the last day is before the first")
    zone = timezone.get_default_timezone()
    return Span(datetime.combine(start, time(), zone), datetime.combine(end + timedelta(days=1), time(), zone))


def consent_rates(start: date, end: date) -> list[Rate]:
    """The answers to what was asked for the first time in these days, for every purpose of the current tenant in the order of asking.

    An answer is the last one before the end of `end`. A yes that the log does not prove is no answer. Raises ValueError for reversed days.
    """
    return _rates(span(start, end))[0]


def monthly(start: date, end: date, *, verify: bool = True) -> Figures:
    """All figures of the current tenant for these days, both included: a month, or any other stretch.

    `verify` recomputes the whole log, which takes a while for a long one. Raises ValueError for reversed days.
    """
    days = span(start, end)
    rates, people_asked = _rates(days)
    looks = queries.views_by_purpose(*days)
    return Figures(
        first=start,
        last=end,
        made_at=timezone.now(),
        meetings=queries.calls_held(*days).count(),
        people_met=queries.people_met(*days),
        people_asked=people_asked,
        decisions=rates,
        recordings=queries.recordings_asked(*days),
        stored_seconds=_stored(),
        looks={str(purpose): looks.get(purpose, 0) for purpose in Viewing.Purpose.values},
        erasures=_parts(REDACTED, days),
        expired=_parts(EXPIRED, days),
        requests=_requests(days),
        holds=queries.holds_standing(),
        log=_log(verify),
        undeclared_fields=len(registry.undeclared()),
        proof=last_proof(),
    )


def last_proof() -> Proven | None:
    """What the last proof of the current tenant's stored objects found, by its entry; None when there is none that opens."""
    for entry in log.of_kinds([PROVED]).reverse()[:1]:
        if log.opens(entry):
            facts = entry.record["facts"]
            stored, orphaned = facts["stored_ms"], facts["orphan_ms"]
            return Proven(entry.at, _seconds(stored), _seconds(orphaned), facts["orphan_objects"], facts["clean"])
    return None


def _rates(days: Span) -> tuple[list[Rate], int]:
    """A rate for every purpose, and how many different people were asked anything."""
    asked = queries.questions(*days)
    answers = queries.last_answers(asked, days.until)
    taken_back = Counter(entry.record["facts"]["purpose"] for entry in _entries(WITHDRAWN, days) if log.opens(entry))
    counted = Counter((purpose, answers.get((person, purpose, call))) for person, purpose, call in asked)
    rates = []
    for purpose in queries.purposes():
        agreed, declined, undecided = (counted[purpose.pk, answer] for answer in (True, False, None))
        total = agreed + declined + undecided
        rates.append(Rate(purpose.key, purpose.title, total, agreed, declined, undecided, taken_back[purpose.key]))
    return rates, len({person for person, _, _ in asked})


def _entries(kind: str, days: Span) -> QuerySet[Any]:
    found: QuerySet[Any] = log.of_kinds([kind]).filter(at__gte=days.since, at__lt=days.until)
    return found


def _parts(kind: str, days: Span) -> int:
    """Of how many people's parts of recordings something went. One that went in several steps counts once; an entry that is blanked, as one."""
    found = set()
    for entry in _entries(kind, days):
        facts = entry.record["facts"] if entry.record else {}
        found.add((facts["person"], facts.get("recording", entry.on_id)) if "person" in facts else (entry.pk,))
    return len(found)


def _stored() -> dict[str, float]:
    """Seconds of finished recordings that are kept now, by source. What several files hold of one track counts once."""
    tracks: dict[Any, list[Interval]] = {}
    for track, source, spans in queries.finished_files():
        tracks.setdefault((source, track), []).extend(spans)
    total = Counter[str]()
    for (source, _), spans in tracks.items():
        total[source] += length(union(spans)) // 1000
    return {str(source): _seconds(total[source]) for source in Track.Source.values}


def _requests(days: Span) -> Requests:
    asked = queries.requests_asked(*days)
    now, answers = timezone.now(), [(_answered_at(request), request.due_at) for request in asked]
    answered = [at <= due for at, due in answers if at is not None]
    late = [due < now for at, due in answers if at is None]
    return Requests(len(asked), answered.count(True), answered.count(False), late.count(True), late.count(False))


def _answered_at(request: Request) -> datetime | None:
    """A copy is given when it can be downloaded, an erasure when it is carried out."""
    return request.ready_at if request.kind == Request.Kind.ACCESS else request.done_at


def _log(verify: bool) -> LogStanding:
    tenant = scope.current()
    standing = log.standing(tenant)
    root = standing.root.hex() if standing.root is not None else None
    return LogStanding(standing.size, root, not log.verify(tenant) if verify else None)


def _seconds(milliseconds: int) -> float:
    return round(milliseconds / 1000, 1)
