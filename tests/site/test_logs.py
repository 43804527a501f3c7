"""Log files of the data folder: one for each day, nothing older than 14 days, and nothing lost that a child goes on writing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from cleac_site import logs, supervisor
from tests.site.test_run import Running, start, until

__all__ = ["start"]  # a fixture

TODAY = date(2026, 11, 23)
WRITER = "import sys\nfor line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()"


def aged(path: Path, days: float, text: str = "a line\n", now: datetime | None = None) -> Path:
    """A file whose last line was written so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    moment = ((now or datetime.now(UTC)) - timedelta(days=days)).timestamp()
    os.utime(path, (moment, moment))
    return path


def noon(days_ago: int) -> datetime:
    return datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC) - timedelta(days=days_ago)


class Writer:
    """A child that writes each line that it is told, into a log that it opened once."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with log.open("ab") as target:
            self.process = subprocess.Popen([sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=target)

    def says(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()
        until(lambda: word in self.log.read_text(), word)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    found = Writer(tmp_path / "web.log")
    yield found
    assert found.process.stdin
    found.process.stdin.close()
    found.process.wait(60)


def test_a_start_forgets_what_is_14_days_old_and_keeps_the_rest(tmp_path: Path, start: Callable[..., Running]) -> None:
    """Through the front door: `manage.py run` on a folder with logs of many ages."""
    folder = tmp_path / "data" / "logs"
    old = [aged(folder / name, 14) for name in ("web.log.3", "web.2020-01-01.log", "deep/er.log", "media.log")]
    kept = [aged(folder / name, 13) for name in ("worker.2026-01-01.log", "notes.txt")]
    aged(folder / "web.log", 1, "yesterday's words\n")

    start("--no-demo")

    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert [path for path in old[:3] if path.exists()] == []
    assert list(folder.glob("media.2*.log")) == []
    assert [path for path in kept if not path.exists()] == []
    assert "yesterday's words" in (folder / f"web.{yesterday}.log").read_text()
    assert "yesterday's words" not in (folder / "web.log").read_text()


def test_no_file_outlives_its_oldest_line_by_its_newest(tmp_path: Path) -> None:
    """A file of one day goes when its first minute is 14 days old, not its last."""
    for hour in (0, 23):
        moment = datetime(2026, 11, 9, hour, 30, tzinfo=UTC).timestamp()
        path = aged(tmp_path / f"{hour}.log", 0)
        os.utime(path, (moment, moment))

    assert logs.forget(tmp_path, date(2026, 11, 22)) == []
    assert {path.name for path in logs.forget(tmp_path, TODAY)} == {"0.log", "23.log"}


def test_a_log_that_is_written_now_is_not_taken_from_its_writer(tmp_path: Path) -> None:
    quiet = aged(tmp_path / "media.log", 100, "")

    assert logs.forget(tmp_path, TODAY, written_now=[quiet]) == []
    assert quiet.exists()


def test_at_midnight_a_child_goes_on_in_an_empty_log_without_noticing(tmp_path: Path, writer: Writer) -> None:
    writer.says("before")

    logs.set_aside(tmp_path, date(2026, 11, 22))
    writer.says("after")

    assert (tmp_path / "web.2026-11-22.log").read_text() == "before\n"
    assert writer.log.read_bytes() == b"after\n"


def test_several_starts_of_one_day_share_its_file_in_their_order(tmp_path: Path) -> None:
    for text in ("first\n", "second\n"):
        aged(tmp_path / "web.log", 0, text, noon(1))
        logs.set_aside(tmp_path)

    assert (tmp_path / "web.2026-11-22.log").read_text() == "first\nsecond\n"
    assert (tmp_path / "web.log").read_text() == ""


def test_what_was_set_aside_has_the_age_of_its_lines(tmp_path: Path) -> None:
    """Moving a line must not make it younger: else a folder that is started once a fortnight forgets nothing."""
    aged(tmp_path / "web.log", 0, now=noon(14))

    logs.set_aside(tmp_path)

    assert [path.name for path in logs.forget(tmp_path, TODAY, written_now=[tmp_path / "web.log"])] == ["web.2026-11-09.log"]


def test_the_supervisor_turns_the_day_once_and_only_when_it_has_changed(tmp_path: Path) -> None:
    """The loop's own step: nothing on the same day, everything on the next."""
    folder = tmp_path / "logs"
    folder.mkdir()
    minder = supervisor.Supervisor.__new__(supervisor.Supervisor)
    minder.data, minder.living, minder.due, minder.logs_since = tmp_path, {}, [], logs.today()
    aged(folder / "web.log", 0, "of this day\n")
    old = aged(folder / "web.2020-01-01.log", 20)

    minder.tend_logs()
    assert old.exists()
    minder.logs_since = logs.today() - timedelta(days=1)
    minder.tend_logs()

    assert not old.exists()
    assert (folder / f"web.{minder.logs_since - timedelta(days=1)}.log").read_text() == "of this day\n"
