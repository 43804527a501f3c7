"""Trial connections: a browser finds out whether its packets reach this worker, and by which way, without a call.

What must never happen here, and what holds it:
- Media comes in or goes out: a trial belongs to no room and has neither track nor copy, so the packet path drops whatever comes
  (`ssrc-undeclared`, `rtcp-unasked`).
- Trials take the place of calls: there are at most `MOST` at a time, each for `LIFE` seconds, also when the browser holds on to it.
- Somebody aims them at a third party: they are links of the edge like any other, which sends to addresses that answered.
"""

from __future__ import annotations

import asyncio
from functools import partial

from tenants.errors import Refused

from . import sdp
from .edge import Edge
from .path import Event
from .peer import Link

MOST = 128  # a test opens up to five
LIFE = 15.0  # seconds, longer than a page waits for one way


class Probes:
    """The trials of one worker."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._open: dict[Link, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, text: object) -> str:
        """Our answer to a browser's offer, in which nothing is sent either way. Raises Refused: "probes-full" 503, and those of `sdp`."""
        offer = sdp.parse_offer(text, {})
        if len(self._open) >= MOST:
            raise Refused("probes-full", 503)
        link = self._edge.link(_ignore, lambda state: self._changed(link, state))
        self._open[link] = asyncio.get_running_loop().call_later(LIFE, partial(self._end, link))
        link.start(offer.fingerprints)
        link.remote = (offer.ufrag, offer.pwd)
        ours = sdp.Transport(self._edge.listening, link.ufrag, link.pwd, link.fingerprint, link.session)
        return sdp.answer(offer, ours, 1)

    def close(self) -> None:
        """End all trials."""
        for link in list(self._open):
            self._end(link)

    def _changed(self, link: Link, state: str) -> None:
        if state in ("failed", "closed"):
            self._end(link)

    def _end(self, link: Link) -> None:
        timer = self._open.pop(link, None)
        if timer is not None:
            timer.cancel()
            link.close()


def _ignore(event: Event) -> None:
    """A trial has no track, so there is nothing to be told."""
