"""The network test in real Chromium: what it says where everything passes, where no UDP does, and where no worker answers for a while."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from cleac_site import backends
from tests.calls import scenes
from tests.conftest import CHROMIUM_FLAGS, Visitor
from tests.media.turnserver import SECRET, turn_server
from tests.site.test_run import PATIENCE, Running
from tests.stack import Stack

from .people import Attendee, until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("worker_known"), pytest.mark.asyncio(loop_scope="session")]
WAYS = ("udp4", "udp6", "tcp4", "tcp6", "relay")
POLICY = "webrtc-ip-handling-policy=disable_non_proxied_udp"
NO_UDP = (f"--{POLICY}", f"--force-{POLICY}")  # with windows, and without


async def outcome(page: Page, found: str) -> dict[str, str]:
    """What the page says of each way, once it has come to this conclusion."""
    await expect(page.locator(f'#network[data-result="{found}"]')).to_be_visible()
    return {way: str(await page.locator(f"li[data-way={way}]").get_attribute("data-state")) for way in WAYS}


async def guest(one: Visitor, cast: Any, url: str) -> Page:
    """Gail's browser, in which her link was opened."""
    with scenes.acme(cast):
        meeting = scenes.meeting(cast)
    await one.context.add_cookies([{"name": "cleac_guest", "value": scenes.guest_token(cast, meeting, cast.gail), "url": url}])
    return one.page


async def test_a_guest_without_camera_finds_that_udp_and_tcp_work_and_what_is_not_offered(
    visitor: Callable[..., Awaitable[Any]], live_cast: Any, live_url: str
) -> None:
    gail = await visitor(permissions=[])
    page = await guest(gail, live_cast, live_url)
    await page.goto("/my/")

    await page.get_by_role("link", name="Test your network").click()

    assert await outcome(page, "udp") == {"udp4": "works", "udp6": "absent", "tcp4": "works", "tcp6": "absent", "relay": "absent"}
    await expect(page.get_by_role("status").filter(has_text="Your network is ready for calls.")).to_be_visible()
    await expect(page.locator("[data-list] li")).to_have_count(2)
    await Attendee("Gail", gail).inspect("network everything")
    await page.get_by_role("button", name="Test again").click()
    await outcome(page, "udp")


@pytest_asyncio.fixture(loop_scope="session")
async def without_udp(live_url: str) -> AsyncIterator[Visitor]:
    """A browser whose network lets TCP through only."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=backends.chromium().address, args=[*CHROMIUM_FLAGS, *NO_UDP])
        context = await started.new_context(base_url=live_url)
        yield Visitor(context, await context.new_page())
        await started.close()


async def test_where_no_udp_passes_the_page_says_that_calls_go_over_tcp_and_what_to_do(without_udp: Visitor, live_cast: Any, live_url: str) -> None:
    page = await guest(without_udp, live_cast, live_url)

    await page.goto("/my/network/")

    assert await outcome(page, "tcp") == {"udp4": "fails", "udp6": "absent", "tcp4": "works", "tcp6": "absent", "relay": "absent"}
    said = page.get_by_role("status").filter(has_text="Calls work here, but only over TCP")
    await expect(said).to_contain_text("ask whoever runs the network to let UDP through")
    await Attendee("Gail", without_udp).inspect("network without udp")


async def test_where_neither_passes_the_page_says_that_calls_do_not_work_and_what_to_do(
    visitor: Callable[..., Awaitable[Any]], live_cast: Any, live_url: str
) -> None:
    """The answer names a port at which nobody is."""
    gail = await visitor(permissions=[])
    page = await guest(gail, live_cast, live_url)
    await page.add_init_script("""const set = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function (facts) {
    return set.call(this, {...facts, sdp: facts.sdp.replace(/(127[.]0[.]0[.]1) [0-9]+ typ/g, "$1 9 typ")});
};""")

    await page.goto("/my/network/")

    assert (await outcome(page, "none"))["udp4"] == "fails"
    await expect(page.get_by_role("status").filter(has_text="Calls do not work here")).to_contain_text("Switch off a VPN")
    await Attendee("Gail", gail).inspect("network nothing")


async def test_ways_that_could_not_be_asked_at_first_are_asked_again_and_told_as_they_are(
    visitor: Callable[..., Awaitable[Any]], live_cast: Any, live_url: str, stack: Stack
) -> None:
    """The media worker hangs when the page opens, until the page has been told that nobody can answer."""
    gail = await visitor(permissions=[])
    page = await guest(gail, live_cast, live_url)
    stack.processes["media"].send_signal(signal.SIGSTOP)
    try:
        async with page.expect_response(lambda answer: answer.url.endswith("/way") and answer.status == 503, timeout=PATIENCE * 1000):
            await page.goto("/my/network/")
    finally:
        stack.processes["media"].send_signal(signal.SIGCONT)

    assert await outcome(page, "udp") == {"udp4": "works", "udp6": "absent", "tcp4": "works", "tcp6": "absent", "relay": "absent"}
    gail.errors[:] = [text for text in gail.errors if "status of 503" not in text]


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere(browser: Browser, tmp_path: Path) -> AsyncIterator[tuple[Running, Page]]:
    """A site that is reached over IPv4 and IPv6 and has a TURN server, and a browser for Hana."""
    async with turn_server(tmp_path) as port:
        turn = {"CLEAC_TURN_URLS": f"turn:127.0.0.1:{port}?transport=udp", "CLEAC_TURN_SECRET": SECRET}
        running = Running(tmp_path / "data", CLEAC_MEDIA_UDP_HOST="::", CLEAC_MEDIA_PUBLIC_IP="127.0.0.1,::1", **turn)
        context = await browser.new_context(base_url=running.url)
        yield running, await context.new_page()
        await context.close()
        running.process.terminate()
        running.process.communicate(timeout=PATIENCE)


async def test_every_way_that_there_is_works_for_staff_where_everything_is_offered(elsewhere: tuple[Running, Page]) -> None:
    running, page = elsewhere
    await page.goto(running.found(r"Hana.*?(http\S+)"))

    await page.goto("/t/acme/my/network/")

    await until("a media worker is there", lambda: tried_again(page))
    assert await outcome(page, "udp") == dict.fromkeys(WAYS, "works")


async def tried_again(page: Page) -> bool:
    """Has the page come to a conclusion? While no worker answers it cannot, and says so; then it is asked to test again."""
    found = await page.locator("#network").get_attribute("data-result")
    if found == "broken":
        await page.get_by_role("button", name="Test again").click()
    return found not in (None, "broken")
