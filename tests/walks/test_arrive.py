"""A stranger arrives, tries the demo as Hana, and signs out; Nils of another tenant finds nothing of Acme's."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_stranger_tries_the_demo_and_leaves(visitor, live_cast) -> None:
    page = (await visitor()).page

    await page.goto("/")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await page.get_by_role("link", name="Hana").click()

    await expect(page).to_have_url("/t/acme/")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Acme")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_url("/")
    await page.goto("/t/acme/")
    await expect(page).to_have_url("/account/login/?next=/t/acme/")


async def test_somebody_of_another_tenant_sees_a_plain_page_that_says_not_found(visitor, live_cast) -> None:
    person = await visitor()
    page = person.page
    await page.goto(live_cast.links["Nils"])
    await expect(page).to_have_url("/t/globex/")

    answer = await page.goto("/t/acme/")

    assert answer is not None
    assert answer.status == 404
    await expect(page.get_by_text("Acme")).to_have_count(0)
    person.errors.clear()  # the browser itself reports the 404 that this test asks for


async def test_moments_stand_in_the_readers_own_time_zone(visitor, live_cast) -> None:
    page = (await visitor(timezone_id="Europe/Helsinki")).page
    await page.goto(live_cast.links["Hana"])
    await page.goto("/t/acme/meetings/")
    await page.get_by_label("Title").fill("Loan review")
    await page.get_by_label("Why you meet").fill("We go through your application together.")
    await page.get_by_role("button", name="Create the meeting").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Loan review")

    await page.goto("/t/acme/meetings/")

    moment = page.locator("time[data-moment]").first
    at = datetime.fromisoformat(await moment.get_attribute("datetime") or "").astimezone(ZoneInfo("Europe/Helsinki"))
    await expect(moment).to_have_text(f"{at:%a} {at.day} {at:%b %Y, %H:%M} (Helsinki)")
