"""How much one listener's connection takes. Arithmetic only; nothing here sends, and nothing of it is told to a publisher (D16).

Three things lower the estimate: packets stand in queues (transport-cc), many are lost (transport-cc, else receiver reports), the
listener's own estimate is below what it is sent (REMB, only where there is no transport-cc). It grows while none of them holds, also
where less is sent than it says: the next better layer is then the probe. What the connection carried when it took no more is
remembered as `wall`, and the estimate stays below it for a while that doubles each time the wall stands where it stood.
"""

from __future__ import annotations

import math
from collections import deque

from .path import Estimated, Event, Feedback, Lost

START, FLOOR, MOST = 2_000_000, 100_000, 30_000_000  # bit/s
GROWTH, SLOW_GROWTH = 1.15, 1.05  # per second
BACK_OFF = 0.85  # of what was carried
LONG_QUEUE_US, SHORT_QUEUE_US = 80_000, 30_000
HIGH_LOSS, LOW_LOSS, HEAVY_LOSS = 0.10, 0.02, 0.25
LOSS_PACKETS, LOSS_SECONDS = 200, 3.0  # of which loss is measured, whichever comes first; of heavy loss a few suffice
FEW_PACKETS = 30
REPORTED = 50  # packets that a receiver report stands for
LOSS_SHARE = 0.4  # loss alone takes no more than the rest of it: what halving does not cure is no congestion
SETTLE = 0.8  # seconds until what was lowered shows
RETRY, LONGEST_RETRY = 8.0, 64.0  # seconds below the wall
FRESH = 3.0  # seconds that feedback counts
MEASURED_US = 400_000  # of arrival time, before a rate is believed
STANDING = 1  # back-offs without effect: a longer way, not a queue


class Estimate:
    """`rate` in bit/s, always from FLOOR to MOST. Moments are seconds of the monotonic clock."""

    def __init__(self, now: float) -> None:
        self._rate = float(START)
        self._wall: float | None = None
        self._retry, self._retry_at = RETRY, now
        self._settled_at = self._ticked_at = now
        self._told_at: float | None = None
        self._recent: deque[Feedback] = deque(maxlen=8)
        self._queue = self._standing = 0
        self._in_vain = 0
        self._first_queue: int | None = None
        self._loss = 0.0
        self._losses = (0, 0, now)
        self._lossy_from: float | None = None
        self._remb: tuple[int, float] | None = None

    @property
    def rate(self) -> int:
        """Bits per second that may be sent."""
        return int(self._rate)

    def heed(self, event: Event, now: float) -> None:
        """Take in what the listener said."""
        if isinstance(event, Feedback):
            self._told_at = now
            self._recent.append(event)
            self._note_queue(event.queue_us, now)
            self._note_loss(event.lost, event.received + event.lost, now)
        elif isinstance(event, Estimated) and not self._is_told(now):
            self._remb = (event.rate, now)
        elif isinstance(event, Lost) and not self._is_told(now):
            self._note_loss(event.fraction * REPORTED // 256, REPORTED, now)

    def tick(self, now: float, sent: float, wanted: float) -> None:
        """A few times a second: `sent` is the rate of the pictures that flow, `wanted` that of the best that could be shown."""
        elapsed, self._ticked_at = min(1.0, max(0.0, now - self._ticked_at)), now
        if sent > FLOOR and self._told_at is not None and not self._is_told(now):
            self._set(self._rate * 0.7**elapsed)  # nothing is told of what is sent: the way may be dead
            return
        if self._remb is not None and now - self._remb[1] <= FRESH and not self._is_told(now) and self._remb[0] < sent:
            if now >= self._settled_at:
                self._meet_wall(self._remb[0], now)
            return
        if self._queue <= SHORT_QUEUE_US and self._loss <= HIGH_LOSS and now >= self._settled_at:
            self._grow(elapsed, now, wanted)

    def _grow(self, elapsed: float, now: float, wanted: float) -> None:
        limit = wanted
        if self._wall is not None and now < self._retry_at:
            limit = min(limit, self._wall * 0.95)
        if self._rate < limit:
            self._set(min(limit, self._rate * (GROWTH if self._loss <= LOW_LOSS else SLOW_GROWTH) ** elapsed))

    def _is_told(self, now: float) -> bool:
        return self._told_at is not None and now - self._told_at <= FRESH

    def _set(self, rate: float) -> None:
        self._rate = min(float(MOST), max(float(FLOOR), rate))

    def _carried(self) -> float | None:
        """What arrived in the last moments, in bit/s; None before enough has."""
        elapsed = octets = 0
        for told in reversed(self._recent):
            elapsed, octets = elapsed + told.elapsed_us, octets + told.acknowledged
            if elapsed >= MEASURED_US:
                return octets * 8_000_000 / elapsed
        return None

    # Queues.
    def _note_queue(self, queue_us: int, now: float) -> None:
        self._standing = min(self._standing, queue_us)
        before, self._queue = self._queue, queue_us - self._standing
        if self._queue <= SHORT_QUEUE_US:
            self._in_vain, self._first_queue = 0, None
            carried = self._carried()
            if self._wall is not None and carried is not None and carried > 1.1 * self._wall:
                self._wall, self._retry = None, RETRY
        elif self._queue > LONG_QUEUE_US and self._queue > 0.9 * before and now >= self._settled_at:
            self._back_off(queue_us, now)

    def _back_off(self, queue_us: int, now: float) -> None:
        """More is sent than goes through. A queue that is the same after several of them is none."""
        if self._first_queue is None:
            self._first_queue = queue_us
        self._in_vain += 1
        steady = abs(queue_us - self._first_queue) < self._first_queue / 4 and not self._recent[-1].lost
        if self._in_vain > STANDING and steady:
            self._standing, self._queue, self._in_vain, self._first_queue = queue_us, 0, 0, None
            return
        carried = self._carried()
        if carried is not None:
            self._meet_wall(carried, now)
        else:
            self._set(self._rate * BACK_OFF)
            self._settled_at = now + SETTLE / 2

    def _meet_wall(self, carried: float, now: float) -> None:
        same = self._wall is not None and 0.8 * self._wall <= carried <= 1.25 * self._wall
        if now >= self._retry_at:  # not the same meeting still
            self._retry = min(LONGEST_RETRY, 2 * self._retry) if same else RETRY
        self._wall = max(carried, float(FLOOR))
        self._set(min(self._rate, carried * BACK_OFF))
        self._settled_at, self._retry_at = now + SETTLE, now + self._retry

    # Loss.
    def _note_loss(self, lost: int, packets: int, now: float) -> None:
        """Measured anew after each decision, so that none rests on what was sent before it."""
        if now < self._settled_at:
            self._losses = (0, 0, now)
            return
        lost, packets, since = self._losses[0] + lost, self._losses[1] + packets, self._losses[2]
        heavy = packets >= FEW_PACKETS and _is_more(lost, packets, HEAVY_LOSS)
        if not heavy and packets < LOSS_PACKETS and (now - since < LOSS_SECONDS or packets < FEW_PACKETS):
            self._losses = (lost, packets, since)
            return
        self._loss, self._losses = min(1.0, lost / packets), (0, 0, now)
        if self._loss > HIGH_LOSS:
            self._lower_by_loss(heavy, now)
        elif self._loss < HIGH_LOSS / 2:
            self._lossy_from = None

    def _lower_by_loss(self, heavy: bool, now: float) -> None:
        carried = self._carried()
        base = self._rate if carried is None else min(self._rate, carried / max(0.1, 1 - self._loss))
        if self._lossy_from is None or heavy:
            self._lossy_from = base
        self._set(min(self._rate, max(base * (1 - self._loss / 2), LOSS_SHARE * self._lossy_from)))
        self._settled_at = now + SETTLE


def _is_more(lost: int, packets: int, share: float) -> bool:
    """Is more lost than this share, beyond what chance makes of so few packets? By three deviations, because it is asked ten times a second."""
    return lost - share * packets > 3 * math.sqrt(share * (1 - share) * packets)
