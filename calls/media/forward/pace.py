"""When to read: where bursts follow each other closely it is worth waiting a moment, because a wake-up costs as much as several packets."""

from __future__ import annotations

BUSY_US = 500  # bursts closer together than this on average
REST_SECONDS = 0.001
_LONGEST_US = 100_000  # what counts of a silence


class Pace:
    """Bursts, which is what comes of one sender without another's packets between it, and how far they are apart."""

    def __init__(self) -> None:
        self._sender: object = None
        self._bursts = self._last_us = 0
        self._between_us = _LONGEST_US

    def heard(self, sender: object) -> None:
        """A datagram of this sender was read."""
        if sender is not self._sender:
            self._sender = sender
            self._bursts += 1

    def rest(self, now: int) -> float:
        """Everything that had come by this moment was read: the seconds to wait before the next look; 0.0: until something comes."""
        if not self._bursts:
            return 0.0
        since, self._last_us = min(now - self._last_us, _LONGEST_US), now
        self._between_us += (since // self._bursts - self._between_us) // 8
        self._sender, self._bursts = None, 0
        return REST_SECONDS if self._between_us < BUSY_US else 0.0
