"""What the log, the holds and the requests say about people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Model

from . import holds, log, queries
from .registry import Data, Erase, Export, Field, Line, Outcome, Purpose, Retention, declare, fields

CLAIMS = "gdpr-17-3-e"  # establishment, exercise or defence of legal claims

FRAME = Field(Data.NONE, Purpose.ACCOUNTABILITY, Retention.EVIDENCE)
FACT = Field(Data.ACTIVITY, Purpose.ACCOUNTABILITY, Retention.EVIDENCE, Export.INCLUDE)  # that it happened, to nobody once blanked
TRACE = Field(Data.ACTIVITY, Purpose.ACCOUNTABILITY, Retention.EVIDENCE, Export.INCLUDE, Erase.BLANK, CLAIMS)
LINK = Field(Data.PSEUDONYM, Purpose.ACCOUNTABILITY, Retention.EVIDENCE, Export.INCLUDE, Erase.BLANK, CLAIMS)
SECRET = Field(Data.PSEUDONYM, Purpose.ACCOUNTABILITY, Retention.EVIDENCE, Export.OMIT, Erase.BLANK, CLAIMS)
ASKED = Field(Data.ACTIVITY, Purpose.REQUESTS, Retention.EVIDENCE, Export.INCLUDE, Erase.DELETE, CLAIMS)
HELD = Field(Data.ACTIVITY, Purpose.ACCOUNTABILITY, Retention.EVIDENCE, Export.INCLUDE, Erase.DELETE, CLAIMS)


def entries_about(person: Model) -> Iterator[dict[str, Any]]:
    """What the log remembers of a person: their own acts and what others did to what is theirs.

    Who else acted is told by kind, not by name or id: the date and purpose of an access are owed, the colleague's
    identity is not (CJEU C-579/21).
    """
    for entry in log.about(person.pk):
        own = entry.by_kind == "person" and entry.by_id == str(person.pk)
        record = entry.record or {}
        yield {
            "index": entry.index,
            "kind": entry.kind,
            "at": entry.at,
            "by": "you" if own else entry.by_kind,
            "on": {"type": entry.on_type, "id": entry.on_id},
            "facts": record.get("facts", {}),
            "entry_hash": log.entry_hash(entry).hex(),
        }


def keep_entries(person: Model, at: datetime) -> Line:
    """The log keeps its records for claims until their retention ends; `log.blank` is what then erases them."""
    return _kept("compliance.LogEntry", log.about(person.pk).count())


def holds_on(person: Model) -> Iterator[dict[str, Any]]:
    """Every hold ever placed on what we have of a person."""
    for hold in holds.of(person.pk):
        yield {"reason": hold.reason, "placed_at": hold.placed_at, "lifted_at": hold.lifted_at}


def keep_holds(person: Model, at: datetime) -> Line:
    """That something was held, and when, is evidence for as long as the claim it was held for."""
    return _kept("compliance.Hold", holds.of(person.pk).count())


def requests_of(person: Model) -> Iterator[dict[str, Any]]:
    """What a person asked for before, until when it was due, and what became of it."""
    for request in queries.requests_of(person.pk):
        times = {"asked_at": request.asked_at, "due_at": request.due_at, "ready_at": request.ready_at, "done_at": request.done_at}
        times["waits_until"] = request.waits_until
        yield {"kind": request.kind, "state": request.state, "channel": request.channel, "lines": request.lines, **times}


def keep_requests(person: Model, at: datetime) -> Line:
    """That somebody asked, and was answered in time, has to be shown as long as it can be claimed (GDPR Art. 5(2))."""
    return _kept("compliance.Request", queries.requests_of(person.pk).count())


def _kept(model: str, rows: int) -> Line:
    return Line(model, Outcome.KEPT, rows, CLAIMS) if rows else Line(model, Outcome.DONE, 0)


declare(
    "compliance.LogEntry",
    fields("id tenant index on_type by_kind commitment", FRAME)
    | fields("kind at", FACT)
    | fields("record", TRACE)
    | fields("on_id by_id", LINK)
    | fields("salt", SECRET),
    export=entries_about,
    erase=keep_entries,
)
declare("compliance.LogHead", fields("tenant size frontier", FRAME))
declare("compliance.RetentionRule", fields("id tenant kind days in_force_from", FRAME))
declare(
    "compliance.Hold",
    fields("id tenant", FRAME) | fields("person_id reason placed_at lifted_at", HELD),
    export=holds_on,
    erase=keep_holds,
)
declare(
    "compliance.Request",
    fields("id tenant next_at", FRAME)
    | fields("person kind state channel asked_at due_at started_at ready_at done_at expires_at waits_until lines", ASKED),
    export=requests_of,
    erase=keep_requests,
)
