"""What a bench found: figures with their units, the machine they were measured on, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


class WrongUse(Exception):
    """What was asked for does not exist; the words say what."""


@dataclass(frozen=True)
class Figure:
    """One measured value."""

    metric: str
    value: float
    unit: str


@dataclass
class Report:
    """All figures of one bench. `ratios`: by peer and case, ours to the peer's; `missing`: who was not measured, and why.

    `missed`: the targets that were not reached, in words; with one the command fails.
    """

    name: str
    figures: list[Figure] = field(default_factory=list)
    ratios: dict[str, dict[str, float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    def add(self, metric: str, value: float, unit: str) -> None:
        self.figures.append(Figure(metric, round(value, 3), unit))

    def spread(self, metric: str, values: list[float], unit: str) -> None:
        """Median, 90th and 99th percentile (nearest rank), largest value and count of one series."""
        ranked = sorted(values)
        self.add(f"{metric} median", statistics.median(ranked), unit)
        for percent in (90, 99):
            self.add(f"{metric} p{percent}", ranked[-(-percent * len(ranked) // 100) - 1], unit)
        self.add(f"{metric} max", ranked[-1], unit)
        self.add(f"{metric} count", len(ranked), "runs")

    def show(self) -> None:
        table = Table(title=f"bench {self.name}")
        for heading in ("metric", "value", "unit"):
            table.add_column(heading, justify="right" if heading == "value" else "left")
        for figure in self.figures:
            table.add_row(figure.metric, f"{figure.value:g}", figure.unit)
        console = Console()
        console.print(table)
        for peer, cases in self.ratios.items():
            console.print(f"to {peer}: " + ", ".join(f"{case} {ratio:g}" for case, ratio in cases.items()))
        for peer, reason in self.missing.items():
            console.print(f"missing: {peer} ({reason})")
        for words in self.missed:
            console.print(f"missed: {words}")

    def write(self, path: Path) -> None:
        found = {"name": self.name, "machine": machine(), "figures": [asdict(figure) for figure in self.figures]}
        if self.ratios or self.missing:
            found |= {"ratios": self.ratios, "missing": list(self.missing)}
        if self.missed:
            found["missed"] = self.missed
        path.write_text(json.dumps(found, indent=2) + "\n")


def machine() -> dict[str, object]:
    """What the figures were measured on, without its name."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
