"""Which layer of a track one receiver is on, and how the numbers that it sees follow each other from layer to layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from . import vp8
from .history import Kept, LayerStream

MOST_STRETCHES = 4
FARTHEST_TIMESTAMP = 900_000  # ten seconds: what is farther ahead is not the same clock
_ALL_TIMESTAMPS = 0x100000000


@dataclass(frozen=True, slots=True)
class Stretch:
    """One layer from the number `since` (ours) on, and what is added to its numbers, timestamps, picture ids and TL0PICIDX."""

    layer: int
    since: int
    shift: int = 0
    timestamp: int = 0
    picture: int = 0
    tl0: int = 0

    @property
    def first(self) -> int:
        """The receiver's own first number of it."""
        return self.since + self.shift


class Course:
    """The state of one copy or tap. `target`: the layer wished for; None: paused."""

    def __init__(self, target: int | None, waits_for_key: bool) -> None:
        self.target, self.needs_key = target, False
        self.current: int | None = None
        self.stretches: list[Stretch] = []
        self.highest: int | None = None
        self._waits_for_key = waits_for_key
        self._timestamp = self._sent_us = 0
        self._payload = b""

    def choose(self, layer: int | None) -> None:
        """Go over to `layer` with its next key frame; None ends the current one at once."""
        self.target = layer
        if layer is None:
            self.current, self.needs_key = None, False

    @property
    def waiting_for(self) -> int | None:
        """The layer of which a key frame is needed, if any."""
        if not self._waits_for_key or (self.current == self.target and not self.needs_key):
            return None
        return self.target

    def place(self, stream: LayerStream, kept: Kept, streams: tuple[LayerStream, ...], now: int) -> tuple[Stretch, bool] | None:
        """The stretch under which this packet is passed on, and whether it begins there; None when it is not for this receiver."""
        begins = self._begins(stream, kept)
        if begins:
            self._open(stream, kept, streams, now)
        elif stream.index != self.current or self.needs_key:
            return None
        stretch = self.stretches[-1]
        return (stretch, begins) if kept.number >= stretch.since else None

    def _begins(self, stream: LayerStream, kept: Kept) -> bool:
        if stream.index != self.target:
            return False
        if not self._waits_for_key:
            return self.current is None
        if not kept.starts_key_frame:
            return False
        return self.current != stream.index or (self.needs_key and kept.number >= self.stretches[-1].since)

    def _open(self, stream: LayerStream, kept: Kept, streams: tuple[LayerStream, ...], now: int) -> None:
        if self.current == stream.index:
            self.stretches[-1] = replace(self.stretches[-1], since=kept.number)
        elif self.highest is None:
            self.stretches = [Stretch(stream.index, kept.number)]
        else:
            shift = self.highest + 1 - kept.number
            timestamp = self._timestamp_shift(stream, kept, streams, now)
            new = Stretch(stream.index, kept.number, shift, timestamp, *self._picture_shifts(kept))
            self.stretches = [*self.stretches[1 - MOST_STRETCHES :], new]
        self.current, self.needs_key = stream.index, False

    def _timestamp_shift(self, stream: LayerStream, kept: Kept, streams: tuple[LayerStream, ...], now: int) -> int:
        """By both layers' sender reports; by the time that has passed where that is not known or makes no sense."""
        old = self.stretches[-1]
        before, after = streams[old.layer].origin(), stream.origin()
        if before is not None and after is not None:
            shift = (old.timestamp + before - after) % _ALL_TIMESTAMPS
            if 1 <= (kept.packet.timestamp + shift - self._timestamp) % _ALL_TIMESTAMPS <= FARTHEST_TIMESTAMP:
                return shift
        passed = max(1, (now - self._sent_us) * 9 // 100)
        return (self._timestamp + passed - kept.packet.timestamp) % _ALL_TIMESTAMPS

    def _picture_shifts(self, kept: Kept) -> tuple[int, int]:
        if not self._waits_for_key:
            return 0, 0
        new, last = vp8.ids_of(kept.packet.payload), vp8.ids_of(self._payload)
        picture = (last.picture + 1 - new.picture) & 0x7FFF if new.picture is not None and last.picture is not None else 0
        tl0 = (last.tl0 + 1 - new.tl0) & 0xFF if new.tl0 is not None and last.tl0 is not None else 0
        return picture, tl0

    def passed(self, number: int, timestamp: int, payload: bytes, now: int) -> None:
        """A packet was passed on under this long number: what comes after a change of layer goes on from the highest."""
        if self.highest is None or number >= self.highest:
            self.highest, self._timestamp, self._sent_us = number, timestamp, now
            self._payload = payload or self._payload

    def back(self, number: int) -> tuple[Stretch, int] | None:
        """Which stretch a 16-bit number of the receiver belongs to, and the number there as ours."""
        if self.highest is None:
            return None
        long = self.highest - ((self.highest - number) & 0xFFFF)
        stretch = next((found for found in reversed(self.stretches) if found.first <= long), None)
        return None if stretch is None else (stretch, long - stretch.shift)
