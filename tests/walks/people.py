"""People with a browser each, and what they do on the way into a call and in it.

Every picture carries its sender and its capture time, so "sees" means: this person's picture, moving, in this person's tile.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Locator, Page, expect

from tests import axe

from . import media

PATIENCE = 60.0  # seconds until something that must happen counts as not happening: the machine may be busy with other work
expect.set_options(timeout=PATIENCE * 1000)
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


# How the page called its connection since, however short each was.
NETWORK_STATES = """mark => {
  globalThis.networkStates = [];
  new MutationObserver(() => networkStates.push(mark.dataset.state)).observe(mark, {attributes: true, attributeFilter: ["data-state"]});
}"""


SOCKETS = """globalThis.sockets = [];
globalThis.WebSocket = class extends WebSocket { constructor(...facts) { super(...facts); sockets.push(this); } };"""


CONNECTIONS = """globalThis.connections = [];
globalThis.RTCPeerConnection = class extends RTCPeerConnection { constructor(...facts) { super(...facts); connections.push(this); } };"""


async def until(what: str, found: Callable[[], Awaitable[Any]], patience: float = PATIENCE) -> Any:
    """Ask until the answer is true and return it; the generous limit says what did not happen."""
    deadline = time.monotonic() + patience
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
            assert (step, scheme, width, await axe.faults(self.page)) == (step, scheme, width, [])
            if SHOTS:
                name = f"{step.replace(' ', '-')}-{self.name.lower()}-{scheme}-{width}.png"
                await self.page.screenshot(path=Path(SHOTS) / name, full_page=True)
        await self.page.emulate_media(color_scheme="light")
        await self.page.set_viewport_size(before or {"width": 1280, "height": 800})

    async def note_network(self) -> None:
        """From now on: what the page says of its connection is kept, for `was_told_of_a_cut`."""
        await self.page.locator("[data-network]").evaluate(NETWORK_STATES)

    async def was_told_of_a_cut(self) -> None:
        """The page has said since that it was not connected, though it may be again."""
        await until(f"{self.name} is told", lambda: self.page.evaluate("networkStates.some(state => state !== 'connected')"))

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


async def marked(viewers: list[Attendee], **marks: str) -> None:
    """In every page the tile of each of these people carries the mark."""
    for viewer in viewers:
        for name, mark in marks.items():
            await expect(viewer.tile(name).locator(".mark")).to_have_attribute("data-mark", mark, timeout=PATIENCE * 1000)


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


@dataclass
class Recorded(Trio):
    """The call of three, being recorded. `since`: when it was not yet, in seconds since 1970; `before`: what was stored then."""

    since: float
    before: frozenset[str]


async def created_meeting(hana: Attendee, link: str, title: str = "Loan review") -> dict[str, str]:
    """Hana signs in, plans a meeting that asks everything, and invites both guests. Returns their personal links."""
    page = hana.page
    await page.goto(link)
    await page.goto("/t/acme/meetings/")
    await page.get_by_label("Title").fill(title)
    await page.get_by_label("Why you meet").fill("We go through your application together.")
    for box in await page.get_by_role("checkbox").all():
        await box.check()
    await page.get_by_role("button", name="Create the meeting").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(title)
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
