"""What benches found, for the front page and README.md: one file, `measured.json`, that `manage.py bench NAME --write` writes. No Django in here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("measured.json")
BENCHES = ("start", "join", "access", "withdrawal")


@dataclass(frozen=True)
class Series:
    """One series of a bench. Times in ms."""

    median: float
    p99: float
    runs: int
    measured_on: date
    cores: int
    processor: str
    python: str


def read() -> dict[str, dict[str, Any]]:
    """By the bench's name: `machine`, `measured_on`, `figures`."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text())
    return found


def series(found: Mapping[str, Mapping[str, Any]], bench: str, name: str) -> Series | None:
    """One series by its name in the bench's report; None when it is not in the file."""
    told = found.get(bench)
    values = {figure["metric"]: figure for figure in told["figures"]} if told else {}
    if told is None or any(f"{name} {part}" not in values for part in ("median", "p99", "count")):
        return None
    median, p99 = (values[f"{name} {part}"] for part in ("median", "p99"))
    machine = told["machine"]
    return Series(
        median=_ms(median),
        p99=_ms(p99),
        runs=int(values[f"{name} count"]["value"]),
        measured_on=date.fromisoformat(told["measured_on"]),
        cores=machine["cores"],
        processor=machine["processor"],
        python=machine["python"],
    )


def worded(ms: float) -> str:
    """A time with its unit: below a second in ms."""
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def _ms(figure: Mapping[str, Any]) -> float:
    return float(figure["value"]) * {"ms": 1, "s": 1000}[figure["unit"]]
