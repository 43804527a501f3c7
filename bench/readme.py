"""Keeps what a bench found where the front page and README.md have it from: `cleac_site/pages/measured.json`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

from cleac_site.pages import measured

from .report import Report, machine
from .site import ROOT

BEGINS, ENDS = "<!-- bench figures -->", "<!-- end of bench figures -->"
ROWS = (  # bench, series, words
    ("start", "first start", "first start of `run`, environment made"),
    ("start", "second start", "second start"),
    ("join", "both see each other after admission", "both people see each other after admission"),
    ("access", "removal to closed page", "removal until the page of the removed person says so"),
    ("access", "logout to closed page", "logout until the page says so"),
    ("access", "role change to closed page", "role change until the page says so"),
    ("withdrawal", "tap to applied, as the page is told", "withdrawal, from the tap until the page is told that it was applied"),
)


def keep(report: Report) -> None:
    """Put this report in the place of the one before it, and write the table of README.md anew. Raises ValueError when that has lost its marks."""
    found = measured.read()
    figures = [asdict(figure) for figure in report.figures]
    found[report.name] = {"machine": machine(), "measured_on": datetime.now(UTC).date().isoformat(), "figures": figures}
    measured.FILE.write_text(json.dumps(found, indent=2) + "\n")
    page = ROOT / "README.md"
    page.write_text(replaced(page.read_text()))


def replaced(text: str) -> str:
    """`text` with the table between its marks."""
    before, begins, rest = text.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        raise ValueError("README.md has no place for the figures")
    return f"{before}{BEGINS}\n{table()}\n{ENDS}{after}"


def table() -> str:
    """A row for each series that was measured."""
    lines = ["| What | Median | p99 | Runs | Measured |", "| --- | --- | --- | --- | --- |"]
    found = measured.read()
    for bench, name, words in ROWS:
        one = measured.series(found, bench, name)
        if one is not None:
            where = f"{one.measured_on}, {one.cores} cores ({one.processor}, Python {one.python})"
            lines.append(f"| {words} | {measured.worded(one.median)} | {measured.worded(one.p99)} | {one.runs} | {where} |")
    return "\n".join(lines)
