"""The monthly report as a document: PDF for people, JSON for programs, both of the same figures.

The PDF follows PDF/A-2a (ISO 19005-2) and PDF/UA-1 (ISO 14289-1), as far as its compiler holds them; nothing in it comes from anywhere else.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from uuid import UUID

import typst
from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from tenants.models import Tenant

from . import plots, words
from .figures import Figures

SCHEMA = "cleac/report/dpo/v1"
SOURCE = Path(__file__).parent / "dpo.typ"
PLOT_WIDTH = 590  # pixels: on the width of the text its words are as large as those around it
MIME = {"pdf": "application/pdf", "json": "application/json"}


def as_json(figures: Figures, *, document: UUID, tenant: Tenant) -> bytes:
    """The figures as one JSON object in UTF-8; the names are those of `figures.Figures`."""
    told = {"schema": SCHEMA, "document": str(document), "tenant": tenant.slug, "controller": tenant.name, **figures.as_json()}
    return (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()


def as_pdf(figures: Figures, *, document: UUID, tenant: Tenant) -> bytes:
    """The same figures in words, with the plot, in the language that is active."""
    told = {
        "title": _("Report of the data protection officer"),
        "controller": tenant.name,
        "document": str(document),
        "language": get_language() or "en",
        "span": _("%(first)s to %(last)s, made on %(made)s") % _dates(figures),
        "parts": [asdict(part) for part in words.parts(figures)],
        "plot": plots.consent_rate(figures.decisions, width=PLOT_WIDTH) if figures.decisions else None,
        "sentence": plots.sentence(figures.decisions),
        "footer": {
            "document": _("Document %(id)s") % {"id": document},
            "root": _("Log root %(root)s") % {"root": figures.log.root or "-"},
            "page": _("Page %(page)s of %(pages)s") % {"page": "{page}", "pages": "{pages}"},
        },
    }
    made_at = int(figures.made_at.timestamp())
    inputs = {"data": json.dumps(told)}
    return typst.compile(SOURCE, format="pdf", sys_inputs=inputs, pdf_standards=["a-2a", "ua-1"], ignore_system_fonts=True, timestamp=made_at)


MAKERS = {"pdf": as_pdf, "json": as_json}


def _dates(figures: Figures) -> dict[str, str]:
    return {"first": _day(figures.first), "last": _day(figures.last), "made": f"{_day(figures.made_at.date())}, {figures.made_at:%H:%M} UTC"}


def _day(day: date) -> str:
    return date_format(day, "D j M Y")
