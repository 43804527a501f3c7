"""From the click that admits the second of two people until each has decoded a moving picture of the other; and what joining costs the server."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from tests.walks.people import Attendee

from .browser import chromium, pair
from .media import joining
from .report import Report
from .site import running

RUNS = 10
PATIENCE = 120.0  # seconds
MOVING = """name => [...document.querySelectorAll('[data-tile$="/person"]')]
  .filter(tile => tile.querySelector('.plate-name')?.textContent.includes(name))
  .some(tile => { const video = tile.querySelector('video'); return video && video.videoWidth > 0 && video.currentTime > 0; })"""


async def seen(viewer: Attendee, name: str) -> float:
    """The moment at which `viewer` shows `name` (perf_counter, seconds)."""
    deadline = time.perf_counter() + PATIENCE
    while not await viewer.page.evaluate(MOVING, name):
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{viewer.name} never saw {name}")
        await asyncio.sleep(0.02)
    return time.perf_counter()


async def _runs() -> list[float]:
    found = []
    with tempfile.TemporaryDirectory(prefix="cleac-bench-") as folder, running(Path(folder) / "data") as site:
        async with chromium() as browser:
            for _ in range(RUNS):
                async with pair(browser, site) as people:
                    await people.hana.page.get_by_role("button", name="Let in: Gail").click()
                    began = time.perf_counter()
                    both = await asyncio.gather(seen(people.hana, "Gail"), seen(people.gail, "Hana"))
                    found.append(max(both) - began)
    return found


def measure(report: Report, seconds: float) -> None:
    """Ten meetings, one after another; then the relay alone, as `media.joining` says."""
    report.spread("both see each other after admission", asyncio.run(_runs()), "s")
    joining.measure(report, seconds)
