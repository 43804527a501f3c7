"""The report as PDF and JSON: the same numbers, a PDF that is tagged and archivable, and nothing from anywhere else."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from pypdf import PdfReader

from compliance.reports import document, words
from compliance.reports.figures import Figures, LogStanding, Proven, Rate, Requests
from tenants.models import Tenant

ID = UUID("00000000-0000-4000-8000-00000000beef")
ROOT = "5e" * 32
AT = datetime(2026, 11, 2, 9, 5, tzinfo=UTC)
# Every number is another one, so that none can stand for another.
FIGURES = Figures(
    first=date(2026, 10, 1),
    last=date(2026, 10, 31),
    made_at=AT,
    meetings=1014,
    people_met=1033,
    people_asked=1028,
    decisions=[Rate("record-voice", "Your voice", 2012, 1308, 603, 101, 702), Rate("record-camera", "Your camera", 7, 3, 4, 0, 0)],
    recordings=1005,
    stored_seconds={"mic": 4321.5, "cam": 1200.7, "screen": 17.3, "screen-audio": 18.9},
    looks={"agreed": 301, "follow-up": 302, "dispute": 303, "own": 305},
    erasures=406,
    expired=410,
    requests=Requests(5015, 1501, 1502, 1003, 1009),
    holds=407,
    log=LogStanding(123456, ROOT, True),
    undeclared_fields=408,
    proof=Proven(datetime(2026, 11, 2, 3, 4, tzinfo=UTC), 5558.4, 12.6, 409, False),
)


@pytest.fixture(scope="module")
def pdf() -> PdfReader:
    return PdfReader(BytesIO(document.as_pdf(FIGURES, document=ID, tenant=tenant())))


def tenant() -> Tenant:
    return Tenant(slug="acme", name="Acme & Sons #1 *bold*")


def text_of(pdf: PdfReader) -> str:
    return " ".join(" ".join(page.extract_text() for page in pdf.pages).split())


def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document.as_json(FIGURES, document=ID, tenant=tenant()))
    return found


def numbers(value: Any) -> list[str]:
    """Every number of a JSON value, as it is written."""
    if isinstance(value, dict):
        return [found for member in value.values() for found in numbers(member)]
    if isinstance(value, list):
        return [found for member in value for found in numbers(member)]
    return [str(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_the_pdf_holds_every_number_of_the_json(pdf: PdfReader) -> None:
    shown = set(re.findall(r"\d+(?:\.\d+)?", text_of(pdf)))

    assert [number for number in numbers(told()) if number not in shown] == []


def test_every_number_in_a_table_of_the_pdf_is_one_of_the_json() -> None:
    known = {*numbers(told()), "2026", "11", "02", "03", "04"}  # with the time of the proof
    cells = " ".join(cell for part in words.parts(FIGURES) for row in part.rows for cell in row[1:])

    assert set(re.findall(r"\d+(?:\.\d+)?", cells)) <= known


def test_the_json_names_its_form_the_document_the_tenant_and_the_days() -> None:
    found = told()

    assert (found["schema"], found["document"], found["tenant"]) == ("cleac/report/dpo/v1", str(ID), "acme")
    assert (found["first"], found["last"], found["made_at"]) == ("2026-10-01", "2026-10-31", "2026-11-02T09:05:00+00:00")


def test_every_page_names_document_root_and_its_number(pdf: PdfReader) -> None:
    pages = [" ".join(page.extract_text().split()) for page in pdf.pages]

    for number, text in enumerate(pages, start=1):
        assert f"Document {ID}" in text
        assert f"Log root {ROOT}" in text
        assert f"Page {number} of {len(pages)}" in text


def test_it_is_tagged_has_its_language_and_says_that_it_is_archivable_and_accessible(pdf: PdfReader) -> None:
    root: Any = pdf.trailer["/Root"]
    said = root["/Metadata"].get_data().decode()

    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"]
    assert "/StructTreeRoot" in root
    assert "<pdfaid:part>2</pdfaid:part>" in said
    assert "<pdfaid:conformance>A</pdfaid:conformance>" in said
    assert "<pdfuaid:part>1</pdfuaid:part>" in said


def test_it_loads_and_runs_nothing_and_shows_a_name_as_it_is_written(pdf: PdfReader) -> None:
    raw = document.as_pdf(FIGURES, document=ID, tenant=tenant())

    assert not re.search(rb"/(JavaScript|JS|URI|Launch|EmbeddedFile)\b", raw)
    assert "Acme & Sons #1 *bold*" in text_of(pdf)


def test_the_same_figures_make_the_same_bytes() -> None:
    first, second = (document.as_pdf(FIGURES, document=ID, tenant=tenant()) for _ in range(2))

    assert first == second


def test_a_small_number_of_answers_is_pointed_out(pdf: PdfReader) -> None:
    assert "Where fewer than 10 were asked, the rate may tell what one person said" in text_of(pdf)
