"""More people than fit: the stage has pages, and the server sends only the pictures of the page that is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from .crowd import Crowd
from .people import CONNECTIONS, Attendee, Trio, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PHONE = {"width": 360, "height": 540}
CROWD = ("Aino", "Bo", "Dmitri", "Eun-ji", "Farah", "Goran")
LEAST = 140  # px, the narrowest tile

# What has arrived here so far: pictures, and packets of sound.
ARRIVED = """async () => {
  const arrived = {video: 0, audio: 0};
  for (const connection of connections) {
    for (const report of (await connection.getStats()).values()) {
      if (report.type === "inbound-rtp") arrived[report.kind] += (report.kind === "video" ? report.framesReceived : report.packetsReceived) ?? 0;
    }
  }
  return arrived;
}"""

# As the browser does when another tab is looked at; a headless one has no window that could be covered.
OUT_OF_SIGHT = """hidden => {
  Object.defineProperty(document, "hidden", {configurable: true, value: hidden});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def crowd(trio: Trio, live_cast: Any) -> AsyncIterator[Crowd]:
    """Six guests without media after the three: two pages on Hana's phone."""
    found = Crowd(live_cast)
    try:
        await found.comes(*CROWD[:3])
        await found.comes(*CROWD[3:], agreed=True)
        await trio.hana.page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # reason: a literal, by way of a constant
        await trio.hana.visitor.context.add_init_script(CONNECTIONS)
        await trio.hana.page.reload()
        await trio.hana.in_the_room()
        await expect(trio.hana.page.locator("[data-people] .person")).to_have_count(3 + len(CROWD))
        yield found
    finally:
        await found.goes()


async def names(hana: Attendee) -> list[str]:
    """Whose tiles are in sight."""
    return await hana.page.locator(".stage-tiles .tile:visible .plate-name").all_inner_texts()


async def nothing_arrives(hana: Attendee) -> None:
    """No picture comes in a second in which sound does."""

    async def quiet() -> bool:
        before = await hana.page.evaluate(ARRIVED)
        await asyncio.sleep(1)
        after = await hana.page.evaluate(ARRIVED)
        return bool(after["video"] == before["video"] and after["audio"] > before["audio"])

    await until("pictures stop and sound goes on", quiet)


async def test_pages_are_turned_by_button_and_key_and_announced_and_nobody_is_tiny_or_without_a_mark(trio: Trio, crowd: Crowd) -> None:
    hana = trio.hana
    pager = hana.page.get_by_role("group", name="Pages of people")
    await expect(pager).to_contain_text("1 of 2")
    first = await names(hana)
    assert first[0] == "Hana (you)"

    await pager.get_by_role("button", name="Next page").click()

    await expect(hana.page.locator("[data-announce]", has_text="Page 2 of 2")).to_have_count(1)
    second = await names(hana)
    assert sorted(first + second) == sorted(["Hana (you)", "Gail", "Gus", *CROWD])
    for tile in await hana.page.locator(".stage-tiles .tile:visible").all():
        box = await tile.bounding_box()
        assert box is not None
        assert box["width"] >= LEAST
        await expect(tile.locator(".mark")).to_be_visible()
    await hana.page.keyboard.press("PageUp")
    await expect(pager).to_contain_text("1 of 2")
    assert await names(hana) == first
    await hana.page.keyboard.press("p")
    for name in (*first, *second):
        marks = hana.page.locator("#people-panel .person", has=hana.page.get_by_text(name, exact=True)).locator(".mark")
        await expect(marks.first).to_be_attached()


async def test_pictures_of_another_page_or_of_a_page_out_of_sight_are_not_sent_and_sound_is(trio: Trio, crowd: Crowd) -> None:
    """What the worker was told is seen by what it sends."""
    hana = trio.hana
    for name in ("Gail", "Gus"):
        await expect(hana.tile(name)).to_be_visible()
        await hana.sees(name)

    await hana.page.keyboard.press("PageDown")
    await expect(hana.tile("Gus")).to_be_hidden()
    await nothing_arrives(hana)

    await hana.page.keyboard.press("PageUp")
    for name in ("Gail", "Gus"):
        await hana.sees(name)

    await hana.page.evaluate(OUT_OF_SIGHT, True)
    await nothing_arrives(hana)

    await hana.page.evaluate(OUT_OF_SIGHT, False)
    await hana.sees("Gail")


async def test_a_swipe_across_the_stage_turns_the_page_and_one_along_it_does_not(trio: Trio, crowd: Crowd) -> None:
    hana = trio.hana
    pager = hana.page.get_by_role("group", name="Pages of people")
    await expect(pager).to_contain_text("1 of 2")

    await swipe(hana, (300, 200), (60, 210))
    await expect(pager).to_contain_text("2 of 2")

    await swipe(hana, (200, 120), (210, 320))
    await swipe(hana, (60, 200), (300, 190))
    await expect(pager).to_contain_text("1 of 2")


async def swipe(hana: Attendee, start: tuple[int, int], end: tuple[int, int]) -> None:
    """One finger goes from here to there."""
    fingers = await hana.visitor.context.new_cdp_session(hana.page)
    for kind, (x, y) in (("touchStart", start), ("touchMove", end)):
        await fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    await fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    await fingers.detach()
