"""`manage.py bench recovery`: the worker of a recorded call is really killed and really hangs, and both people really see each other again.

How long it took is for the figures, not for this file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.recovery import Recovery, tell
from bench.report import Report
from cleac_site.bootstrap import ROOT

from .test_bench import PATIENCE, series
from .test_run import clean_environment


@pytest.mark.browser
def test_bench_recovery_kills_and_stops_the_worker_of_a_call_and_waits_for_everybody(tmp_path: Path) -> None:
    """It ends with exit code 1 where it says that its limit did not hold, and with 0 otherwise."""
    out = tmp_path / "recovery.json"
    command = [sys.executable, "manage.py", "bench", "recovery", "--seconds", "0", "--json", str(out)]
    environment = clean_environment(CLEAC_DATA=str(tmp_path / "data"))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert done.returncode == int("missed: " in done.stdout), done.stdout + done.stderr
    found = {figure["metric"]: figure for figure in json.loads(out.read_text())["figures"]}
    ends = ("media again, each person", "everything recorded again")
    assert series(found) == {f"{fault} to {end}" for fault in ("killed", "hung") for end in ends}
    assert {figure["unit"] for figure in found.values()} == {"s", "runs"}
    assert [found[f"{fault} to media again, each person count"]["value"] for fault in ("killed", "hung")] == [2, 2]


def test_one_person_who_was_without_media_for_longer_than_five_seconds_is_over_the_limit() -> None:
    report = Report("recovery")

    tell(report, {"killed": [Recovery([4.9, 5.0], 9.0)], "hung": [Recovery([3.0, 3.1], 3.0), Recovery([3.0, 5.04], 3.0)]})

    assert report.missed == ["hung: somebody was without media for 5.04 s, and 5 s is the limit"]
