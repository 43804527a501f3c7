"""Log files of the children: one for each day, and none that holds a line older than 14 days (D24). Standard library only.

A child writes to `<name>.log` through a descriptor that it never gives up, so the file stays and its content moves: at each start and
at midnight (UTC) it goes into `<name>.<day>.log`. A line that is written in the very instant of the move may be lost; the log
of what happened to people is in the database and not here.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

KEPT = timedelta(days=14)
_OF_A_DAY = re.compile(r"\.\d{4}-\d\d-\d\d\.log$")


def today() -> date:
    return datetime.now(UTC).date()


def set_aside(logs: Path, begun: date | None = None) -> None:
    """Move what each log holds into the file of its day: the day of its last line, or `begun` where its first line is known to be older."""
    for log in logs.glob("*.log"):
        if not _OF_A_DAY.search(log.name) and log.stat().st_size:
            last = _day_of(log)
            _move(log, last if begun is None else min(begun, last))


def _day_of(path: Path) -> date:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date()


def _move(log: Path, day: date) -> None:
    aside = log.with_suffix(f".{day}.log")
    with log.open("rb") as source, aside.open("ab") as target:
        while source.tell() < log.stat().st_size:  # a child goes on writing meanwhile
            shutil.copyfileobj(source, target)
        os.truncate(log, 0)
    last = datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC).timestamp()
    os.utime(aside, (last, last))  # its age is that of its lines


def forget(logs: Path, now: date, *, written_now: Iterable[Path] = ()) -> list[Path]:
    """Delete every file of a day that lies 14 days back or more, by its time of writing; those that are open stay. Returns them."""
    spared = set(written_now)
    old = [path for path in logs.rglob("*") if path.is_file() and path not in spared and _day_of(path) <= now - KEPT]
    for path in old:
        path.unlink(missing_ok=True)
    return old
