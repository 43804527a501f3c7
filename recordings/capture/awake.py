"""Whether this process has stood still, and a recorder's ear that is deaf until capture has noticed.

A process may be stopped, or its machine sleep, between any two instructions. What then waits for it, packets that were put down or a
reading of the database, comes to it as if nothing had been, while others may have taken its calls and counted its journals. So each turn
of capture asks first, and no packet enters whose turn came too long after the last one.
"""

from __future__ import annotations

from collections.abc import Callable

from calls import placement
from calls.media.sink import Packet

from ..recorder import Recorder

FORFEIT = placement.LEASE.total_seconds()  # between two turns: whoever was away for longer may have lost every call


class Awake:
    """When capture had its last turn, by `clock`, and since when it has not stood still."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.turn = self.since = clock()

    def stands_still(self, now: float) -> bool:
        """Has the time from the last turn to this moment been too long? Nothing is changed by asking."""
        return now - self.turn > FORFEIT

    def stood_still(self) -> bool:
        """A turn begins: had too long passed since the last one? Then nothing read before this moment counts (`since`)."""
        now = self._clock()
        stood, self.turn = now - self.turn > FORFEIT, now
        if stood:
            self.since = now
        return stood


class Ear:
    """A recorder on its track. It hears nothing between a stand-still and the turn in which capture notices.

    `path_clock` is the clock of packets' arrivals; the recorder is told them by `clock`, which goes on while the machine sleeps.
    """

    def __init__(self, recorder: Recorder, awake: Awake, clock: Callable[[], float], path_clock: Callable[[], float]) -> None:
        self._recorder, self._awake, self._clock, self._path_clock = recorder, awake, clock, path_clock

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        now = self._clock()
        if not self._awake.stands_still(now):
            self._recorder.packet(packet, raw, self._moment(now, arrived))

    def heard(self, raw: bytes, start: int, length: int, arrived: float) -> None:
        now = self._clock()
        if not self._awake.stands_still(now):
            self._recorder.heard(raw, start, length, self._moment(now, arrived))

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        now = self._clock()
        if not self._awake.stands_still(now):
            self._recorder.sender_report(ntp, rtp, self._moment(now, arrived))

    def closed(self, reason: str) -> None:
        self._recorder.closed(reason)

    def _moment(self, now: float, arrived: float) -> float:
        return now - (self._path_clock() - arrived)
