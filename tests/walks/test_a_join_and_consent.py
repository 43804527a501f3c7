"""Path (a): Hana plans a meeting and invites Gail and Gus; one agrees, one declines; all three see and hear each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import expect

from .people import QUESTIONS, Attendee, Trio, admitted, created_meeting

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_guest_walks_in_step_by_step_and_every_step_is_accessible(people: dict[str, Attendee], live_cast: Any) -> None:
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    await hana.inspect("meeting")
    await gail.page.goto(links["Gail"])
    await expect(gail.page.get_by_role("heading", level=1)).to_have_text("Hana invites you to a call")
    assert "#" not in gail.page.url

    await gail.walk_in(True, inspected=True)

    await expect(gail.page.locator('[data-step="waiting"] h1')).to_be_focused()
    await expect(gail.page.get_by_text("You are the next in the queue.")).to_be_visible()
    await gail.inspect("4 waiting")
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(False)
    await hana.in_the_room()
    await expect(hana.page.get_by_text("Gail is waiting to be let in.")).to_be_visible()
    await hana.inspect("5 knock")
    await admitted(hana, gail)
    await gail.sees("Hana")
    await gail.inspect("6 room")
    await hana.inspect("6 people")
    await gail.control("consent").click()
    await gail.inspect("7 my consent")


async def test_three_people_see_and_hear_each_other_whatever_they_answered(trio: Trio) -> None:
    await trio.all_see_each_other()

    for listener in trio.everybody:
        for speaker in trio.everybody:
            if speaker is not listener:
                await listener.hears(speaker.name)
    for viewer in trio.everybody:
        await expect(viewer.tile("Gail").locator(".mark")).to_have_attribute("data-mark", "agreed")
        await expect(viewer.tile("Gus").locator(".mark")).to_have_attribute("data-mark", "declined")
        await expect(viewer.page.locator("[data-kept]")).to_contain_text("0 of 3 people")
        await expect(viewer.page.locator("[data-kept]")).to_have_attribute("data-mark", "off")


async def test_one_tap_withdraws_and_everybody_sees_the_mark(trio: Trio) -> None:
    await trio.gail.page.keyboard.press("k")
    card = trio.gail.page.locator('#consent-panel [data-purpose="record-voice"]')
    await expect(card.locator('[data-answer="yes"]')).to_have_attribute("aria-pressed", "true")

    await card.locator('[data-answer="no"]').click()

    await expect(card.locator('[data-answer="no"]')).to_have_attribute("aria-pressed", "true")
    line = trio.hana.page.locator("#people-panel .person", has_text="Gail").locator(".mark", has_text="voice")
    await expect(line).to_have_attribute("data-mark", "declined")
    await trio.hana.sees("Gail")


async def test_a_muted_microphone_and_a_camera_that_is_off_are_shown_to_the_others(trio: Trio) -> None:
    await trio.gail.page.keyboard.press("m")
    await expect(trio.hana.tile("Gail")).to_have_attribute("data-mic", "off")
    await trio.gail.control("cam").click()
    await expect(trio.hana.tile("Gail")).to_have_attribute("data-cam", "off")
    await expect(trio.hana.tile("Gail").locator("video")).to_be_hidden()

    await trio.gail.control("cam").click()
    await trio.gail.control("mic").click()

    await trio.hana.sees("Gail")
    await expect(trio.hana.tile("Gail")).to_have_attribute("data-mic", "on")


async def test_a_shared_screen_is_seen_until_it_is_shared_no_more_and_again(trio: Trio) -> None:
    for _ in range(2):
        await trio.gus.control("share").click()
        for viewer in (trio.hana, trio.gail):
            await viewer.sees("Gus", "screen")
            await viewer.sees("Gus")
        await trio.gus.control("share").click()
        await expect(trio.hana.tile("Gus", "screen")).to_have_count(0)
    await trio.all_see_each_other()


async def test_who_leaves_or_reloads_comes_back_and_is_asked_nothing_twice(trio: Trio) -> None:
    await trio.gail.control("leave").click()
    await expect(trio.gail.page.get_by_role("heading", name="You have left the call")).to_be_visible()
    await expect(trio.hana.tile("Gail")).to_have_count(0)

    await trio.gail.page.get_by_role("link", name="Join again").click()
    await trio.gail.go_on("welcome")
    step = trio.gail.page.locator('[data-step="answers"]')
    await expect(step.locator('[data-answer="yes"][aria-pressed="true"]')).to_have_count(len(QUESTIONS))
    await trio.gail.go_on("answers")
    await trio.gail.go_on("devices")
    await trio.gail.in_the_room()
    await trio.all_see_each_other()

    await trio.gus.page.reload()
    await trio.gus.in_the_room()
    await trio.all_see_each_other()


async def test_a_lost_socket_is_opened_again_by_itself(trio: Trio) -> None:
    await trio.gail.page.evaluate("sockets.at(-1).close()")
    await expect(trio.gail.page.locator('[data-network]:not([data-state="connected"])')).to_be_visible()

    await trio.gail.in_the_room()

    await trio.all_see_each_other()


async def test_who_is_removed_is_out_and_told_so(trio: Trio) -> None:
    await trio.hana.page.get_by_role("button", name="Remove: Gus").click()
    await trio.hana.page.get_by_role("button", name="Remove", exact=True).click()

    await expect(trio.gus.page.get_by_role("heading", name="You were removed from the call")).to_be_visible()
    await trio.gus.inspect("8 removed")
    for viewer in (trio.hana, trio.gail):
        await expect(viewer.tile("Gus")).to_have_count(0)
    await trio.gus.page.goto(trio.links["Gus"])
    await expect(trio.gus.page.get_by_role("heading", name="You were removed from the call")).to_be_visible()


async def test_the_end_is_told_to_everybody_and_the_link_says_so_afterwards(trio: Trio) -> None:
    await trio.hana.page.get_by_role("button", name="End the call for everyone").click()
    await trio.hana.page.get_by_role("button", name="End the call", exact=True).click()

    for attendee in trio.everybody:
        await expect(attendee.page.get_by_role("heading", name="The call has ended")).to_be_visible()
    await trio.gail.page.goto(trio.links["Gail"])
    await expect(trio.gail.page.get_by_role("heading", name="The call has ended")).to_be_visible()


async def test_an_unknown_link_gets_one_plain_page(visitor: Callable[..., Awaitable[Any]], live_cast: Any) -> None:
    stranger = Attendee("Stranger", await visitor(reduced_motion="reduce"))

    await stranger.page.goto("/j#" + "A" * 22)

    await expect(stranger.page.get_by_role("heading", name="This link does not work")).to_be_visible()
    assert stranger.page.url.endswith("/j")
    await stranger.inspect("unknown link")
    stranger.visitor.errors[:] = [text for text in stranger.visitor.errors if "status of 404" not in text]


async def test_blocked_devices_are_explained_and_joining_without_them_works(people: dict[str, Attendee], live_cast: Any) -> None:
    hana, gus = people["Hana"], people["Gus"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    blocked = 'navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("blocked", "NotAllowedError"); };'
    await gus.visitor.context.add_init_script(blocked)
    await gus.page.goto(links["Gus"])
    await gus.go_on("welcome")
    await gus.answer(False)
    await gus.go_on("answers")
    await expect(gus.page.get_by_text("The browser blocks your camera and microphone.")).to_be_visible()
    await gus.inspect("3 blocked")
    await gus.go_on("devices")
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(True)
    await hana.in_the_room()

    await admitted(hana, gus)

    await gus.sees("Hana")
    await expect(hana.tile("Gus")).to_have_attribute("data-cam", "off")
