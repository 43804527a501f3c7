"""From Gail's tap on "no" until the recorder is off her camera and her page has been told.

The way is the whole of it: the click in her page, her socket, the decision and its commit, the note, the worker's reading of the call,
the recorder off the track, and the worker's `applied` back in her page. Who withdraws is not waited for: the pause before each tap is
drawn anew, so that no tap keeps step with the worker's heartbeat of two seconds.

`decided` is the decision's own time in the database, `closed` the end of the stretch there: the worker writes it only after the
recorder is off the track, so the cut is earlier than both `closed` and the page's `applied`. All clocks are this machine's.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from playwright.async_api import Locator, expect

from tests.walks.people import Attendee

from .browser import chromium, moments, pair
from .join import PATIENCE, seen
from .report import Report
from .site import Site, running

HEARTBEAT = 2.0  # seconds; the longest pause before a tap
SEED = 25
ASKED = "record-camera"
DECIDED = """SELECT decided_at FROM consent_decision JOIN consent_purpose ON consent_purpose.id = purpose_id
WHERE consent_purpose.key = ? AND NOT granted ORDER BY decided_at"""
CLOSED = "SELECT closed_at FROM recordings_epoch WHERE cut = 'withdrawn' ORDER BY closed_at"


@dataclass(frozen=True)
class Withdrawal:
    """The moments of one withdrawal, in ms since 1970."""

    tapped: float
    decided: float
    told: float
    closed: float


def _answer(gail: Attendee, answer: str) -> Locator:
    return gail.page.locator(f'#consent-panel [data-purpose="{ASKED}"] [data-answer="{answer}"]')


async def _kept(gail: Attendee) -> None:
    """The writer has stored something of both sources of Gail under her standing yes."""
    await expect(gail.page.locator("[data-own-mark]")).to_have_text("Kept: voice, camera", timeout=PATIENCE * 1000)


async def _withdraw_and_agree(gail: Attendee, seconds: float) -> None:
    """Again and again, until the time is over; once at least."""
    drawn = random.Random(SEED)  # noqa: S311 - reason: pauses, no secret
    ends = time.monotonic() + seconds
    card = gail.page.locator(f'#consent-panel [data-purpose="{ASKED}"]')
    await gail.page.keyboard.press("k")
    await _kept(gail)
    while True:
        await asyncio.sleep(drawn.uniform(0, HEARTBEAT))
        await _answer(gail, "no").click()
        await expect(card).to_contain_text("Withdrawn.", timeout=PATIENCE * 1000)
        await _answer(gail, "yes").click()
        await _kept(gail)
        if time.monotonic() >= ends:
            return


async def _measured(gail: Attendee, site: Site) -> list[Withdrawal]:
    """Taps, decisions, words and ends of stretches, one of each to every withdrawal."""
    taps = [click["at"] for click in await moments(gail.page, "click") if click["answer"] == "no"]
    off = {"kind": "applied", "source": "cam", "mark": "declined"}
    told = [heard["at"] for heard in await moments(gail.page, "heard") if heard["message"] == off]
    with closing(sqlite3.connect(f"file:{site.data / 'db.sqlite3'}?mode=ro", uri=True)) as database:
        decided = [_ms(row[0]) for row in database.execute(DECIDED, [ASKED])]
        closed = [_ms(row[0]) for row in database.execute(CLOSED)]
    found = [Withdrawal(*each) for each in zip(taps, decided, told, closed, strict=True)]
    following = [*found[1:], None]
    if not all(one.tapped < one.told and (after is None or one.told < after.tapped) for one, after in zip(found, following, strict=True)):
        raise RuntimeError("a withdrawal was answered by another one's word")
    return found


def _ms(text: str) -> float:
    """Of a time as SQLite keeps it, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000


async def _withdrawals(seconds: float) -> list[Withdrawal]:
    with tempfile.TemporaryDirectory(prefix="cleac-bench-") as folder, running(Path(folder) / "data") as site:
        async with chromium() as browser, pair(browser, site) as people:
            await people.hana.page.get_by_role("button", name="Let in: Gail").click()
            await asyncio.gather(seen(people.hana, "Gail"), seen(people.gail, "Hana"))
            await people.hana.control("record").click()
            await _withdraw_and_agree(people.gail, seconds)
            return await _measured(people.gail, site)


def measure(report: Report, seconds: float) -> None:
    """As many as the time holds, in one call that is being recorded; the first, with nothing warm, counts like all others."""
    found = asyncio.run(_withdrawals(seconds))
    report.spread("tap to applied, as the page is told", [one.told - one.tapped for one in found], "ms")
    report.spread("tap to decided", [one.decided - one.tapped for one in found], "ms")
    report.spread("decided to applied, as the page is told", [one.told - one.decided for one in found], "ms")
    report.spread("decided to stretch closed in the database", [one.closed - one.decided for one in found], "ms")
