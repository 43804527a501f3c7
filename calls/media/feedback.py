"""Lost packets, key frames, bandwidth: what is asked of publishers, and how often. Arithmetic only; nothing here sends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from .peer import NackGenerator, RtcpReceiverInfo, RtpPacket, StreamStatistics
from .sink import Packet

KEY_FRAME_GAP = 0.4  # seconds between two requests for one track, whoever asks
MOST_MISSING = 32  # numbers named in one request
LONGEST_JUMP = 512  # a wider gap is a new beginning, not loss: nothing keeps packets that long
REPEAT_SECONDS = 0.1
MOST_REPEATS = 10
CEILINGS = {"cam": 1_500_000, "screen": 2_500_000}  # bit/s
FLOOR = 150_000
HIGH_LOSS, LOW_LOSS = 0.10, 0.02
GROWTH = 1.08  # per second
REPORT_LIFE = 5.0  # seconds a listener's report counts


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


class KeyFrames:
    """At most one key-frame request per 0.4 s and track. One that came too early is remembered, not lost."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._wanted = False

    def want(self) -> None:
        """Somebody needs a key frame."""
        self._wanted = True

    def due(self, now: float) -> bool:
        """True when a request must be sent now; the caller sends it."""
        if not self._wanted or now - self._last < KEY_FRAME_GAP:
            return False
        self._wanted, self._last = False, now
        return True


class Reception:
    """What arrived of one track, what is missing, and the report about it (RFC 3550 section 6.4, RFC 4585 section 6.2.1)."""

    def __init__(self, clock_rate: int) -> None:
        self._nack = NackGenerator()
        self._statistics = StreamStatistics(clock_rate)
        self._repeats: dict[int, int] = {}
        self._asked_at = float("-inf")
        self._report: tuple[int, float] | None = None

    def add(self, packet: Packet, now: float) -> list[int]:
        """Note one packet; returns the numbers to ask for at once, when it revealed a gap."""
        seen = cast(RtpPacket, packet)  # both counters read the sequence number and the timestamp, nothing else
        self._statistics.add(seen)
        highest = self._nack.max_seq
        if highest is not None and LONGEST_JUMP < (packet.sequence_number - highest) & 0xFFFF < 0x8000:
            self._nack = NackGenerator()
        return self._ask(now) if self._nack.add(seen) else []

    def repaired(self, sequence_number: int) -> None:
        """A number came as a repair: it is missing no more."""
        self._nack.missing.discard(sequence_number)

    def repeat(self, now: float) -> list[int]:
        """The numbers to ask for again: those still missing, at most ten times each."""
        return self._ask(now) if self._nack.missing and now - self._asked_at >= REPEAT_SECONDS else []

    def _ask(self, now: float) -> list[int]:
        missing = self._nack.missing
        for number in list(missing):
            if self._repeats.get(number, 0) >= MOST_REPEATS:
                missing.discard(number)
        self._repeats = {number: self._repeats.get(number, 0) + 1 for number in missing}
        self._asked_at = now
        return sorted(missing)[-MOST_MISSING:]

    def sender_report(self, ntp: int, now: float) -> None:
        """Remember the publisher's last report, so that it can measure the way there and back."""
        self._report = ((ntp >> 16) & 0xFFFFFFFF, now)

    def report(self, ssrc: int, now: float) -> RtcpReceiverInfo | None:
        """The block about `ssrc` for a receiver report; None before the first packet."""
        seen = self._statistics
        if seen.max_seq is None:
            return None
        last, at = self._report or (0, now)
        return RtcpReceiverInfo(
            ssrc=ssrc,
            fraction_lost=min(seen.fraction_lost, 255),
            packets_lost=seen.packets_lost,
            highest_sequence=(seen.cycles + seen.max_seq) & 0xFFFFFFFF,
            jitter=min(max(seen.jitter, 0), 0xFFFFFFFF),
            lsr=last,
            dlsr=int((now - at) * 65536) & 0xFFFFFFFF,
        )


class Ceiling:
    """The rate that a video source may use: a fixed cap, lowered by what its listeners lose (D16).

    A listener's own bandwidth estimate is never passed on: it follows what it is sent, and collapses.
    """

    def __init__(self, source: str) -> None:
        self._cap = CEILINGS[source]
        self._rate = float(self._cap)
        self._losses: dict[str, tuple[float, float]] = {}
        self._at: float | None = None

    @property
    def rate(self) -> int:
        """Bits per second."""
        return int(self._rate)

    def lost(self, listener: str, fraction: float, now: float) -> None:
        """One listener's receiver report: the fraction (0 to 1) of its copy that did not arrive."""
        self._losses[listener] = (fraction, now)
        if fraction > HIGH_LOSS:
            self._rate = max(FLOOR, self._rate * (1 - fraction / 2))

    def forget(self, listener: str) -> None:
        """A listener is gone, and its losses with it."""
        self._losses.pop(listener, None)

    def grow(self, now: float) -> None:
        """Called about once a second: 8 % per second while no listener loses 2 % or more."""
        elapsed, self._at = (0.0 if self._at is None else min(now - self._at, 5.0)), now
        if all(fraction < LOW_LOSS for fraction in self._fresh(now)):
            self._rate = min(self._cap, self._rate * GROWTH**elapsed)

    def _fresh(self, now: float) -> Iterable[float]:
        return [fraction for fraction, at in self._losses.values() if now - at <= REPORT_LIFE]
