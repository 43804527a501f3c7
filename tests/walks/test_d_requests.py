"""Path (d): Gail takes a copy of everything away and opens it without a connection, has everything erased, and Dora answers for it."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.async_api import Browser, Page, expect

from compliance.models import Request
from recordings.models import Artefact, Recording
from tenants import scope
from tests.stack import Stack

from . import canary
from .people import NUMBERS, Attendee, Recorded, until
from .stored import held

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

FILES = {"index.html", "style.css", "data.json", "decisions.json", "looks.json", "manifest.json", "checksums.txt"}
PLAY = """async media => {
    media.muted = true;
    await media.play();
    await new Promise((resolve, reject) => {
        media.addEventListener("timeupdate", () => { if (media.currentTime > 0.5) resolve(); });
        media.addEventListener("error", () => reject(new Error("cannot be played")));
    });
    media.pause();
    return [media.currentTime > 0.5, media.videoWidth ?? 0];
}"""


async def inside(tenant: Any, look: Callable[[], Any]) -> Any:
    """What the database says, asked beside the loop."""

    def run() -> Any:
        with scope.entered(tenant):
            return look()

    return await asyncio.to_thread(run)


async def reloaded_until(page: Page, words: str) -> None:
    """As a person does: look again until the page says so."""

    async def there() -> bool:
        await page.goto(page.url)
        return await page.get_by_text(words, exact=True).first.is_visible()

    await until(f"the page says {words}", there)


async def taken(page: Page, button: str, folder: Path) -> Path:
    """The file that a button hands out."""
    async with page.expect_download() as coming:
        await page.get_by_role("button", name=button).click()
    found = await coming.value
    path = folder / found.suggested_filename
    await found.save_as(path)
    return path


def saved_by_her(place: str, folder: Path) -> bool:
    """In the folder of this test, or where her browser keeps a download until it is saved."""
    return Path(place).is_relative_to(folder) or any(part.startswith("playwright-artifacts-") for part in Path(place).parts)


async def opens_offline(browser: Browser, folder: Path) -> list[list[Any]]:
    """The package's first page from the disk, without a network: how each of its media played."""
    context = await browser.new_context(offline=True)
    try:
        page, asked = await context.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto((folder / "index.html").as_uri())
        await expect(page.get_by_role("heading", level=1)).to_have_text("What is held about you")
        played = [await one.evaluate(PLAY) for one in await page.locator("audio, video").all()]
        assert all(url.startswith(folder.as_uri()) for url in asked)
        return played
    finally:
        await context.close()


async def test_a_guest_takes_a_copy_away_has_everything_erased_and_the_officer_reports_it(
    recorded: Recorded, visitor: Callable[..., Awaitable[Any]], live_cast: Any, browser: Browser, tmp_path: Path, stack: Stack
) -> None:
    """What was in the copy lies in clear where she saved it, and nowhere else."""
    hana, gail, _ = recorded.everybody
    tenant = live_cast.acme
    with held(tenant) as journals:
        await hana.page.keyboard.press("r")
        await until("the recording is ready", lambda: inside(tenant, lambda: Recording.objects.get().state == "READY"))
        needles = canary.needles_of_each([journal.read() for journal in journals])

    # What is kept of her, from her own link.
    await gail.page.goto("/my/")
    await expect(gail.page.get_by_text("Kept of you: a part of 1 recording")).to_be_visible()
    await gail.inspect("14 my home")
    await gail.page.get_by_role("link", name="Ask for a copy or for erasure").click()
    await gail.inspect("15 my requests")

    # A copy, that opens without a connection and holds her own part alone.
    await gail.page.get_by_role("button", name="Ask for a copy").click()
    await reloaded_until(gail.page, "Ready to download")
    await gail.inspect("16 copy is ready")
    packed = await taken(gail.page, "Download my copy", tmp_path)
    folder = tmp_path / "opened"
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    media = sorted(name for name in names if name.startswith("media/"))
    assert names - set(media) == FILES
    assert [name.rsplit("-", 2)[1] for name in media] == ["cam", "mic"]
    sums = dict(reversed(line.split("  ")) for line in (folder / "checksums.txt").read_text().splitlines())
    assert sums == {name: sha256((folder / name).read_bytes()).hexdigest() for name in names - {"checksums.txt"}}
    assert {row["granted"] for row in json.loads((folder / "decisions.json").read_text())} == {True}
    assert sorted(await opens_offline(browser, folder)) == [[True, 0], [True, 640]]

    found = canary.places(needles, stack, recorded.since)
    assert [place for place in found if Path(place).is_relative_to(tmp_path)]
    assert [place for place in found if not saved_by_her(place, tmp_path)] == []

    # The officer sees it with its deadline.
    dora = Attendee("Dora", await visitor(viewport={"width": 1280, "height": 800}, reduced_motion="reduce"))
    await dora.page.goto(live_cast.links["Dora"])
    await dora.page.goto("/t/acme/requests/")
    line = dora.page.get_by_role("row").filter(has_text="Gail").first
    due = await inside(tenant, lambda: Request.objects.get().due_at)
    await expect(line).to_contain_text(f"{timezone.localtime(due):%-d %b %Y}")
    await dora.inspect("17 desk of requests")

    # Everything erased.
    await gail.page.get_by_role("link", name="Ask for erasure").click()
    await expect(gail.page.get_by_text("Your part of 1 recording:")).to_be_visible()
    await gail.inspect("18 erase everything")
    await gail.page.get_by_role("button", name="Erase everything").click()
    await reloaded_until(gail.page, "Recordings of you")
    await gail.inspect("19 erased")
    await gail.page.goto("/my/")
    await expect(gail.page.get_by_text("Nothing is kept of your voice, picture or screen")).to_be_visible()
    left = await inside(tenant, lambda: set(Artefact.objects.filter(state="READY").values_list("epochs__track__person__name", flat=True)))
    assert left == {"Hana"}

    # And the report counts both, in numbers alone.
    await dora.page.goto("/t/acme/dpo/")
    await dora.inspect("20 officer")
    told = json.loads((await taken(dora.page, "JSON", tmp_path)).read_text())
    assert (told["requests"]["opened"], told["erasures"]) == (2, 1)
    assert (await taken(dora.page, "PDF", tmp_path)).read_bytes().startswith(b"%PDF-")
    assert not [name for name in NUMBERS if name in json.dumps(told)]
