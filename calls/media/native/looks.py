"""How tracks arrive, as the C side counts it: read once for all who ask at the same moment, since each reading waits for the media thread's lock."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_int64
from typing import Any

from ..path import LayerSeen, TrackSeen

FRESH_SECONDS = 0.002  # that one reading serves: rooms look one after the other in one turn of the loop
_OF_TRACK = _OF_LAYER = 4  # numbers, as `cleac_look` writes them


class Looks:
    """The newest reading. What has changed a track ends it (`forget`), so that nobody is told what was before their own command."""

    def __init__(self, look: Callable[..., int], engine: int, clock: Callable[[], float]) -> None:
        self._look, self._engine, self._clock = look, engine, clock
        self._room: Any = (c_int64 * 256)()
        self._numbers: list[int] = []
        self._places: dict[int, int] = {}
        self._ends = float("-inf")
        self._heard: dict[int, tuple[int, int]] = {}

    def forget(self) -> None:
        """Whoever asks next is told anew."""
        self._ends = float("-inf")

    def seen(self, track: int) -> TrackSeen:
        """As `MediaPath.seen`."""
        if self._clock() >= self._ends:
            self._read()
        numbers, at = self._numbers, self._places[track]
        level, levels, count = numbers[at + 1 : at + _OF_TRACK]
        first = at + _OF_TRACK
        before, self._heard[track] = self._heard.get(track, (0, 0)), (level, levels)
        layers = []
        for place in range(first, first + _OF_LAYER * count, _OF_LAYER):
            packets, octets, last_us, starving = numbers[place : place + _OF_LAYER]
            layers.append(LayerSeen(packets, octets, last_us if last_us >= 0 else None, starving > 0))
        return TrackSeen(tuple(layers), level - before[0], levels - before[1])

    def closed(self, track: int) -> None:
        """This track is not asked for any more."""
        self._heard.pop(track, None)
        self.forget()

    def _read(self) -> None:
        while (size := self._look(self._engine, self._room, len(self._room))) > len(self._room):
            self._room = (c_int64 * (2 * size))()
        self._ends = self._clock() + FRESH_SECONDS
        self._numbers = numbers = memoryview(self._room).cast("B").cast("q")[:size].tolist()
        self._places, at = {}, 0
        while at < size:
            self._places[numbers[at]] = at
            at += _OF_TRACK + _OF_LAYER * numbers[at + 3]
