"""A browser whose network lets no UDP through: it is told the TCP candidates only, and connects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from playwright.async_api import async_playwright

from calls.media import addresses, sdp
from calls.media.candidates import Listening
from calls.media.edge import Edge
from cleac_site import backends

from .peers import PATIENCE

OFFER = """async () => {
    const pc = (window.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
    const mid = pc.addTransceiver("audio", { direction: "sendonly" });
    await pc.setLocalDescription();
    return [pc.localDescription.sdp, mid.mid];
}"""
ANSWER = """(sdp) => window.pc.setRemoteDescription({ type: "answer", sdp })"""


@dataclass(frozen=True, slots=True)
class TcpOnly(Listening):
    """What a worker would say whose UDP port nobody reaches."""

    def lines(self) -> Iterator[str]:
        return (line for line in super(TcpOnly, self).lines() if " tcp " in line)


async def test_a_browser_without_udp_connects_over_tcp() -> None:
    edge = await Edge.bind()
    states: asyncio.Queue[str] = asyncio.Queue()
    link = edge.link(lambda event: None, states.put_nowait)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=backends.chromium().address, args=["--no-sandbox"])
        page = await browser.new_page()
        text, mid = await page.evaluate(OFFER)
        offer = sdp.parse_offer(text, {mid: "mic"})
        link.remote = (offer.ufrag, offer.pwd)
        link.start(offer.fingerprints)
        listening = TcpOnly(edge.hosts, edge.port, tcp=True)
        await page.evaluate(ANSWER, sdp.answer(offer, sdp.Transport(listening, link.ufrag, link.pwd, link.fingerprint, link.session), 1))
        async with asyncio.timeout(PATIENCE):
            while (state := await states.get()) != "connected":
                assert state == "connecting"

        assert link.address is not None
        assert not addresses.is_udp(link.address)
        await browser.close()
    await edge.close()
