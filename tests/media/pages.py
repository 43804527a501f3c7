"""Browser pages in a room: the project's own publish.js and subscribe.js in a real Chromium, whose messages go straight to the room.

A page films a canvas whose every picture is new. There is no web server: what a page asks for is read from the source tree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Route, async_playwright

from calls.media.edge import Edge
from calls.media.room import Member, Room
from cleac_site import backends
from tests.conftest import CHROMIUM_FLAGS

from .relays import Relay, Way

SCRIPTS = Path(__file__).parents[2] / "calls" / "static" / "calls"
ORIGIN = "http://localhost"  # a secure context; nothing is asked of the network
PATIENCE = 90.0  # seconds until something that must happen counts as not happening; a browser needs fewer to give a connection up
RATE = 25  # pictures a second

PAGE = """<!doctype html><script type="module">
import { Publisher } from "/publish.js";
import { Subscriber } from "/subscribe.js";
const videos = new Map();
const placed = (tracks) => {
  for (const { place, track } of tracks) {
    const key = `${place.participant}.${place.source}`;
    if (!videos.has(key)) videos.set(key, document.body.appendChild(Object.assign(document.createElement("video"), { muted: true })));
    const video = videos.get(key);
    if (video.srcObject?.getTracks()[0] === track) continue;
    video.srcObject = new MediaStream([track]);
    video.play();
  }
};
const pub = (globalThis.pub = new Publisher([], (kind, fields) => say({ kind, ...fields }), () => say({ failed: "pub" })));
const sub = (globalThis.sub = new Subscriber([], {
  answer: (fields) => say({ kind: "subscribed", ...fields }), restart: () => say({ kind: "restart" }), placed,
  failed: () => say({ failed: "sub" }), changed: () => {},
}));
globalThis.hear = async (message) => {
  if (message.kind === "published") await pub.answered(message);
  if (message.kind === "offer") await sub.offered(message);
  if (message.kind === "state") await (message.pc === "pub" ? pub : sub).told(message.state);
};
globalThis.painted = (width, height, rate) => {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const brush = canvas.getContext("2d", { alpha: false });
  let turn = 0;
  setInterval(() => {
    turn++;
    brush.fillStyle = `hsl(${turn % 360} 40% 40%)`;
    brush.fillRect(0, 0, width, height);
    for (let part = 0; part < 24; part++) {
      brush.fillStyle = `hsl(${(part * 67 + turn * 5) % 360} 80% 60%)`;
      brush.fillRect((part * 97 + turn * 7) % width, (part * 53 + turn * 3) % height, width / 9, height / 9);
    }
  }, 1000 / rate);
  return canvas.captureStream(rate).getVideoTracks()[0];
};
globalThis.film = (source, width, height, rate) => pub.add(source, painted(width, height, rate));
globalThis.speak = async () => {
  const sound = new AudioContext();
  await sound.resume();
  const out = sound.createMediaStreamDestination();
  const tone = new OscillatorNode(sound, { frequency: 440 });
  tone.connect(out);
  tone.start();
  await pub.add("mic", out.stream.getAudioTracks()[0]);
};
globalThis.stats = async (pc) => {
  const lanes = new Map([...(await pc.getStats()).values()].map((one) => [one.id, one]));
  return [...lanes.values()].filter((one) => one.type === "inbound-rtp" || one.type === "outbound-rtp");
};
globalThis.ready = true;
</script>"""


class PageOf:
    """One participant in a browser page, perhaps behind a relay. `places` maps the mid of what it receives to (participant, source).

    `said` are the kinds of message that the page sent, `failed` its connections that it gave up.
    """

    def __init__(self, room: Room, participant: str, page: Page, relay: Relay | None = None) -> None:
        self.room, self.participant, self.page, self.relay = room, participant, page, relay
        self.messages: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.failed: list[str] = []
        self.places: dict[str, tuple[str, str]] = {}
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.member: Member = room.admit(participant, f"person-{participant}", participant.capitalize(), "guest", self._hear)
        self.hearing: asyncio.Task[None] | None = None

    async def open(self) -> PageOf:
        await self.page.expose_function("say", self._said)
        await self.page.route(f"{ORIGIN}/**", self._serve)
        await self.page.goto(f"{ORIGIN}/")
        await self.page.wait_for_function("globalThis.ready")
        self.hearing = asyncio.create_task(self._tell())
        return self

    async def _serve(self, route: Route) -> None:
        name = route.request.url.removeprefix(f"{ORIGIN}/")
        if name:
            await route.fulfill(body=(SCRIPTS / name).read_text(), content_type="text/javascript")
        else:
            await route.fulfill(body=PAGE, content_type="text/html")

    def _hear(self, message: dict[str, Any]) -> None:
        if "sdp" in message:
            lines = [line for line in message["sdp"].splitlines(keepends=True) if " tcp " not in line]
            if self.relay is not None:
                lines = [line.replace(f" {self.relay.worker[1]} typ host", f" {self.relay.port} typ host") for line in lines]
            message = message | {"sdp": "".join(lines)}
        self.messages.append(message)
        self._heard.put_nowait(message)

    async def _tell(self) -> None:
        """One message after the other, as the page's own line does."""
        while True:
            message = await self._heard.get()
            if message["kind"] == "offer":
                self.places = {track["mid"]: (track["participant"], track["source"]) for track in message["tracks"]}
            await self.page.evaluate("message => hear(message)", message)

    def _said(self, message: dict[str, Any]) -> None:
        if "failed" in message:
            self.failed.append(message["failed"])
            return
        self.said.append(message["kind"])
        match message["kind"]:
            case "publish":
                self.member.publish(message)
            case "subscribed":
                self.member.subscribed(message)
            case "restart":
                self.member.restart()

    async def film(self, width: int = 1280, height: int = 720, rate: int = RATE, source: str = "cam") -> None:
        await self.page.evaluate("([source, width, height, rate]) => film(source, width, height, rate)", [source, width, height, rate])

    async def speak(self) -> None:
        await self.page.evaluate("speak()")

    def shows(self, *tiles: tuple[str, int]) -> None:
        """The cameras that the page shows: (participant, height)."""
        self.member.show({"tiles": [{"participant": who, "source": "cam", "height": height} for who, height in tiles]})

    async def received(self, participant: str, source: str = "cam") -> dict[str, Any]:
        """What getStats says of one thing that is received; empty before it is."""
        found: list[dict[str, Any]] = await self.page.evaluate("stats(sub.pc)")
        return next((one for one in found if self.places.get(one.get("mid", "")) == (participant, source)), {})

    async def sees_more_of(self, participant: str, pictures: int = 25) -> None:
        """Return when so many further pictures of somebody were decoded."""
        before = (await self.received(participant)).get("framesDecoded", 0)

        async def found() -> bool:
            return bool((await self.received(participant)).get("framesDecoded", 0) >= before + pictures)

        await until(f"{self.participant} goes on seeing {participant}", found)

    async def sent(self) -> list[dict[str, Any]]:
        """What getStats says of each encoding that is sent."""
        found: list[dict[str, Any]] = await self.page.evaluate("stats(pub.pc)")
        return found

    async def close(self) -> None:
        if self.hearing is not None:
            self.hearing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.hearing


async def until(what: str, found: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is true and return it; the generous limit says what did not happen."""
    last = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while not (last := await found()):
                await asyncio.sleep(0.2)
            return last
    raise AssertionError(f"did not happen: {what}")


class Hall:
    """A room on an edge of its own, and the pages that came."""

    def __init__(self, edge: Edge, room: Room, browser: Browser) -> None:
        self.edge, self.room, self.browser = edge, room, browser
        self.pages: list[PageOf] = []
        self.relays: list[Relay] = []

    async def join(self, participant: str, *, up: Way | None = None, down: Way | None = None) -> PageOf:
        """A page more; with a `Way` it reaches the worker through a relay."""
        relay = None
        if up is not None or down is not None:
            relay = await Relay(("127.0.0.1", self.edge.port), up or Way(), down or Way()).open()
            self.relays.append(relay)
        page = await PageOf(self.room, participant, await self.browser.new_page(), relay).open()
        self.pages.append(page)
        return page

    async def close(self) -> None:
        for page in self.pages:
            await page.close()
        await self.room.close("ended")
        await self.edge.close()
        for relay in self.relays:
            await relay.close()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=backends.chromium().address, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def hall() -> AsyncIterator[Hall]:
    """A browser and a room for it."""
    edge = await Edge.bind("127.0.0.1")
    async with chromium() as browser:
        opened = Hall(edge, Room("call", edge), browser)
        try:
            yield opened
        finally:
            await opened.close()
