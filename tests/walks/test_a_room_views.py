"""Speaker view, pin and a floating picture, by key as by tap, with a shared screen and without: one stands large, the marks stay."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from .people import Attendee, Trio, created_meeting

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


LISTEN = """() => {
    const send = WebSocket.prototype.send;
    window.shows = [];
    WebSocket.prototype.send = function (text) {
        const message = JSON.parse(text);
        if (message.kind === "show") window.shows.push(message);
        return send.call(this, text);
    };
}"""
REFUSE_TO_FLOAT = """() => {
    HTMLVideoElement.prototype.requestPictureInPicture = async () => { throw new DOMException("not here", "NotAllowedError"); };
}"""
FLOATING = """document.pictureInPictureElement?.closest("[data-tile]").dataset.tile"""


async def test_a_pinned_person_has_the_stage_until_let_go_and_speaker_view_shows_another(trio: Trio) -> None:
    hana = trio.hana
    large = hana.page.locator(".tile[data-main]")
    await expect(large).to_have_count(0)
    await hana.page.evaluate(LISTEN)

    pin = hana.tile("Gus").get_by_role("button", name="Pin Gus")
    await pin.focus()
    await hana.page.keyboard.press("Enter")
    await expect(large.locator(".plate-name")).to_have_text("Gus")
    await expect(pin).to_have_attribute("aria-pressed", "true")
    gus = (await hana.tile("Gus").get_attribute("data-tile") or "").partition("/")[0]
    await hana.page.wait_for_function("gus => shows.at(-1)?.pinned === gus && shows.at(-1).tiles[0].participant === gus", arg=gus)
    await expect(hana.page.locator("[data-announce]", has_text="Gus is pinned.")).to_have_count(1)
    for name in ("Gail", "Gus"):
        await expect(hana.tile(name).locator(".mark")).to_be_visible()
    await trio.all_see_each_other()
    await hana.inspect("6 pinned")

    await hana.page.keyboard.press("Enter")
    await expect(large).to_have_count(0)
    await hana.page.wait_for_function("() => shows.at(-1)?.pinned === null")

    view = hana.page.get_by_role("button", name="Speaker view")
    await hana.page.keyboard.press("g")
    await expect(view).to_have_attribute("aria-pressed", "true")
    await expect(large.locator(".plate-name")).to_have_text(re.compile("Gail|Gus"))
    await hana.page.keyboard.press("g")
    await expect(large).to_have_count(0)


async def test_on_a_phone_speaker_view_is_one_tap_upright_and_on_its_side(trio: Trio) -> None:
    hana = trio.hana
    large = hana.page.locator(".tile[data-main]")
    for width, height in ((390, 844), (844, 390)):
        await hana.page.set_viewport_size({"width": width, "height": height})
        view = hana.page.get_by_role("button", name="Speaker view")

        await view.click()

        await expect(large.locator(".plate-name")).to_have_text(re.compile("Gail|Gus"))
        await is_largest(hana, large)
        for name in ("Hana", "Gail", "Gus"):
            await expect(hana.tile(name).locator(".mark")).to_be_visible()
        await hana.inspect(f"6 speaker {width}")
        await hana.page.set_viewport_size({"width": width, "height": height})
        await view.click()
        await expect(large).to_have_count(0)


async def test_beside_a_shared_screen_a_pinned_person_stands_large_and_a_pinned_screen_stands_alone(trio: Trio) -> None:
    hana, gail, gus = trio.everybody
    large = hana.page.locator(".tile[data-main]")
    await gus.control("share").click()
    await hana.sees("Gus", "screen")
    screen = hana.tile("Gus", "screen")
    await is_largest(hana, screen)

    await hana.tile("Gail").hover()
    await hana.tile("Gail").get_by_role("button", name="Pin Gail").click()

    await expect(large.locator(".plate-name")).to_have_text("Gail")
    await is_largest(hana, screen)
    assert await area(hana.tile("Gail")) > 1.5 * await area(hana.tile("Hana"))
    await hana.inspect("6 pinned beside a screen")

    await screen.get_by_role("button", name="Pin Screen of Gus").focus()
    await hana.page.keyboard.press("Enter")

    await expect(large.locator(".plate-name")).to_have_text("Screen of Gus")
    assert await area(hana.tile("Gail")) == pytest.approx(await area(hana.tile("Hana")))

    await gus.control("share").click()
    await expect(screen).to_have_count(0)
    await expect(large).to_have_count(0)
    await trio.all_see_each_other()


async def test_one_picture_floats_above_other_windows_by_key_and_by_tap_and_comes_back(trio: Trio) -> None:
    hana, gail, _ = trio.everybody
    button = hana.page.get_by_role("button", name="Picture in picture")
    await expect(button).to_have_attribute("aria-pressed", "false")
    await hana.sees("Gail")
    await hana.tile("Gail").get_by_role("button", name="Pin Gail").focus()
    await hana.page.keyboard.press("Enter")

    await hana.page.keyboard.press("i")

    await expect(button).to_have_attribute("aria-pressed", "true")
    assert await hana.page.evaluate(FLOATING) == await hana.tile("Gail").get_attribute("data-tile")
    await expect(hana.page.locator("[data-announce]", has_text="Picture of Gail: in a window of its own, above the others.")).to_have_count(1)
    await hana.sees("Gail")
    await hana.inspect("6 floating")

    await button.click()

    await expect(button).to_have_attribute("aria-pressed", "false")
    await trio.all_see_each_other()
    await hana.hears("Gail")

    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "true")
    await gail.control("cam").click()
    await expect(button).to_have_attribute("aria-pressed", "false")


async def test_a_floating_picture_ends_with_the_call(trio: Trio) -> None:
    hana = trio.hana
    await hana.sees("Gail")
    await hana.page.keyboard.press("i")
    await expect(hana.page.get_by_role("button", name="Picture in picture")).to_have_attribute("aria-pressed", "true")

    await hana.control("leave").click()

    await hana.page.wait_for_function("document.pictureInPictureElement === null")


async def test_a_browser_that_refuses_a_floating_picture_is_named_and_nothing_is_lost(trio: Trio) -> None:
    """Refused as a browser refuses it, by the page's own policy or the person's settings."""
    hana = trio.hana
    await hana.sees("Gail")
    await hana.page.evaluate(REFUSE_TO_FLOAT)

    await hana.page.get_by_role("button", name="Picture in picture").click()

    await expect(hana.page.locator("[data-banner=note]")).to_contain_text("Your browser did not open a window for the picture.")
    await expect(hana.page.get_by_role("button", name="Picture in picture")).to_have_attribute("aria-pressed", "false")
    await trio.all_see_each_other()


async def test_a_browser_without_floating_pictures_is_not_offered_them(people: dict[str, Attendee], live_cast: Any) -> None:
    hana = people["Hana"]
    await hana.page.add_init_script("Object.defineProperty(Document.prototype, 'pictureInPictureEnabled', {get: () => undefined});")
    await created_meeting(hana, live_cast.links["Hana"])
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(True)
    await hana.in_the_room()

    await expect(hana.page.locator("[data-do=float]")).to_be_hidden()
    await hana.page.keyboard.press("i")
    await hana.sees("Hana")
    await expect(hana.page.locator("[data-banner=note]")).to_be_hidden()


async def area(tile: Locator) -> float:
    box = await tile.bounding_box()
    assert box is not None
    return box["width"] * box["height"]


async def is_largest(viewer: Attendee, tile: Locator) -> None:
    """No other tile comes near it."""
    others = [await area(other) for other in await viewer.page.locator(".stage-tiles .tile:visible").all()]
    assert sorted(others)[-2] * 1.2 < await area(tile)
