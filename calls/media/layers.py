"""The layers of a track as they arrive. Arithmetic only; nothing here sends."""

from __future__ import annotations

from .path import TrackSeen

LIVE_US = 1_000_000  # a layer that was silent for longer is not there
RATE_SECONDS = 1.0  # over which a rate is smoothed; of a layer that began later, since then


class Meter:
    """How each layer of one track arrives: `rates` in bit/s, `packets` a second, whether it is `live`, whether somebody waits for a key frame.

    `arriving`: the rates in whole bit/s, None of a layer that is not live. `pattern`: `live` as a tuple, the same object while nothing changes.
    """

    def __init__(self, layers: int) -> None:
        self.rates = [0.0] * layers
        self.packets = [0.0] * layers
        self.live = [False] * layers
        self.pattern = tuple(self.live)
        self.arriving: tuple[int | None, ...] = (None,) * layers
        self.starving = [False] * layers
        self.loudness = 0.0
        self._octets = [0] * layers
        self._age = [0.0] * layers
        self._packets = [0] * layers
        self._at: float | None = None

    def note(self, seen: TrackSeen, now: float) -> None:
        """Take in what the packet path saw until now (seconds)."""
        elapsed, self._at = (now - self._at if self._at is not None else 0.0), now
        since, arriving = now * 1_000_000 - LIVE_US, list[int | None]()
        for index, (packets, octets, last_us, starving) in enumerate(seen.layers):
            self.live[index] = live = last_us is not None and last_us >= since
            self.starving[index] = starving
            if elapsed > 0:
                self._pass(index, elapsed, octets - self._octets[index], packets - self._packets[index])
            self._octets[index], self._packets[index] = octets, packets
            arriving.append(round(self.rates[index]) if live else None)
        self.arriving = tuple(arriving)
        if self.live != [*self.pattern]:
            self.pattern = tuple(self.live)
        self.loudness = seen.level / seen.levels if seen.levels else 0.0

    def _pass(self, layer: int, elapsed: float, octets: int, packets: int) -> None:
        """So much came of a layer in the last `elapsed` seconds."""
        age = self._age[layer] = min(RATE_SECONDS, self._age[layer] + elapsed) if self.live[layer] else 0.0
        share = min(1.0, elapsed / (age or RATE_SECONDS))
        self.rates[layer] += (octets * 8 / elapsed - self.rates[layer]) * share
        self.packets[layer] += (packets / elapsed - self.packets[layer]) * share

    @property
    def best(self) -> int:
        """The best layer that is live; the worst while none is."""
        return max((index for index, live in enumerate(self.live) if live), default=0)
