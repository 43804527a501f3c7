"""Making a report, and proving what is stored for it. Each leaves an entry, so that it can be told later which document was made of what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from uuid import UUID, uuid4

from django.db import transaction

from compliance import log, proof
from tenants import scope
from tenants.errors import Refused
from tenants.models import Tenant
from tenants.permissions import Actor

from . import document, figures
from .figures import PROVED

MADE = "report.made"  # kind of entry


@dataclass(frozen=True)
class Made:
    """One document: its bytes, and the name and type under which it is handed out."""

    id: UUID
    name: str
    mime: str
    content: bytes


@transaction.atomic
def make(*, start: date, end: date, form: str, by: Actor, at: datetime) -> Made:
    """The report of the current tenant for these days, both included; `form` is one of `document.MAKERS`.

    Entry: `report.made`, with the digest of the document. The root that the document names is that of the log before it.
    Raises Refused: "report-form" 422, "report-days" 422 for reversed days.
    """
    if form not in document.MAKERS:
        raise Refused("report-form", 422)
    if end < start:
        raise Refused("report-days", 422)
    tenant, made_id = scope.current(), uuid4()
    content = document.MAKERS[form](figures.monthly(start, end), document=made_id, tenant=tenant)
    named = {"document": made_id, "first": start.isoformat(), "last": end.isoformat(), "form": form}
    log.record(MADE, on=tenant, by=by, at=at, **named, sha256=sha256(content).hexdigest())
    name = f"cleac-{tenant.slug}-{start.isoformat()}-{end.isoformat()}.{form}"
    return Made(made_id, name, document.MIME[form], content)


def prove(*, tenant: Tenant, everybody: Sequence[Tenant], by: Actor, at: datetime) -> figures.Proven:
    """Prove what is stored of this tenant, and remember what was found. Opens the scopes itself; `everybody` as for `proof.prove`.

    What belongs to other tenants or to nobody is left out: it is the operator's concern, and would tell one tenant of another.
    Entry: `store.proved`.
    """
    found = proof.prove([tenant], everybody=everybody)
    strangers = [finding for finding in found.findings if finding.tenant != tenant.slug]
    ours = [finding for finding in found.findings if finding.tenant == tenant.slug]
    foreign_us = sum(round(finding.seconds * 1e6) for finding in strangers)
    facts = {
        "stored_ms": (found.stored_us - foreign_us) // 1000,
        "orphan_ms": (found.orphan_us - foreign_us) // 1000,
        "orphan_objects": found.orphan_objects - len(strangers),
        "clean": not ours and not found.undeclared_fields and found.log_ok,
    }
    with scope.entered(tenant):
        log.record(PROVED, on=tenant, by=by, at=at, **facts)
        remembered = figures.last_proof()
    if remembered is None:
        raise RuntimeError("what was just written down is not there")
    return remembered
