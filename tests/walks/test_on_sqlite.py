"""The same call from `manage.py run` as a newcomer starts it: SQLite, files, a private Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.conftest import Visitor
from tests.site.test_run import PATIENCE, Running

from . import media
from .people import NUMBERS, Attendee, admitted, created_meeting

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def newcomer(browser: Browser, tmp_path: Path) -> AsyncIterator[tuple[Running, dict[str, Attendee]]]:
    """A site just started in an empty folder, and a browser for Hana and for Gail."""
    running = Running(tmp_path / "data")
    people = {}
    for name in ("Hana", "Gail"):
        context = await browser.new_context(base_url=running.url, permissions=["camera", "microphone"], viewport={"width": 1280, "height": 800})
        await media.burn_in(context, NUMBERS[name])
        people[name] = Attendee(name, Visitor(context, await context.new_page()))
    yield running, people
    for one in people.values():
        await one.visitor.context.close()
    running.process.terminate()
    running.process.communicate(timeout=PATIENCE)


async def test_two_people_see_and_hear_each_other_on_sqlite(newcomer: Any) -> None:
    running, people = newcomer
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, running.found(r"Hana.*?(http\S+)"))
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(True)
    await hana.in_the_room()
    await gail.page.goto(links["Gail"])
    await gail.walk_in(False)
    await admitted(hana, gail)

    await hana.sees("Gail")
    await gail.sees("Hana")
    await gail.hears("Hana")
