"""The layers of a track as they arrive, and which of them a listener is to be sent. Arithmetic only; nothing here sends."""

from __future__ import annotations

from .path import TrackSeen

LIVE_US = 1_000_000  # a layer that was silent for longer is not there
RATE_SECONDS = 1.0  # over which a rate is smoothed


class Meter:
    """How each layer of one track arrives: `rates` in bit/s, whether it is `live`, whether somebody waits for its key frame."""

    def __init__(self, layers: int) -> None:
        self.rates = [0.0] * layers
        self.live = [False] * layers
        self.starving = [False] * layers
        self.loudness = 0.0
        self._octets = [0] * layers
        self._at: float | None = None

    def note(self, seen: TrackSeen, now: float) -> None:
        """Take in what the packet path saw until now (seconds)."""
        elapsed, self._at = (now - self._at if self._at is not None else 0.0), now
        share = min(1.0, elapsed / RATE_SECONDS)
        for index, layer in enumerate(seen.layers):
            self.live[index] = layer.last_us is not None and now * 1_000_000 - layer.last_us <= LIVE_US
            self.starving[index] = layer.starving
            if elapsed > 0:
                rate = (layer.octets - self._octets[index]) * 8 / elapsed
                self.rates[index] += (rate - self.rates[index]) * share
            self._octets[index] = layer.octets
        self.loudness = seen.level / seen.levels if seen.levels else 0.0

    @property
    def best(self) -> int:
        """The best layer that is live; the worst while none is."""
        return max((index for index, live in enumerate(self.live) if live), default=0)
