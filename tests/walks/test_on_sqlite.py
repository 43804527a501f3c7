"""The same call from `manage.py run` as a newcomer starts it: SQLite, files, a private Valkey. Recorded, finished, played and erased."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.conftest import Visitor
from tests.site.test_run import PATIENCE, Running

from . import media
from .people import NUMBERS, Attendee, admitted, created_meeting, marked, until
from .test_c_playback import picture_of, play

TITLE = "Mortgage review"  # one that no meeting of the demo has
OBJECTS = """SELECT object_name FROM recordings_artefact JOIN recordings_artefact_epochs ON artefact_id = recordings_artefact.id
JOIN recordings_epoch ON recordings_epoch.id = epoch_id JOIN recordings_track ON recordings_track.id = track_id
JOIN recordings_recording ON recordings_recording.id = recording_id JOIN calls_call ON calls_call.id = call_id
JOIN calls_meeting ON calls_meeting.id = meeting_id WHERE title = ?"""

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


def object_names(data: Path) -> set[str]:
    """Everything that was ever stored of this meeting, which is of Gail alone; the demo's own recording is another one."""
    with closing(sqlite3.connect(f"file:{data / 'db.sqlite3'}?mode=ro", uri=True)) as database:
        return {row[0] for row in database.execute(OBJECTS, [TITLE])}


def stored_under(data: Path, names: set[str]) -> list[Path]:
    """What lies on the disk under one of these names, wherever."""
    return [path for path in data.rglob("*") if path.is_file() and path.name.partition(".")[0] in names]


async def test_a_call_is_held_recorded_played_and_erased_on_sqlite(newcomer: Any) -> None:
    """Hana says no and hosts; Gail says yes, plays the own part and has it erased."""
    running, people = newcomer
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, running.found(r"Hana.*?(http\S+)"), TITLE)
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(False)
    await hana.in_the_room()
    await gail.page.goto(links["Gail"])
    await gail.walk_in(True)
    await admitted(hana, gail)

    await hana.sees("Gail")
    await gail.sees("Hana")
    await gail.hears("Hana")

    await hana.control("record").click()
    await marked([hana, gail], Gail="captured", Hana="declined")
    await expect(gail.page.locator("[data-own-mark]")).to_have_text("Kept: voice, camera")
    await expect(hana.page.locator("[data-kept]")).to_have_text("Kept now: 1 of 2 people")
    await asyncio.sleep(4)  # of recording: a shorter one is over before anybody has seen that it plays
    await hana.control("record").click()
    await expect(gail.page.locator("[data-recording]")).to_have_text("Not recording")

    await hana.page.goto("/t/acme/recordings/")
    recording = hana.page.get_by_role("listitem").filter(has=hana.page.get_by_role("link", name=TITLE))

    async def ready() -> bool:
        await hana.page.goto(hana.page.url)
        return await recording.get_by_text("Ready", exact=True).is_visible()

    await until("the recording is ready", ready)
    await recording.get_by_role("link", name=TITLE).click()
    await hana.page.get_by_label("Checking what was agreed").check()
    await hana.page.get_by_role("button", name="Open the recording").click()
    await play(hana.page)
    assert (await picture_of(hana, "Gail")).who == NUMBERS["Gail"]
    await expect(hana.tile("Hana").locator("video")).to_have_count(0)

    await gail.page.goto("/my/recordings/")
    await gail.page.get_by_role("link", name=TITLE).click()
    await gail.page.get_by_role("button", name="Play my part").click()
    await play(gail.page)
    assert (await picture_of(gail, "Gail")).who == NUMBERS["Gail"]

    await gail.page.goto("/my/recordings/")
    await gail.page.get_by_role("link", name=TITLE).click()
    await gail.page.get_by_role("link", name="Erase my part").click()
    names = object_names(running.data)
    assert len(stored_under(running.data, names)) == 2  # a playback file of voice and camera; their journals are gone
    await gail.page.get_by_role("button", name="Erase my part").click()

    async def erased() -> bool:
        await gail.page.goto(gail.page.url)
        return await gail.page.get_by_role("heading", name="Erased on").is_visible()

    await until("Gail's part is erased", erased)
    assert not stored_under(running.data, names)
