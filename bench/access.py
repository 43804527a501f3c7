"""From the answer to the act that ends somebody's access until their socket, their media and their page are closed.

Three acts, each in a call of two that see each other: Hana removes Gail; Hana's browser is signed out by another tab of it; Ada takes
Hana's role as host away. Nobody's own page is asked to go: socket and media are closed by the service.

Each figure counts from the moment at which the one who acts has been answered: the other tab has the response, the change of the role
has returned. A removal goes over the host's socket and is not answered, so it counts from the click. What was closed before the
answer came has a negative time. *Socket*: the `close` event of the call's socket. *Media*: the other person's page is told `left`, which the worker
says in the turn in which it takes somebody off every track. *Page*: it shows that the call is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, expect

from tests.walks.people import Attendee

from .browser import Pair, chromium, moments, pair
from .join import PATIENCE, seen
from .report import Report
from .site import OUTSIDE, ROOT, Site, running

SIGN_OUT = """async () => {
  const form = document.querySelector('form[action="/account/logout/"]');
  const sent = { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual" };
  const response = await fetch(form.action, sent);
  return { answered: Date.now(), redirected: response.type === "opaqueredirect" };
}"""

Act = Callable[[Pair, Site], Awaitable[float]]
Closed = dict[str, float]


async def _remove(people: Pair, site: Site) -> float:
    hana = people.hana.page
    await hana.get_by_role("button", name="Remove: Gail").click()
    await hana.get_by_role("button", name="Remove", exact=True).click()
    return float((await moments(hana, "click"))[-1]["at"])


async def _sign_out(people: Pair, site: Site) -> float:
    other: Page = await people.hana.page.context.new_page()
    await other.goto("/account/logout/")
    found = await other.evaluate(SIGN_OUT)
    if not found["redirected"]:
        raise RuntimeError("Hana was not signed out")
    return float(found["answered"])


async def _role(site: Site, role: str) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)} | {"CLEAC_DATA": str(site.data)}
    command = (sys.executable, "-m", "bench.role", role)
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
    said, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"Hana's role was not changed (exit {child.returncode})")
    answered: float = json.loads(said)["answered"]
    return answered


async def _demote(people: Pair, site: Site) -> float:
    return await _role(site, "member")


async def _closed(gone: Attendee, other: Attendee, answered: float) -> Closed:
    """How long after the answer each part was closed, in seconds."""
    await expect(gone.page.locator('[data-step="over"]')).to_be_visible(timeout=PATIENCE * 1000)
    await expect(other.tile(gone.name)).to_have_count(0, timeout=PATIENCE * 1000)
    me = [heard["message"]["me"] for heard in await moments(gone.page, "heard") if heard["message"]["kind"] == "welcome"][-1]
    left = [heard for heard in await moments(other.page, "heard") if _is_left(heard["message"], me)]
    ends = {"socket": await _last(gone.page, "call closed"), "media": left[-1], "page": await _last(gone.page, "over")}
    return {what: (end["at"] - answered) / 1000 for what, end in ends.items()}


def _is_left(message: dict[str, Any], participant: str) -> bool:
    return bool(message["kind"] == "left" and message["participant"] == participant)


async def _last(page: Page, what: str) -> dict[str, Any]:
    """The newest of its kind; the event of a socket may come after what the page shows."""
    await page.wait_for_function("what => moments.some(moment => moment.what === what)", arg=what, timeout=PATIENCE * 1000)
    return (await moments(page, what))[-1]


async def _run(browser: Browser, site: Site, act: Act, gone: str) -> Closed:
    async with pair(browser, site) as people:
        await people.hana.page.get_by_role("button", name="Let in: Gail").click()
        await asyncio.gather(seen(people.hana, "Gail"), seen(people.gail, "Hana"))
        answered = await act(people, site)
        whose, other = (people.gail, people.hana) if gone == "Gail" else (people.hana, people.gail)
        return await _closed(whose, other, answered)


async def _all(seconds: float) -> dict[str, list[Closed]]:
    found: dict[str, list[Closed]] = {"removal": [], "logout": [], "role change": []}
    with tempfile.TemporaryDirectory(prefix="cleac-bench-") as folder, running(Path(folder) / "data") as site:
        async with chromium() as browser:
            ends = time.monotonic() + seconds
            while not found["removal"] or time.monotonic() < ends:
                found["removal"].append(await _run(browser, site, _remove, "Gail"))
                found["logout"].append(await _run(browser, site, _sign_out, "Hana"))
                found["role change"].append(await _run(browser, site, _demote, "Hana"))
                await _role(site, "host")
    return found


def measure(report: Report, seconds: float) -> None:
    """As many of each act as the time holds, one at least; every one in a meeting of its own."""
    for act, runs in asyncio.run(_all(seconds)).items():
        for what in ("socket", "media", "page"):
            report.spread(f"{act} to closed {what}", [run[what] for run in runs], "s")
