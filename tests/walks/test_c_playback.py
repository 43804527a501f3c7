"""Path (c), the end of it: the recording is finished, Hana plays everybody who agreed, Gail plays her own part and has it erased."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

import pytest
from playwright.async_api import Page, expect

from compliance.models import LogEntry
from recordings import storage
from recordings.models import Artefact, Recording
from tenants import scope
from tenants.keys import port
from tests.stack import Stack

from . import canary, media
from .people import NUMBERS, PATIENCE, Attendee, Recorded, until
from .stored import held

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SLOW = PATIENCE * 1000  # ms


async def finished(tenant: Any) -> None:
    """The jobs have made playback files of every journal."""

    async def ready() -> bool:
        def look() -> bool:
            with scope.entered(tenant):
                return list(Recording.objects.values_list("state", flat=True)) == ["READY"]

        return await asyncio.to_thread(look)

    await until("the recording is ready", ready)


def files_of(tenant: Any, name: str) -> list[Artefact]:
    with scope.entered(tenant):
        return list(Artefact.objects.filter(epochs__track__person__name=name).order_by("pk"))


def hashes(files: list[Artefact]) -> dict[str, str]:
    """Object name -> SHA-256 of what is stored under it."""
    found = {}
    for file in files:
        if file.state == Artefact.State.READY:
            with storage.store().open_object(file.object_name) as stored:
                found[file.object_name] = sha256(stored.read()).hexdigest()
    return found


async def picture_of(page: Attendee, name: str) -> media.Stamp:
    """What the tile of somebody shows once it shows anything that can be read."""
    tile = await page.tile(name).get_attribute("data-tile")
    assert tile is not None
    found: media.Stamp = await until(f"{page.name} sees a picture of {name}", lambda: media.seen(page.page, tile))
    return found


async def opened_by_hana(hana: Attendee) -> None:
    """The list, the recording, a purpose, the player."""
    page = hana.page
    await page.goto("/t/acme/recordings/")
    await page.get_by_role("link", name="Loan review").click()
    await page.get_by_role("button", name="Open the recording").click()
    await expect(page.locator(".field-error, .errorlist, [role=alert]").first).to_be_visible()  # no purpose, no player
    hana.visitor.errors.remove("Failed to load resource: the server responded with a status of 422 (Unknown Status)")  # the browser reports it
    await page.get_by_label("Checking what was agreed").check()
    await page.get_by_role("button", name="Open the recording").click()
    await expect(page.locator("[data-player]")).to_be_visible()


async def play(page: Page) -> None:
    await page.locator('[data-do="play"]').click()
    await expect(page.locator("[data-controls]")).to_have_attribute("data-state", "playing", timeout=SLOW)


async def test_everybody_who_agreed_plays_and_a_guest_has_the_own_part_erased(recorded: Recorded, live_cast: Any, stack: Stack) -> None:
    """At the end, pieces of what was captured, played and erased are looked for in clear: on the disk, in the databases, with the browsers too."""
    hana, gail, gus = recorded.everybody
    tenant = live_cast.acme
    with held(tenant) as journals:
        await hana.page.keyboard.press("r")
        await finished(tenant)
        needles = canary.needles_of_each([journal.read() for journal in journals])
    assert len(needles) == 4 * canary.EACH

    # The host: a purpose is stated, everybody who agreed plays, whoever declined is a neutral tile.
    await opened_by_hana(hana)
    await hana.inspect("11 player")
    await play(hana.page)
    for name in ("Hana", "Gail"):
        assert (await picture_of(hana, name)).who == NUMBERS[name]
    await expect(hana.tile("Gus").locator(".mark-words")).to_contain_text("Live only")
    await expect(hana.tile("Gus").locator("video")).to_have_count(0)
    with scope.entered(tenant):
        purposes = [entry.record["facts"]["purpose"] for entry in LogEntry.objects.filter(kind="content.opened")]
    assert purposes == ["agreed", "agreed"]

    # The guest, by the session of the personal link: the own part alone.
    await gail.page.goto("/my/recordings/")
    await gail.page.get_by_role("link", name="Loan review").click()
    await expect(gail.page.get_by_text("Checking what was agreed")).to_be_visible()
    await gail.inspect("12 my part")
    await gail.page.get_by_role("button", name="Play my part").click()
    await expect(gail.page.locator("[data-tile]")).to_have_count(1)
    await play(gail.page)
    assert (await picture_of(gail, "Gail")).who == NUMBERS["Gail"]

    # Who declined has nothing to play.
    await gus.page.goto("/my/recordings/")
    await expect(gus.page.locator("main")).to_contain_text("Nothing")

    # Erased: keys and objects go, everybody else's part stays as it is to the bit.
    others, mine = hashes(files_of(tenant, "Hana")), files_of(tenant, "Gail")
    assert len(others) == 2
    keys = [file.sealed_key for file in mine if file.sealed_key]
    await gail.page.goto("/my/recordings/")
    await gail.page.get_by_role("link", name="Loan review").click()
    await gail.page.get_by_role("link", name="Erase my part").click()
    await gail.inspect("13 erase")
    await gail.page.get_by_role("button", name="Erase my part").click()

    async def erased() -> bool:
        await gail.page.goto(gail.page.url)
        return await gail.page.get_by_role("heading", name="Erased on").is_visible()

    await until("Gail's part is erased", erased)
    assert hashes(files_of(tenant, "Hana")) == others
    assert not any(port.exists(key) for key in keys)
    assert not {file.object_name for file in mine} & set(storage.store().names())

    # And the host's recording still plays, without Gail.
    await opened_by_hana(hana)
    await play(hana.page)
    assert (await picture_of(hana, "Hana")).who == NUMBERS["Hana"]
    await expect(hana.tile("Gail").locator(".mark-words")).to_contain_text("Erased")
    await expect(hana.tile("Gail").locator("video")).to_have_count(0)
    assert canary.places(needles, stack, recorded.since) == []
