"""Packets back in the order in which they were sent: numbers that wrap, doubles, late ones, a publisher that begins anew."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from .clocks import Stretch, signed

WINDOW_US = 2_000_000  # how long a number is waited for; a relay asks for a lost packet ten times in one second
MOST_BYTES = 16 * 1024 * 1024  # of payload that waits; a flood is put in order over less time
MOST_LATE = 1024  # numbers behind the highest: older ones fell out of the replay window of SRTP (RFC 3711 section 3.3.2)
LONGEST_GAP = 3000  # a number further ahead must be confirmed by a second one near it (RFC 3550 appendix A.1)
NEAR = 100


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a packet says, when it arrived, and where it lies in its stretch of steady timestamps."""

    sequence_number: int
    timestamp: int
    marker: bool
    payload: bytes
    arrival_us: int
    stretch: Stretch
    stretch_us: int

    @property
    def time_us(self) -> int:
        """Recording time by the smallest way of its stretch so far, for want of a report."""
        return self.stretch_us + self.stretch.offset_us


@dataclass(frozen=True, slots=True)
class Numbered:
    """A packet and its long number, which does not wrap."""

    number: int
    packet: Arrived


class _Numbers:
    """16-bit numbers to long ones. `stray` waits for a second number from the same far place; alone it is left out."""

    def __init__(self, tally: Counter[str]) -> None:
        self._highest: int | None = None
        self._stray: Arrived | None = None
        self._tally = tally

    def add(self, packet: Arrived) -> list[Numbered]:
        if self._highest is None:
            self._highest = packet.sequence_number + 0x10000  # so that the first to arrive need not be the first sent
        ahead = (packet.sequence_number - self._highest) & 0xFFFF
        if ahead < LONGEST_GAP:
            self.close()
            self._highest += ahead
            return [Numbered(self._highest, packet)]
        if ahead >= 0x10000 - MOST_LATE:
            return [Numbered(self._highest + ahead - 0x10000, packet)]
        stray, self._stray = self._stray, packet
        if stray is None:
            return []
        apart = signed(packet.sequence_number - stray.sequence_number, 16)
        if not 0 < abs(apart) <= NEAR:
            self._tally["stray"] += 1
            return []
        # Numbers only grow: one that is behind by more than can be late is a new beginning after everything so far.
        first = self._highest + ((stray.sequence_number - self._highest) & 0xFFFF)
        self._stray, self._highest = None, first + max(apart, 0)
        return [Numbered(first, stray), Numbered(first + apart, packet)]

    def close(self) -> None:
        """No second one came."""
        if self._stray is not None:
            self._tally["stray"] += 1
            self._stray = None


def in_order(packets: Iterable[Arrived], tally: Counter[str]) -> Iterator[Numbered]:
    """Each packet once, by number. One is held until something arrived two seconds after it, so what waits is bounded."""
    numbers = _Numbers(tally)
    waiting: dict[int, Numbered] = {}
    heap: list[int] = []
    arrivals: deque[Numbered] = deque()
    size, done = 0, -1
    for packet in packets:
        for one in numbers.add(packet):
            if one.number <= done or one.number in waiting:
                tally["late" if one.number <= done else "repeated"] += 1
                continue
            waiting[one.number] = one
            heappush(heap, one.number)
            arrivals.append(one)
            size += len(one.packet.payload)
        while arrivals and (arrivals[0].packet.arrival_us + WINDOW_US <= packet.arrival_us or size > MOST_BYTES):
            until = arrivals.popleft().number
            while heap and heap[0] <= until:
                done = heappop(heap)
                one = waiting.pop(done)
                size -= len(one.packet.payload)
                yield one
    numbers.close()
    while heap:
        yield waiting[heappop(heap)]
