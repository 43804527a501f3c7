"""From the packets of a journal to encoded frames at their places in time, after the call. Nothing is decoded; knows no Django.

What must never happen here, and what holds it:
- Something is given out that did not arrive within the decision: what arrived outside `within` is not read, no time lies outside it.
- A picture that a decoder cannot build stops the player: after a loss nothing is given out until the next key frame.
- A publisher's packets stop the job or fill the memory: what cannot be read is dropped and counted, and what waits is bounded.

Sound and picture of one participant meet again because both are placed by the publisher's own clock (RFC 3550 section 6.4.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from calls.media.sdp import CLOCK_RATES, KINDS
from calls.media.sink import Packet

from ..journal import Item
from ..webm import Frame
from .clocks import Arrivals, Clock, clock_offset, read_reports
from .codecs import Pictures, Sounds
from .order import Arrived, in_order

__all__ = ["Damaged", "Frame", "clock_offset", "frames"]


class Damaged(Exception):
    """The journal holds packets, and not one of them can be read."""


def frames(
    items: Callable[[], Iterable[Item]],
    source: str,
    *,
    offset_us: int | None,
    within: tuple[int, int],
    tally: Counter[str] | None = None,
) -> Iterator[Frame]:
    """The frames of one journal in the order of their capture, their times strictly rising and inside `within` (first arrival, cut).

    `items` is called twice: once for the sender reports, once for the packets. `offset_us` is the smallest `clock_offset` of the
    participant's journals, so that its sources stay together. `tally` counts what was left out: packets `outside` the interval, `malformed`,
    of a `foreign` SSRC, `repeated`, too `late` or `stray`; pictures `incomplete`, `invalid` or `undecodable`. Raises `Damaged`.
    """
    tally = Counter() if tally is None else tally
    rate = CLOCK_RATES[KINDS[source]]
    first_us, cut_us = within
    clock = Clock(read_reports(_inside(items(), within, Counter())), rate, offset_us)
    codec = Pictures(tally) if KINDS[source] == "video" else Sounds(tally)
    last_us = first_us - 1
    for packet in in_order(_arrived(_inside(items(), within, tally), Arrivals(rate), tally), tally):
        for encoded in codec.add(packet):
            found = clock.time(encoded.first.timestamp, encoded.arrival_us)
            time_us = encoded.first.time_us if found is None else found
            last_us = max(min(time_us, encoded.arrival_us), last_us + 1)  # nothing was captured after it arrived
            if last_us > cut_us:
                tally["outside"] += 1
                return
            yield Frame(last_us, encoded.key, encoded.data)


def _inside(items: Iterable[Item], within: tuple[int, int], tally: Counter[str]) -> Iterator[Item]:
    for item in items:
        if within[0] <= item.arrival_us <= within[1]:
            yield item
        else:
            tally["outside"] += 1


def _arrived(items: Iterable[Item], arrivals: Arrivals, tally: Counter[str]) -> Iterator[Arrived]:
    """The packets of the one stream, each with its place by arrival. Raises `Damaged` at the end when none could be read."""
    ssrc: int | None = None
    unread = 0
    for item in items:
        if item.kind != b"P":
            continue
        try:
            packet = Packet.parse(item.data)
        except ValueError:
            tally["malformed"] += 1
            unread += 1
            continue
        ssrc = packet.ssrc if ssrc is None else ssrc
        if packet.ssrc != ssrc:
            tally["foreign"] += 1
        elif packet.payload:
            stretch, stretch_us = arrivals.add(packet.timestamp, item.arrival_us)
            numbers = packet.sequence_number, packet.timestamp
            yield Arrived(*numbers, packet.marker, packet.payload, item.arrival_us, stretch, stretch_us)
    if ssrc is None and unread:
        raise Damaged("no packet can be read")
