"""Hana and Gail in Chromium, brought to the door of a call that `manage.py run` carries."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from playwright.async_api import Browser, async_playwright

from tests.conftest import CHROMIUM_FLAGS, Visitor
from tests.walks import media
from tests.walks.people import NUMBERS, Attendee, created_meeting

from .site import Site


@dataclass(frozen=True)
class Pair:
    """Hana in her room, Gail in the waiting room."""

    hana: Attendee
    gail: Attendee


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    path = os.environ.get("CLEAC_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
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
