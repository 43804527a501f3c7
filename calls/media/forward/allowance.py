"""How much one sender may make the path do: packets and octets a second, counted only after SRTP has authenticated them.

Before that anybody who forges a source address could spend somebody else's allowance. So what is over it is opened first; then its source is
shut for a moment, and what comes meanwhile is dropped unopened: a flood costs little more than reading it from the socket.
"""

from __future__ import annotations

from dataclasses import dataclass

HELD_US = 2_000_000  # this long a silence fills an allowance; so much may come at once
SHUT_US = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Packets and octets a second, headers and seals included."""

    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What a track of each kind may bring, all its layers and repairs together, and what an end may bring of control packets."""

    audio: Rate = Rate(200, 64_000)  # Opus: at most 510 kbit/s, 100 packets a second of 10 ms
    video: Rate = Rate(1_200, 1_500_000)  # 12 Mbit/s, some five times what a publisher is told to send
    control: Rate = Rate(500, 64_000)

    def of(self, kind: str) -> Rate:
        """The rate of a track of this kind."""
        return self.audio if kind == "audio" else self.video


_FREE = Rate(1_000_000, 1_000_000_000)
WITHOUT_LIMIT = Rates(_FREE, _FREE, _FREE)  # for measurements and tests of the path itself


class Allowance:
    """Credit in microseconds, of packets and of octets; both are full at the start. What comes before `shut_until` is to be dropped unopened."""

    __slots__ = ("_at", "_octets", "_packets", "_rate", "shut_until", "_step")

    def __init__(self, rate: Rate, now: int) -> None:
        self._rate, self._packets, self._octets, self._at, self.shut_until = rate.octets, HELD_US, HELD_US, now, now
        self._step = 1_000_000 // rate.packets

    def take(self, octets: int, now: int) -> bool:
        """Spend one packet of `octets`. False when there is not enough: nothing is spent then, and the source is shut for a moment."""
        if (passed := now - self._at) > 0:
            self._at = now
            self._packets = min(HELD_US, self._packets + passed)
            self._octets = min(HELD_US, self._octets + passed)
        volume = octets * 1_000_000 // self._rate
        if self._packets < self._step or self._octets < volume:
            self.shut_until = now + SHUT_US
            return False
        self._packets -= self._step
        self._octets -= volume
        return True
