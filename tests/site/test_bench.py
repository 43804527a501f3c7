"""`manage.py bench`: what is measured is really done, by real people's browsers; how long it took is for the figures, not for this file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.report import Report
from cleac_site.bootstrap import ROOT

from .test_run import clean_environment

PATIENCE = 600.0  # seconds until a bench counts as hanging
SPREAD = ("median", "p90", "p99", "max")


def figures(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Metric -> figure of a shortest run, as its JSON has it."""
    out = folder / f"{name}.json"
    command = [sys.executable, "manage.py", "bench", name, "--seconds", "0", "--json", str(out)]
    environment = clean_environment(CLEAC_DATA=str(folder / "data"))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["name"] == name
    assert found["machine"]["cores"] >= 1
    return {figure["metric"]: figure for figure in found["figures"]}


def series(found: dict[str, dict[str, Any]]) -> set[str]:
    """The names of the series; each has its whole spread, in order, over one run at least."""
    names = {metric.removesuffix(" count") for metric in found if metric.endswith(" count")}
    assert len(found) == len(names) * (len(SPREAD) + 1)
    for name in names:
        values = [found[f"{name} {which}"]["value"] for which in SPREAD]
        assert values == sorted(values)
        assert found[f"{name} count"]["value"] >= 1
    return names


def test_a_spread_names_what_the_slowest_saw() -> None:
    """Percentiles are nearest rank: a value that was measured, never one between two."""
    report = Report("example")

    report.spread("way", [float(value) for value in range(200, 0, -1)], "ms")

    assert {figure.metric.removeprefix("way "): figure.value for figure in report.figures} == {
        "median": 100.5, "p90": 180, "p99": 198, "max": 200, "count": 200,
    }  # fmt: skip


def test_a_spread_of_one_run_is_that_run() -> None:
    report = Report("example")

    report.spread("way", [7.0], "ms")

    assert [figure.value for figure in report.figures] == [7.0, 7.0, 7.0, 7.0, 1]


@pytest.mark.browser
def test_bench_withdrawal_times_every_part_of_the_way_of_a_tap(tmp_path: Path) -> None:
    """The parts are told apart by moments of their own: a decision comes after its tap, the page's word after the decision."""
    found = figures(tmp_path, "withdrawal")

    assert series(found) == {
        "tap to applied, as the page is told",
        "tap to decided",
        "decided to applied, as the page is told",
        "decided to stretch closed in the database",
    }
    assert {figure["unit"] for figure in found.values()} == {"ms", "runs"}
    assert all(found[f"{name} median"]["value"] > 0 for name in series(found))
    assert found["tap to applied, as the page is told max"]["value"] >= found["tap to decided max"]["value"]


@pytest.mark.browser
def test_bench_access_closes_socket_media_and_page_of_whoever_is_removed_signed_out_or_demoted(tmp_path: Path) -> None:
    """The bench itself waits for each part to close, and fails when one stays open."""
    found = figures(tmp_path, "access")

    assert series(found) == {f"{act} to closed {what}" for act in ("removal", "logout", "role change") for what in ("socket", "media", "page")}
    assert {figure["unit"] for figure in found.values()} == {"s", "runs"}
