"""Path (a): Hana plans a meeting and invites Gail and Gus; one agrees, one declines; all three see and hear each other.

Every picture carries its sender and its capture time, so "sees" means: this person's picture, moving, in this person's tile.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from . import media

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PATIENCE = 30.0  # seconds until something that must happen counts as not happening
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
NUMBERS = {"Hana": 1, "Gail": 2, "Gus": 3}  # burned into each one's picture
SHOTS = os.environ.get("CLEAC_SCREENSHOTS")
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (360, 1280)]
QUESTIONS = ("record-voice", "record-camera", "record-screen")

# A graph of its own on each remote track: what reaches it went through the relay and was decoded here.
LOUDNESS = """async tile => {
  const [track] = document.querySelector(`[data-tile="${tile}"] video`)?.srcObject?.getAudioTracks() ?? [];
  if (!track) return 0;
  const context = new AudioContext();
  const meter = new AnalyserNode(context, {fftSize: 32768});
  context.createMediaStreamSource(new MediaStream([track])).connect(meter);
  await context.resume();
  const samples = new Float32Array(meter.fftSize);
  let most = 0;
  for (let turn = 0; turn < 12 && most < 0.05; turn++) {
    await new Promise(resolve => setTimeout(resolve, 150));
    meter.getFloatTimeDomainData(samples);
    for (const sample of samples) most = Math.max(most, Math.abs(sample));
  }
  await context.close();
  return most;
}"""


SOCKETS = """globalThis.sockets = [];
globalThis.WebSocket = class extends WebSocket { constructor(...facts) { super(...facts); sockets.push(this); } };"""


@cache
def axe() -> str:
    return files("axe_core_python").joinpath("axe.min.js").read_text()


async def until(what: str, found: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is true and return it; the generous limit says what did not happen."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := await found()):
        assert time.monotonic() < deadline, f"did not happen: {what}"
        await asyncio.sleep(0.1)
    return answer


@dataclass
class Attendee:
    """One person in a browser of their own."""

    name: str
    visitor: Any

    @property
    def page(self) -> Page:
        page: Page = self.visitor.page
        return page

    def tile(self, name: str, what: str = "person") -> Locator:
        """The tile of somebody, as this person sees it."""
        return self.page.locator(f'[data-tile$="/{what}"]').filter(has=self.page.locator(".plate-name", has_text=name))

    def control(self, action: str) -> Locator:
        return self.page.locator(f'.controls [data-do="{action}"]')

    async def inspect(self, step: str) -> None:
        """No accessibility fault in light and dark, on a phone and on a desktop; with a screenshot of each where asked for."""
        before = self.page.viewport_size
        for scheme, width in LOOKS:
            await self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # reason: a literal, by way of a list
            await self.page.set_viewport_size({"width": width, "height": 800})
            await self.page.evaluate(axe())
            report = await self.page.evaluate("rules => axe.run({runOnly: rules})", RULES)
            faults = [f"{rule['id']}: {node['html']}" for rule in report["violations"] for node in rule["nodes"]]
            assert (step, scheme, width, faults) == (step, scheme, width, [])
            assert not await self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"), f"{step} is wider than {width} px"
            if SHOTS:
                name = f"{step.replace(' ', '-')}-{self.name.lower()}-{scheme}-{width}.png"
                await self.page.screenshot(path=Path(SHOTS) / name, full_page=True)
        await self.page.emulate_media(color_scheme="light")
        await self.page.set_viewport_size(before or {"width": 1280, "height": 800})

    async def go_on(self, step: str) -> None:
        await self.page.locator(f'[data-step="{step}"] [data-do="next"]').click()

    async def answer(self, granted: bool) -> None:
        """The same answer to every card. Nothing is chosen before, and going on works with any answer."""
        step = self.page.locator('[data-step="answers"]')
        await expect(step.locator("[data-answer]")).to_have_count(2 * len(QUESTIONS))
        await expect(step.locator('[data-answer][aria-pressed="true"]')).to_have_count(0)
        await expect(step.locator('[data-do="next"]')).to_have_attribute("aria-disabled", "true")
        for purpose in QUESTIONS:
            twin = step.locator(f'[data-purpose="{purpose}"] [data-answer="{"yes" if granted else "no"}"]')
            await twin.click()
            await expect(twin).to_have_attribute("aria-pressed", "true")
        await expect(step.locator('[data-do="next"]')).to_have_attribute("aria-disabled", "false")

    async def walk_in(self, granted: bool, *, inspected: bool = False) -> None:
        """From the first step to the waiting room, or for a host into the room."""
        await expect(self.page.locator('[data-step="welcome"] h1')).to_be_visible()
        if inspected:
            await self.inspect("1 welcome")
        await self.go_on("welcome")
        await expect(self.page.locator('[data-step="answers"] h1')).to_be_focused()
        await self.answer(granted)
        if inspected:
            await self.inspect("2 answers")
        await self.go_on("answers")
        await expect(self.page.locator("[data-preview][data-on]")).to_be_visible()
        if inspected:
            await self.inspect("3 devices")
        await self.go_on("devices")

    async def in_the_room(self) -> None:
        await expect(self.page.locator('[data-network][data-state="connected"]')).to_be_visible(timeout=PATIENCE * 1000)

    async def sees(self, name: str, what: str = "person") -> None:
        """The picture of `name`, newer than this moment, in the tile of `name`."""
        wanted = NUMBERS[name] | (media.SCREEN if what == "screen" else 0)
        since = time.time() * 1000

        async def shown() -> bool:
            tile = self.tile(name, what)
            if await tile.count() != 1:
                return False
            stamp = await media.seen(self.page, await tile.get_attribute("data-tile") or "")
            return stamp is not None and stamp.who == wanted and stamp.captured > since

        await until(f"{self.name} sees the {what} of {name}", shown)

    async def hears(self, name: str) -> None:
        """A beep of `name` comes out of the tile of `name`."""

        async def sounded() -> bool:
            tile = await self.tile(name).get_attribute("data-tile")
            return bool(await self.page.evaluate(LOUDNESS, tile) >= 0.05)

        await until(f"{self.name} hears {name}", sounded)


@dataclass
class Trio:
    hana: Attendee
    gail: Attendee
    gus: Attendee
    links: dict[str, str]

    @property
    def everybody(self) -> list[Attendee]:
        return [self.hana, self.gail, self.gus]

    async def all_see_each_other(self) -> None:
        for viewer in self.everybody:
            for shown in self.everybody:
                await viewer.sees(shown.name)


async def created_meeting(hana: Attendee, link: str) -> dict[str, str]:
    """Hana signs in, plans a meeting that asks everything, and invites both guests. Returns their personal links."""
    page = hana.page
    await page.goto(link)
    await page.goto("/t/acme/meetings/")
    await page.get_by_label("Title").fill("Loan review")
    await page.get_by_label("Why you meet").fill("We go through your application together.")
    for box in await page.get_by_role("checkbox").all():
        await box.check()
    await page.get_by_role("button", name="Create the meeting").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Loan review")
    links = {}
    for name in ("Gail", "Gus"):
        await page.get_by_label("Name").fill(name)
        await page.get_by_role("button", name="Invite").click()
        await expect(page.get_by_role("heading", name=f"The personal link of {name}")).to_be_visible()
        links[name] = await page.locator("#new-link").input_value()
    return links


async def admitted(host: Attendee, guest: Attendee) -> None:
    """The host lets the guest in from the people panel."""
    if await host.page.locator("#people-panel").is_hidden():
        await host.control("people").click()
    await host.page.get_by_role("button", name=f"Let in: {guest.name}").click()
    await guest.in_the_room()


@pytest_asyncio.fixture(loop_scope="session")
async def people(visitor: Callable[..., Awaitable[Any]], live_cast: Any) -> dict[str, Attendee]:
    """Hana, Gail and Gus, each with a browser whose camera and microphone carry their number."""
    found = {}
    for name, number in NUMBERS.items():
        one = await visitor(viewport={"width": 1280, "height": 800}, color_scheme="light", reduced_motion="reduce")
        await media.burn_in(one.context, number)
        await one.context.add_init_script(SOCKETS)
        found[name] = Attendee(name, one)
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def trio(people: dict[str, Attendee], live_cast: Any) -> Trio:
    """A call of three: Hana and Gail agreed to everything, Gus declined everything."""
    hana, gail, gus = people["Hana"], people["Gail"], people["Gus"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(True)
    await hana.in_the_room()
    for guest, granted in ((gail, True), (gus, False)):
        await guest.page.goto(links[guest.name])
        await guest.walk_in(granted)
        await admitted(hana, guest)
    return Trio(hana, gail, gus, links)


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
