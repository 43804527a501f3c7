"""What is held about what people were asked and what they answered.

Decisions, and the notices they answer, are the controller's proof of consent (GDPR Art. 7(1)). A request for erasure leaves
them under Art. 17(3)(e), legal claims, until the retention of evidence ends; they hold ids, times and yes or no, and no
media, name or address. A notice that was shown and never answered proves nothing and goes at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Model

from compliance import log
from compliance.registry import Data, Erase, Export, Field, Line, Outcome, Purpose, Retention, declare, fields
from tenants.models import Person

from . import queries, receipts

CLAIMS = "gdpr-17-3-e"  # establishment, exercise or defence of legal claims

FRAME = Field(Data.NONE, Purpose.CONSENT, Retention.EVIDENCE)
WHOSE = Field(Data.PSEUDONYM, Purpose.CONSENT, Retention.EVIDENCE, Export.OMIT, Erase.DELETE, CLAIMS)
WHAT = Field(Data.DECISION, Purpose.CONSENT, Retention.EVIDENCE, Export.INCLUDE, Erase.DELETE, CLAIMS)
WHEN = Field(Data.ACTIVITY, Purpose.CONSENT, Retention.EVIDENCE, Export.INCLUDE, Erase.DELETE, CLAIMS)
PROOF = Field(Data.PSEUDONYM, Purpose.CONSENT, Retention.EVIDENCE, Export.INCLUDE, Erase.DELETE, CLAIMS)


def export_served(person: Model) -> Iterator[dict[str, Any]]:
    """Every notice the person was shown, in the words that were shown."""
    assert isinstance(person, Person)
    for served in queries.served_to(person):
        notice = served.notice
        yield {
            "id": str(served.pk),
            "call": str(served.call_id),
            "shown_at": served.served_at,
            "purpose": notice.purpose.key,
            "version": notice.version,
            "language": notice.language,
            "controller": notice.controller,
            "title": notice.title,
            "what": notice.what,
            "why": notice.why,
            "who_sees": notice.who_sees,
            "how_long": notice.keep_text,
            "digest": notice.digest,
        }


def export_decisions(person: Model) -> Iterator[dict[str, Any]]:
    """Every answer the person gave, the notice it answers, and the log entry that proves it."""
    assert isinstance(person, Person)
    for decision in queries.decisions_of(person):
        yield {
            "call": str(decision.call_id),
            "purpose": decision.purpose.key,
            "granted": decision.granted,
            "decided_at": decision.decided_at,
            "method": decision.method,
            "sequence": decision.sequence,
            "served": str(decision.served_id),
            "version": decision.notice.version,
            "digest": decision.notice.digest,
            "entry_index": decision.entry.index,
            "entry_hash": log.entry_hash(decision.entry).hex(),
            "receipt": receipts.code_of(decision.entry),
        }


def erase_served(person: Model, at: datetime) -> Line:
    """Delete what nobody answered; keep what a decision refers to, for as long as the decision."""
    assert isinstance(person, Person)
    deleted, _by_model = queries.unanswered(person).delete()
    kept = queries.served_to(person).count()
    return Line("consent.ServedNotice", Outcome.KEPT, kept, CLAIMS) if kept else Line("consent.ServedNotice", Outcome.DONE, deleted)


def keep_decisions(person: Model, at: datetime) -> Line:
    """Decisions are kept for claims until the retention of evidence ends."""
    assert isinstance(person, Person)
    kept = queries.decisions_of(person).count()
    return Line("consent.Decision", Outcome.KEPT, kept, CLAIMS) if kept else Line("consent.Decision", Outcome.DONE, 0)


declare("consent.Purpose", fields("id tenant key title basis sources order", FRAME))
declare(
    "consent.Notice",
    fields("id tenant purpose version language title what why who_sees keep_text keep_days controller published_at digest", FRAME),
)
declare(
    "consent.ServedNotice",
    fields("id tenant notice", FRAME) | fields("person", WHOSE) | fields("call_id", PROOF) | fields("served_at", WHEN),
    export=export_served,
    erase=erase_served,
)
declare(
    "consent.Decision",
    fields("id tenant", FRAME)
    | fields("person", WHOSE)
    | fields("purpose notice granted", WHAT)
    | fields("call_id served entry", PROOF)
    | fields("decided_at sequence method", WHEN),
    export=export_decisions,
    erase=keep_decisions,
)
