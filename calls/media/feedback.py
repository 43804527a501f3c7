"""Lost packets, key frames, bandwidth: what is asked of publishers, and how often. Arithmetic only; nothing here sends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from .peer import NackGenerator, RtcpReceiverInfo, RtpPacket
from .sink import Packet

KEY_FRAME_GAP = 0.4  # seconds between two requests for one track, whoever asks
MOST_MISSING = 32  # numbers named in one request
LONGEST_JUMP = 512  # a wider gap is a new beginning, not loss: nothing keeps packets that long
REPEAT_SECONDS = 0.1
MOST_REPEATS = 10
CEILINGS = {"cam": 1_500_000, "screen": 2_500_000}  # bit/s
LOWER_LAYERS = 500_000  # bit/s more for a source that is sent in several layers
FLOOR = 150_000
HIGH_LOSS, LOW_LOSS = 0.10, 0.02
GROWTH = 1.08  # per second
REPORT_LIFE = 5.0  # seconds a listener's report counts


class KeyFrames:
    """At most one key-frame request per 0.4 s and track. One that came too early is remembered (`wanted`), not lost."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self.wanted = False

    def want(self) -> None:
        """Somebody needs a key frame."""
        self.wanted = True

    def due(self, now: float) -> bool:
        """True when a request must be sent now; the caller sends it."""
        if not self.wanted or now - self._last < KEY_FRAME_GAP:
            return False
        self.wanted, self._last = False, now
        return True


class Statistics:
    """What RFC 3550 (appendix A.3 and A.8) counts of one stream, by the clock that it is told."""

    def __init__(self, clock_rate: int) -> None:
        self._clock_rate = clock_rate
        self.base: int | None = None
        self.highest = self.cycles = self.received = 0
        self._jitter = self._arrival = self._timestamp = 0
        self._expected_before = self._received_before = 0

    def add(self, packet: Packet, now: float) -> None:
        """Note one packet, in order or late."""
        number, begun = packet.sequence_number, self.base is not None
        self.received += 1
        if self.base is None:
            self.base = number
        elif not 0 < (number - self.highest) & 0xFFFF < 0x8000:
            return
        elif number < self.highest:
            self.cycles += 1 << 16
        arrival = int(now * self._clock_rate)
        self.highest = number
        if begun and packet.timestamp != self._timestamp:
            passed = (packet.timestamp - self._timestamp + 0x80000000) % 0x100000000 - 0x80000000
            self._jitter += abs(arrival - self._arrival - passed) - ((self._jitter + 8) >> 4)
        self._arrival, self._timestamp = arrival, packet.timestamp

    @property
    def expected(self) -> int:
        return self.cycles + self.highest - (self.base or 0) + 1

    @property
    def jitter(self) -> int:
        """In units of the stream's clock."""
        return min(max(self._jitter >> 4, 0), 0xFFFFFFFF)

    @property
    def lost(self) -> int:
        """As many as 24 bits hold."""
        return min(max(self.expected - self.received, -(1 << 23)), (1 << 23) - 1)

    def fraction(self) -> int:
        """Of 256, how many were lost since this was last asked."""
        expected, received = self.expected - self._expected_before, self.received - self._received_before
        self._expected_before, self._received_before = self.expected, self.received
        return 0 if expected <= max(received, 0) else min(((expected - received) << 8) // expected, 255)


class Reception:
    """What arrived of one track, what is missing, and the report about it (RFC 3550 section 6.4, RFC 4585 section 6.2.1).

    `gave_up`: a number was asked for so often that it is not any more; whoever reads it sets it back.
    """

    def __init__(self, clock_rate: int) -> None:
        self._nack = NackGenerator()
        self._statistics = Statistics(clock_rate)
        self._asked: dict[int, tuple[int, float]] = {}  # how often each missing number was asked for, and when last
        self._asked_at = float("-inf")
        self._report: tuple[int, float] | None = None
        self.gave_up = False

    def add(self, packet: Packet, now: float) -> list[int]:
        """Note one packet; returns the numbers to ask for at once, when it revealed a gap."""
        self._statistics.add(packet, now)
        highest = self._nack.max_seq
        if highest is not None and packet.sequence_number == (highest + 1) & 0xFFFF and not self._nack.missing:  # as nearly all
            self._nack.max_seq = packet.sequence_number
            return []
        seen = cast(RtpPacket, packet)  # only the sequence number is read
        if highest is not None and LONGEST_JUMP < (packet.sequence_number - highest) & 0xFFFF < 0x8000:
            self._nack = NackGenerator()
        return self._ask(now) if self._nack.add(seen) else []

    def repaired(self, sequence_number: int) -> None:
        """A number came as a repair: it is missing no more."""
        self._nack.missing.discard(sequence_number)

    def repeat(self, now: float) -> list[int]:
        """The numbers to ask for again: those still missing that were not asked for within 100 ms, at most ten times each."""
        return self._ask(now) if self._nack.missing and now - self._asked_at >= REPEAT_SECONDS else []

    def _ask(self, now: float) -> list[int]:
        """A newer gap does not bring the next turn of an older number nearer: its answer may be under way."""
        missing = self._nack.missing
        due = [number for number in missing if number not in self._asked or now - self._asked[number][1] >= REPEAT_SECONDS]
        for number in due:
            if self._asked.get(number, (0, now))[0] >= MOST_REPEATS:
                missing.discard(number)
                self.gave_up = True
        told = sorted(number for number in due if number in missing)[-MOST_MISSING:]
        self._asked = {number: asked for number, asked in self._asked.items() if number in missing}
        self._asked |= {number: (self._asked.get(number, (0, now))[0] + 1, now) for number in told}
        self._asked_at = now
        return told

    def sender_report(self, ntp: int, now: float) -> None:
        """Remember the publisher's last report, so that it can measure the way there and back."""
        self._report = ((ntp >> 16) & 0xFFFFFFFF, now)

    def report(self, ssrc: int, now: float) -> RtcpReceiverInfo | None:
        """The block about `ssrc` for a receiver report; None before the first packet."""
        seen = self._statistics
        if seen.base is None:
            return None
        last, at = self._report or (0, now)
        return RtcpReceiverInfo(
            ssrc=ssrc,
            fraction_lost=seen.fraction(),
            packets_lost=seen.lost,
            highest_sequence=(seen.cycles + seen.highest) & 0xFFFFFFFF,
            jitter=seen.jitter,
            lsr=last,
            dlsr=int((now - at) * 65536) & 0xFFFFFFFF,
        )


class Ceiling:
    """The rate that a video source may use: a fixed cap, lowered by what its listeners lose (D16).

    A listener's own bandwidth estimate is never passed on: it follows what it is sent, and collapses. Where there are `several`
    layers, losses lower nothing: whoever loses is sent a lower one, and everybody else keeps the best.
    """

    def __init__(self, source: str, several: bool = False) -> None:
        self._several = several
        self._cap = CEILINGS[source] + (LOWER_LAYERS if several else 0)
        self._rate = float(self._cap)
        self._losses: dict[str, tuple[float, float]] = {}
        self._at: float | None = None

    @property
    def rate(self) -> int:
        """Bits per second."""
        return int(self._rate)

    def lost(self, listener: str, fraction: float, now: float) -> None:
        """One listener's receiver report: the fraction (0 to 1) of its copy that did not arrive."""
        if self._several:
            return
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
