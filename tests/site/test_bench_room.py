"""`manage.py bench room`: people are heard and seen by all others of their room, recorded, with and without losses on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import room
from bench.report import Report


def test_bench_room_counts_what_each_person_gets_of_every_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the room of eight each second brings 50 packets of sound and 75 of pictures to each of seven others; the window is half a second."""
    monkeypatch.setenv("CLEAC_DATA", str(tmp_path))
    report = Report("room")

    room.measure(report, 0)

    assert "python" not in report.missing
    figures = {figure.metric: figure.value for figure in report.figures}
    for setting in room.ROOMS:
        assert figures[f"python, {setting}: wanted"] > 0
        assert figures[f"python, {setting}: forwarded"] > 0
        assert figures[f"python, {setting}: bad"] == 0
        assert figures[f"python, {setting}: pictures not to be played"] < 100
    assert figures["python, room of 8: packets of pictures not recorded"] == 0
    assert figures["python, room of 8: sound not recorded"] == 0
    assert figures["python, 4 rooms of 4, 5 % loss: packets of pictures not recorded"] < 5, "what got lost on the way to the recorder was repaired"
    assert figures["python, 4 rooms of 4, 5 % loss: repaired"] > 0
