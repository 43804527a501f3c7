"""The media table of README.md, written anew from a report. Everything between the two marks is this file's."""

from __future__ import annotations

from collections.abc import Mapping

from ..report import Report, machine
from ..site import ROOT
from .forms import FORMS
from .loads import LOADS

BEGINS, ENDS = "<!-- bench media -->", "<!-- end of bench media -->"
PEERS = ("janus-tuned", "janus-packaged", "pion")
HEADINGS = ("Case", "packets/CPU-s", "core", "loss", "p99", *(f"to {peer}" for peer in PEERS))


def write(report: Report) -> None:
    """Raises ValueError when README.md has lost its marks."""
    page = ROOT / "README.md"
    page.write_text(replaced(page.read_text(), report))


def replaced(text: str, report: Report) -> str:
    """`text` with the table of this report between its marks."""
    before, begins, rest = text.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        raise ValueError("README.md has no place for the table")
    return f"{before}{BEGINS}\n{table(report)}\n{ENDS}{after}"


def table(report: Report) -> str:
    """A row for each case of ours that was measured, and who was not measured."""
    values = {figure.metric: figure.value for figure in report.figures}
    about = machine()
    lines = [f"On {about['cores']} cores ({about['processor']}, Python {about['python']}), medians; a ratio is ours to the peer's:", ""]
    lines += [f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * len(HEADINGS)}"]
    for form in FORMS:
        for load in LOADS.values():
            case = f"{form}{'-features' if load.features else ''}/{load.case}"
            if f"{case} forwarded" in values:
                lines.append(_row(case, values, report))
    if report.missing:
        lines += ["", f"Not measured: {', '.join(report.missing)}."]
    return "\n".join(lines)


def _row(case: str, values: Mapping[str, float], report: Report) -> str:
    ratios = (report.ratios.get(peer, {}).get(case) for peer in PEERS)
    cells = [case, f"{values[f'{case} forwarded']:,.0f}", f"{values[f'{case} core']:.2f}", f"{values[f'{case} loss']:.2f} %"]
    cells += [f"{values[f'{case} latency p99']:.1f} ms", *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)]
    return f"| {' | '.join(cells)} |"
