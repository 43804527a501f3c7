"""While the line to the server is lost, a page does not go on showing marks of capture as if it knew them, and its host can still stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from .people import Attendee, Trio, marked

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

EVERYBODY = ("Hana", "Gail", "Gus")


@pytest_asyncio.fixture(loop_scope="session")
async def recorded(trio: Trio) -> Trio:
    """Hana records; the marks say so, and nothing of it is opened here."""
    await trio.hana.control("record").click()
    await marked(trio.everybody, Hana="captured", Gail="captured", Gus="declined")
    return trio


@asynccontextmanager
async def cut_off(attendee: Attendee) -> AsyncIterator[None]:
    """The socket is gone, and no new one can be had until this ends."""

    async def refuse(route: Route) -> None:
        await route.abort()

    await attendee.page.route("**/ticket", refuse)
    await attendee.page.evaluate("sockets.at(-1).close()")
    await expect(attendee.page.locator('[data-network]:not([data-state="connected"])')).to_be_visible()
    try:
        yield
    finally:
        await attendee.page.unroute("**/ticket")
        await attendee.page.evaluate("dispatchEvent(new Event('online'))")
        attendee.visitor.errors[:] = [text for text in attendee.visitor.errors if "net::ERR_FAILED" not in text]


async def knows_nothing(attendee: Attendee) -> None:
    page = attendee.page
    await marked([attendee], **dict.fromkeys(EVERYBODY, "unknown"))
    await expect(page.locator("[data-kept]")).to_have_text("What is kept now is not known")
    await expect(page.locator("[data-kept]")).to_have_attribute("data-mark", "unknown")
    await expect(page.locator("[data-recording]")).to_have_text("Recording state not known")
    await expect(page.locator("[data-control-mark]")).to_have_attribute("data-mark", "unknown")
    for place in ("#people-panel", "#consent-panel", "#record-panel"):
        known = page.locator(f'{place} .mark:not([data-mark="unknown"])')
        await expect(known).to_have_count(0)
    line = page.get_by_role("status").filter(has_text="The connection is gone")
    await expect(line).to_contain_text("Until then this page cannot say what is being kept.")


async def test_a_guest_whose_line_is_lost_sees_and_hears_that_nobody_knows_what_is_kept(recorded: Trio) -> None:
    gail = recorded.gail
    await gail.page.keyboard.press("p")

    async with cut_off(gail):
        await knows_nothing(gail)
        await expect(gail.page.locator("[data-announce]", has_text="What is kept now is not known")).to_have_count(1)
        await expect(gail.page.locator("#people-panel .person", has_text="Gus").locator(".mark").first).to_contain_text("Not known now")
        await gail.inspect("7 line lost")
        await marked([recorded.hana, recorded.gus], Hana="captured", Gus="declined")  # whose lines hold know it as ever

    await gail.in_the_room()
    await marked(recorded.everybody, Hana="captured", Gail="captured", Gus="declined")
    await expect(gail.page.locator("[data-kept]")).to_have_text("Kept now: 2 of 3 people")


async def test_a_host_whose_line_is_lost_can_still_stop_the_recording(recorded: Trio) -> None:
    hana = recorded.hana
    await expect(hana.page.locator("#record-panel")).to_be_visible()

    async with cut_off(hana):
        await knows_nothing(hana)
        await expect(hana.page.locator("#record-panel [data-list=in] .person")).to_have_count(3)
        await expect(hana.page.locator("#record-panel").get_by_role("heading", name="In the call, as last heard")).to_be_visible()
        await hana.inspect("7 line of the host lost")
        await hana.page.locator("#record-panel").get_by_role("button", name="Stop recording").click()
        await marked([recorded.gail, recorded.gus], Gail="agreed", Gus="declined")

    await hana.in_the_room()
    await expect(hana.page.locator("[data-recording]")).to_have_attribute("data-state", "off")
    await marked([hana], Hana="agreed", Gail="agreed", Gus="declined")
