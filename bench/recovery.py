"""From the death of the media worker that carries a call until everybody in it has a moving picture again, untouched.

Two workers under `run`; Hana and Gail in Chromium, recorded. The worker is killed (SIGKILL), or hangs (SIGSTOP) until both are back. Nobody
does anything in a page. A person has media again when the own page shows a picture of the other that was captured after the fault: the
capture time is burned into each picture, and no picture from after it can have gone through the worker that fell.

*Recorded again*: every source of both has a stretch that was opened after the fault. All clocks are this machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.walks import media
from tests.walks.people import NUMBERS, Attendee, marked

from .browser import Pair, chromium, pair
from .join import PATIENCE, seen
from .report import Report
from .site import Site, running

LIMIT = 5.0  # seconds until everybody has media again
SOURCES = 4  # a voice and a camera of each of two
FAULTS = {"killed": signal.SIGKILL, "hung": signal.SIGSTOP}
LIVING = "SELECT control_address FROM calls_worker WHERE julianday('now') - julianday(seen_at) < 3.0 / 86400"
CARRIER = "SELECT control_address FROM calls_placement JOIN calls_worker ON calls_worker.id = worker_id ORDER BY placed_at DESC LIMIT 1"
OPENED = "SELECT track_id, MIN(opened_at) FROM recordings_epoch WHERE opened_at > ? GROUP BY track_id"


@dataclass(frozen=True)
class Recovery:
    """Seconds from one fault: until each person had media again, and until everything was recorded again."""

    people: list[float]
    recorded: float


class Workers:
    """The media workers of a site, as the kernel and the database know them."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def asked(self, query: str, *facts: object) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(f"file:{self.site.data / 'db.sqlite3'}?mode=ro", uri=True, timeout=PATIENCE)) as database:
            return database.execute(query, facts).fetchall()

    async def both_live(self) -> None:
        """One that was killed is started again after a while; which one is next depends on both being there."""
        await _until("two media workers live", lambda: len(self.asked(LIVING)) == 2)

    def carrier(self) -> int:
        """The pid of the worker that carries the newest call."""
        port = int(self.asked(CARRIER)[0][0].rpartition(":")[2])
        inodes = {fields[9] for fields in _table() if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and inodes & set(_sockets(folder)):
                return int(folder.name)
        raise RuntimeError("the worker of the call is not on this machine")

    def recorded_since(self, moment: float) -> list[float]:
        """When the first stretch of each track began after `moment`; both in seconds since 1970."""
        asked = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)) + f"{moment % 1:.6f}"[1:]
        return [_seconds(row[1]) for row in self.asked(OPENED, asked)]


def _table() -> list[list[str]]:
    """The kernel's table of TCP sockets, without its heading."""
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def _sockets(process: Path) -> list[str]:
    """The inodes of the sockets of a process; none of one that ends meanwhile, or of somebody else's."""
    found = []
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                found += re.findall(r"socket:\[(\d+)\]", str(link.readlink()))
    return found


def _seconds(text: str) -> float:
    """Of a time as SQLite keeps it, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


async def _until(what: str, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"did not happen: {what}")
        await asyncio.sleep(0.05)


async def _back(viewer: Attendee, name: str, moment: float) -> float:
    """Seconds from `moment` until `viewer` shows a picture of `name` that was captured after it."""
    deadline = moment + PATIENCE
    while True:
        tile = viewer.tile(name)
        place = await tile.get_attribute("data-tile") if await tile.count() == 1 else None
        stamp = await media.seen(viewer.page, place) if place else None
        now = time.time()
        if stamp is not None and stamp.who == NUMBERS[name] and stamp.captured > moment * 1000:
            return now - moment
        if now > deadline:
            raise RuntimeError(f"{viewer.name} never saw {name} again")
        await asyncio.sleep(0.02)


async def _one(people: Pair, workers: Workers, fault: signal.Signals) -> Recovery:
    await workers.both_live()
    await marked([people.hana, people.gail], Hana="captured", Gail="captured")
    pid = workers.carrier()
    moment = time.time()
    os.kill(pid, fault)
    try:
        back = await asyncio.gather(_back(people.hana, "Gail", moment), _back(people.gail, "Hana", moment))
        await _until("everything is recorded again", lambda: len(workers.recorded_since(moment)) == SOURCES)
    finally:
        with contextlib.suppress(ProcessLookupError):  # whoever watches over workers may have ended it
            os.kill(pid, signal.SIGCONT)
    return Recovery(list(back), max(workers.recorded_since(moment)) - moment)


async def _all(seconds: float) -> dict[str, list[Recovery]]:
    found: dict[str, list[Recovery]] = {what: [] for what in FAULTS}
    with tempfile.TemporaryDirectory(prefix="cleac-bench-") as folder, running(Path(folder) / "data", CLEAC_MEDIA_WORKERS="2") as site:
        workers = Workers(site)
        async with chromium() as browser, pair(browser, site) as people:
            await people.hana.page.get_by_role("button", name="Let in: Gail").click()
            await asyncio.gather(seen(people.hana, "Gail"), seen(people.gail, "Hana"))
            await people.hana.control("record").click()
            ends = time.monotonic() + seconds
            while not found["hung"] or time.monotonic() < ends:
                for what, fault in FAULTS.items():
                    found[what].append(await _one(people, workers, fault))
    return found


def measure(report: Report, seconds: float) -> None:
    """As many faults of each kind as the time holds, in one call."""
    tell(report, asyncio.run(_all(seconds)))


def tell(report: Report, found: dict[str, list[Recovery]]) -> None:
    """The figures of each kind of fault. The target is missed where somebody was without media for longer than 5 s."""
    for what, runs in found.items():
        people = [back for run in runs for back in run.people]
        report.spread(f"{what} to media again, each person", people, "s")
        report.spread(f"{what} to everything recorded again", [run.recorded for run in runs], "s")
        if (worst := max(people)) > LIMIT:
            report.missed.append(f"{what}: somebody was without media for {worst:.2f} s, and {LIMIT:g} s is the limit")
