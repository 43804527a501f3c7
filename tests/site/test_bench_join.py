"""What `manage.py bench join` asks of the relay: joins are counted, a storm is waited for, and memory is looked at after people have left."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.media import joining
from bench.report import Report


def test_everybody_of_a_small_storm_sees_a_picture_and_memory_is_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEAC_DATA", str(tmp_path))
    report = Report("join")

    joining.measure(report, 0)

    plan = joining.SHORT
    figures = {figure.metric: figure.value for figure in report.figures}
    assert "python" not in report.missing
    assert figures["python: join of a transport"] > 0
    assert figures[f"python: storm of {plan.storm} failures"] == 0
    assert figures[f"python: storm of {plan.storm}, until the first picture count"] == plan.storm
    assert figures[f"python: memory after {plan.first_visits} visits"] > 0
    assert figures[f"python: memory after {plan.visits} visits"] > 0
