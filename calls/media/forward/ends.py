"""The ends of connections as the Python path knows them, and what is opened, sealed and sent for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ..congestion import Arrivals, Sent
from ..path import Address, End, Event
from ..srtp import SRTP_ERRORS, Open, opening
from .allowance import Allowance, Rates
from .copies import Outgoing
from .sending import Outside, Way
from .tracks import Found, Track


class Side:
    """What the path knows of one end: as publisher its tracks and SSRCs, as listener its copies."""

    def __init__(self, end: End, rates: Rates, outside: Outside, now: int) -> None:
        self.end, self.way = end, Way(outside, end.address)
        self.open: Open = _unattached
        self.control = Allowance(rates.control, now)
        self.tracks: list[Track] = []
        self.by_ssrc: dict[int, Found] = {}
        self.copies: dict[int, tuple[Track, Outgoing]] = {}
        self.senders: set[int] = set()
        self.reporters: set[int] = set()
        self.arrivals = Arrivals()
        self.sent = Sent()
        self.events: list[Event] = []

    def attach(self) -> None:
        """The sessions of its end stand."""
        self.way.attach(self.end)
        self.open = opening(self.end.sessions[0])

    def detach(self) -> None:
        """They are not touched again."""
        self.way.detach()
        self.open = _unattached


def _unattached(sealed: bytes) -> bytes:
    """Where no session is, nothing is opened."""
    raise ValueError("there is no session")


class Ends:
    """What `PythonPath` stands on: nothing here knows who is given what."""

    def __init__(
        self,
        counters: Counter[str],
        send: Callable[[bytes, Address], bool],
        clock: Callable[[], float],
        wall_offset_us: int = 0,
        rates: Rates | None = None,
    ) -> None:
        self._counters, self._clock, self._wall_offset_us = counters, clock, wall_offset_us
        self._outside = Outside(counters, send, clock)
        self._is_fenced = self._outside.is_fenced
        self._rates = rates or Rates()
        self._sides: dict[int, Side] = {}
        self._heard: dict[Address, int] = {}
        self._tracks: dict[int, Track] = {}  # by number, as are their publishers
        self._owners: dict[int, Side] = {}

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    # The fence.
    def allow(self, until_us: int | None) -> None:
        self._outside.until_us = until_us

    # Ends.
    def attach(self, end: End) -> None:
        self._side(end).attach()

    def detach(self, end: End) -> None:
        side = self._sides.pop(end.number, None)
        if side is not None:
            side.detach()

    def hear(self, address: Address, end: End) -> None:
        self._heard[address] = end.number

    def unhear(self, address: Address) -> None:
        self._heard.pop(address, None)

    def move(self, end: End, address: Address | None) -> None:
        self._side(end).way.move(address)

    def _side(self, end: End) -> Side:
        side = self._sides.get(end.number)
        if side is None:
            side = self._sides[end.number] = Side(end, self._rates, self._outside, self._now())
        return side

    def send_rtcp(self, end: End, clear: bytes) -> None:
        side = self._sides.get(end.number)
        if side is None or side.way.is_shut() or side.way.address is None:
            return
        try:
            sealed = end.sessions[1].protect_rtcp(clear)
        except SRTP_ERRORS:
            self._counters["srtp-unsent"] += 1
            return
        self._outside.send(sealed, side.way.address)

    def send_rtp(self, end: End, clear: bytes) -> bool:
        """Seal and send one packet; False when it did not go out."""
        side = self._sides.get(end.number)
        return side is not None and side.way.goes(clear)

    def forget_ssrc(self, end: End, ssrc: int) -> None:
        side = self._sides.get(end.number)
        if side is None or not side.way.attached:
            return
        try:
            end.sessions[1].remove_stream(ssrc)
        except SRTP_ERRORS:
            self._counters["srtp-unused"] += 1
