"""Hana and Gail in Chromium, brought to the door of a call that `manage.py run` carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from cleac_site import backends
from tests.conftest import CHROMIUM_FLAGS, Visitor
from tests.walks import media
from tests.walks.people import NUMBERS, Attendee, created_meeting

from .site import Site

# What a page did and heard, in the order of it. `at` is the event's own moment on the clock that every process of this machine shares,
# in ms since 1970: a click counts from the input, not from the turn in which the page got round to it.
MOMENTS = """globalThis.moments = [];
{
  const note = (what, facts, stamp = performance.now()) => moments.push({ what, at: Date.now() - (performance.now() - stamp), ...facts });
  addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    if (button) note("click", { words: button.textContent.trim(), answer: button.dataset.answer ?? "" }, event.timeStamp);
  }, true);
  globalThis.WebSocket = class extends WebSocket {
    constructor(...facts) {
      super(...facts);
      let place = "lobby";
      this.addEventListener("message", (event) => {
        const message = JSON.parse(event.data);
        if (message.kind === "welcome") place = "call";
        note("heard", { message });
      });
      this.addEventListener("close", () => note(`${place} closed`, {}));
    }
  };
  addEventListener("DOMContentLoaded", () => {
    const over = document.querySelector('[data-step="over"]');
    if (over) new MutationObserver(() => { if (!over.hidden) note("over", {}); }).observe(over, { attributeFilter: ["hidden"] });
  });
}"""


async def moments(page: Page, what: str) -> list[dict[str, Any]]:
    """Everything of this kind that the page noted so far; `at` in ms since 1970."""
    found: list[dict[str, Any]] = await page.evaluate("what => moments.filter(moment => moment.what === what)", what)
    return found


@dataclass(frozen=True)
class Pair:
    """Hana in her room, Gail in the waiting room."""

    hana: Attendee
    gail: Attendee


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    path = backends.chromium().address
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield started
        await started.close()


@asynccontextmanager
async def pair(browser: Browser, site: Site) -> AsyncIterator[Pair]:
    """A new meeting of Hana's with both people one click from seeing each other; both agreed to everything."""
    people = {}
    for name in ("Hana", "Gail"):
        context = await browser.new_context(base_url=site.url, permissions=["camera", "microphone"], viewport={"width": 1280, "height": 800})
        await media.burn_in(context, NUMBERS[name])
        await context.add_init_script(MOMENTS)
        people[name] = Attendee(name, Visitor(context, await context.new_page()))
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, site.sign_in("Hana"))
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(True)
    await hana.in_the_room()
    await gail.page.goto(links["Gail"])
    await gail.walk_in(True)
    await hana.control("people").click()
    await hana.page.get_by_role("button", name="Let in: Gail").wait_for()
    yield Pair(hana, gail)
    for one in people.values():
        await one.visitor.context.close()
