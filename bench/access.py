"""From the click that removes a guest until the guest's page says so; its media ends with its socket."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from .browser import chromium, pair
from .join import PATIENCE, seen
from .report import Report
from .site import running

RUNS = 5


async def _removals() -> list[float]:
    found = []
    with tempfile.TemporaryDirectory(prefix="cleac-bench-") as folder, running(Path(folder) / "data") as site:
        async with chromium() as browser:
            for _ in range(RUNS):
                async with pair(browser, site) as people:
                    await people.hana.page.get_by_role("button", name="Let in: Gail").click()
                    await seen(people.hana, "Gail")
                    await people.hana.page.get_by_role("button", name="Remove: Gail").click()
                    await people.hana.page.get_by_role("button", name="Remove", exact=True).click()
                    began = time.perf_counter()
                    told = people.gail.page.get_by_role("heading", name="You were removed from the call")
                    await told.wait_for(timeout=PATIENCE * 1000)
                    found.append(time.perf_counter() - began)
    return found


def measure(report: Report, seconds: float) -> None:
    """Five removals."""
    report.spread("removal to closed page", asyncio.run(_removals()), "s")
