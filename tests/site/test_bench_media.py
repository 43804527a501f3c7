"""`manage.py bench media`: a short load goes through our own server, every packet of it is accounted for, and who was not measured is named.

How fast it was is for the figures, not for this file.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from bench.media import readme, targets
from bench.media.build import NotInstalled, compiler
from bench.media.contenders.ours import Ours
from bench.media.loads import LOADS
from bench.media.matrix import one_run
from bench.media.targets import Target
from bench.report import Report
from cleac_site.bootstrap import ROOT

from .test_run import clean_environment

PATIENCE = 300.0  # seconds until a bench counts as hanging
SECONDS = 0.5
PEERS = ["janus-packaged", "janus-tuned", "pion"]


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "bench", "media", "--seconds", "0", "--json", str(folder / "media.json"), *options]
    environment = clean_environment(CLEAC_DATA=str(folder / "data"))
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_a_short_load_is_counted_packet_by_packet_and_who_was_not_measured_is_named(tmp_path: Path) -> None:
    done = bench(tmp_path, "--loads", "S2", "--contenders", "python")

    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "media.json").read_text())
    assert found["name"] == "media"
    assert found["machine"]["cores"] >= 1
    assert found["ratios"] == {}
    assert found["missing"] == ["native", *PEERS]
    figures = {figure["metric"]: figure["value"] for figure in found["figures"]}
    assert figures["python/S2 wanted packets"] == 5 * figures["python/S2 published packets"] > 0
    assert figures["python/S2 bad packets"] == 0
    assert figures["python/S2 checked packets"] > 0
    assert figures["python/S2 forwarded"] > 0


def test_a_peer_that_is_installed_carries_the_same_load_and_stands_beside_ours(tmp_path: Path) -> None:
    """Janus as Debian packages it; a machine without it says so, and compares with nobody."""
    done = bench(tmp_path, "--loads", "S2", "--contenders", "python,janus-packaged")

    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "media.json").read_text())
    figures = {figure["metric"]: figure["value"] for figure in found["figures"]}
    if shutil.which("janus") is None:
        assert "janus-packaged" in found["missing"]
        assert found["ratios"] == {}
        return
    assert figures["janus-packaged/S2 bad packets"] == 0
    assert figures["janus-packaged/S2 checked packets"] > 0
    assert found["ratios"]["janus-packaged"]["python/S2"] > 0


def test_a_load_or_a_server_that_nobody_knows_is_wrong_use(tmp_path: Path) -> None:
    done = bench(tmp_path, "--loads", "S2,S77", "--contenders", "nobody")

    assert done.returncode == 2
    assert "nothing is called S77, nobody" in done.stderr


def test_more_or_less_than_what_was_asked_for_is_told_by_name_and_what_was_not_measured_is_not_judged() -> None:
    report = Report("media", ratios={"janus-tuned": {"native/S1": 2.95, "native/S2": 3.0}, "janus-packaged": {"native/S1": 4.2}})
    report.add("native/S8 latency p99", 5.1, "ms")
    report.add("native/S5 core", 0.45, "cores")

    assert targets.missed(report) == [
        "native/S1 to janus-tuned: 2.95, at least 3 was asked for",
        "native/S8 latency p99: 5.1, at most 5 was asked for",
    ]


@pytest.mark.parametrize(("least", "code"), [(1.0, 0), (1e12, 1)], ids=["reached", "missed"])
def test_a_missed_target_is_printed_and_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], least: float, code: int
) -> None:
    monkeypatch.setenv("CLEAC_DATA", str(tmp_path))
    monkeypatch.setattr(targets, "TARGETS", (Target("python/S2 forwarded", least=least),))

    failed = 0
    try:
        call_command("bench", "media", loads=["S2"], contenders=["python"], repetitions=1, seconds=SECONDS)
    except CommandError as error:
        failed = error.returncode

    assert failed == code
    assert ("missed: python/S2 forwarded" in capsys.readouterr().out) == bool(code)


def test_what_gets_lost_on_both_ways_is_asked_for_and_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The load loses 2 of 100 packets each way; the server asks the publisher again, and answers the listeners."""
    monkeypatch.setenv("CLEAC_DATA", str(tmp_path))
    run = one_run(Ours("python"), LOADS["S7"], SECONDS)

    assert run.counted.bad == 0
    assert run.counted.resent > 0
    assert run.counted.repaired > 0


def test_the_table_of_the_readme_is_the_reports_own_and_nothing_else_of_the_page_changes() -> None:
    report = Report("media", ratios={"pion": {"native/S1": 4.018}}, missing={"janus-tuned": "not installed"})
    for metric, value in (("forwarded", 254336), ("core", 0.081), ("loss", 0.0), ("latency p99", 1.44)):
        report.add(f"native/S1 {metric}", value, "")

    page = readme.replaced(f"before\n{readme.BEGINS}\nold\n{readme.ENDS}\nafter", report)

    assert page.startswith(f"before\n{readme.BEGINS}\n")
    assert page.endswith(f"\n{readme.ENDS}\nafter")
    assert "| native/S1 | 254,336 | 0.08 | 0.00 % | 1.4 ms | - | - | 4.02 |" in page.splitlines()
    assert "Not measured: janus-tuned." in page
    assert "old" not in page


def test_the_readme_has_a_place_for_the_table() -> None:
    report = Report("media")

    assert readme.table(report) in readme.replaced((ROOT / "README.md").read_text(), report)


def test_without_a_compiler_nobody_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(NotInstalled, match="a C compiler"):
        compiler()
