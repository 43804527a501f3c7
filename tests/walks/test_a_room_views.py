"""Speaker view and pin, by keyboard alone: one person stands large, the marks stay, and grid comes back."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from .people import Trio

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_pinned_person_has_the_stage_until_let_go_and_speaker_view_shows_another(trio: Trio) -> None:
    hana = trio.hana
    large = hana.page.locator(".tile[data-main]")
    await expect(large).to_have_count(0)

    pin = hana.tile("Gus").get_by_role("button", name="Pin Gus")
    await pin.focus()
    await hana.page.keyboard.press("Enter")
    await expect(large.locator(".plate-name")).to_have_text("Gus")
    await expect(pin).to_have_attribute("aria-pressed", "true")
    await expect(hana.page.locator("[data-announce]", has_text="Gus is pinned.")).to_have_count(1)
    for name in ("Gail", "Gus"):
        await expect(hana.tile(name).locator(".mark")).to_be_visible()
    await trio.all_see_each_other()
    await hana.inspect("6 pinned")

    await hana.page.keyboard.press("Enter")
    await expect(large).to_have_count(0)

    view = hana.control("view")
    await hana.page.keyboard.press("g")
    await expect(view).to_have_attribute("aria-pressed", "true")
    await expect(large.locator(".plate-name")).to_have_text(re.compile("Gail|Gus"))
    await hana.page.keyboard.press("g")
    await expect(large).to_have_count(0)
