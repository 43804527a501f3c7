"""A link that a clock moved by hand drives: packets stand in its queue, fall off its end, or are lost at random, from a seed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from calls.media.congestion import Sent
from calls.media.estimate import Estimate

SIZE = 1_100  # octets of a packet
STEP = 0.02  # seconds
BACK = 0.04  # seconds that feedback is under way


@dataclass
class Link:
    """`capacity` in bit/s; `queue` seconds of it fit into the queue; `way` in seconds."""

    capacity: float
    way: float = 0.03
    queue: float = 0.5
    loss: float = 0.0
    seed: int = 1
    free_at: float = 0.0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def arrival(self, now: float) -> float | None:
        """When a packet sent now arrives; None: never."""
        start = max(now, self.free_at)
        if start - now > self.queue:
            return None
        self.free_at = start + SIZE * 8 / self.capacity
        return None if self._random.random() < self.loss else self.free_at + self.way


@dataclass
class Trip:
    """An estimate at work on a link: what is sent follows `pick(estimate)`, in bit/s."""

    link: Link
    pick: Callable[[int], float]
    wanted: float = 3_000_000
    now: float = 1000.0
    rates: list[tuple[float, int]] = field(default_factory=list)
    sent_rates: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.estimate = Estimate(self.now)
        self.sent = Sent()
        self.arrived = self.lost = 0
        self._due: deque[tuple[float, int, int | None]] = deque()
        self._credit = 0.0
        self._told = self.now

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            rate = self.pick(self.estimate.rate)
            self.sent_rates.append(rate)
            self._credit += rate * STEP / 8
            while self._credit >= SIZE:
                self._credit -= SIZE
                self._send()
            self._tell()
            self.estimate.tick(self.now, rate, self.wanted)
            self.rates.append((self.now, self.estimate.rate))

    def _send(self) -> None:
        number = self.sent.number(SIZE, int(self.now * 1e6))
        at = self.link.arrival(self.now)
        self.arrived, self.lost = self.arrived + (at is not None), self.lost + (at is None)
        told = (self.link.free_at + self.link.way if at is None else at) + BACK
        self._due.append((told, number, None if at is None else int(at * 1e6)))

    def _tell(self) -> None:
        if self.now - self._told < 0.1:
            return
        self._told = self.now
        told = []
        while self._due and self._due[0][0] <= self.now:
            told.append(self._due.popleft()[1:])
        self.sent.heed(told, int(self.now * 1e6))
        if found := self.sent.take(int(self.now * 1e6)):
            self.estimate.heed(found, self.now)

    def least(self, seconds: float) -> int:
        """The least estimate of the last seconds."""
        return min(rate for at, rate in self.rates if at > self.now - seconds)

    def most(self, seconds: float) -> int:
        return max(rate for at, rate in self.rates if at > self.now - seconds)

    def mean_sent(self, seconds: float) -> float:
        found = self.sent_rates[-int(seconds / STEP) :]
        return sum(found) / len(found)
