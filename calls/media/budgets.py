"""Token buckets: how much somebody may ask for, and tables of them whose size has a limit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MOST_SOURCES = 4096


class Bucket:
    """A token bucket: `rate` tokens per second, at most `burst`."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, now

    def take(self, now: float) -> bool:
        """Spend one token; False when there is none."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Budgets:
    """A token bucket per source, for at most `most` sources; the one unused for longest makes room."""

    def __init__(self, clock: Callable[[], float], most: int = MOST_SOURCES) -> None:
        self._clock, self._most = clock, most
        self._buckets: OrderedDict[object, Bucket] = OrderedDict()

    def take(self, source: object, rate: float, burst: float) -> bool:
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = Bucket(rate, burst, self._clock())
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(source)
        return bucket.take(self._clock())

    def forget(self, source: object) -> None:
        """This source will not ask again; should it all the same, its bucket is full."""
        self._buckets.pop(source, None)

    def __len__(self) -> int:
        return len(self._buckets)
