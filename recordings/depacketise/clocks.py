"""RTP timestamps to recording time: by the publisher's sender reports, and by arrival where there is none that fits."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median_low
from typing import NamedTuple

from ..journal import Item, read_clock_pair

FAR_US = 2_000_000  # a clock that is this far off the arrival is not believed
STALLED_US = 10_000_000  # but between two reports that agree a packet may have been held up on its way for so long
AGREED_US = 100_000
REPORTS_PER_SECOND = 10  # RFC 3550 section 6.2 asks for one in five seconds, browsers send one a second; a flood is thinned to this

_NTP_ERA = 1 << 64


class Report(NamedTuple):
    """A sender report: when it arrived, and the publisher's clock in microseconds and RTP time at one moment."""

    arrival_us: int
    ntp_us: int
    rtp: int


def signed(difference: int, bits: int) -> int:
    """From one wrapping number to another, the shorter way round: for timestamps right over six hours of video, twelve of sound."""
    half = 1 << (bits - 1)
    return ((difference + half) & ((1 << bits) - 1)) - half


def _microseconds(ntp: int) -> int:
    """64-bit NTP time; a first bit of 0 is the era that begins in 2036 (RFC 4330 section 3)."""
    return ((ntp if ntp >> 63 else ntp + _NTP_ERA) * 1_000_000) >> 32


def read_reports(items: Iterable[Item]) -> list[Report]:
    """The sender reports among `items`. At most ten of a second are kept."""
    found: list[Report] = []
    for item in items:
        if item.kind != b"S":
            continue
        if len(found) >= REPORTS_PER_SECOND and item.arrival_us - found[-REPORTS_PER_SECOND].arrival_us < 1_000_000:
            continue
        try:
            ntp, rtp = read_clock_pair(item.data)
        except struct.error:
            continue
        found.append(Report(item.arrival_us, _microseconds(ntp), rtp & 0xFFFFFFFF))
    return found


def _smallest(reports: Iterable[Report]) -> int | None:
    """The smallest way from the publisher's clock to the arrival. Reports far off the middle one are of no clock that can be used."""
    offsets = [report.arrival_us - report.ntp_us for report in reports]
    if not offsets:
        return None
    middle = median_low(offsets)
    return min(offset for offset in offsets if abs(offset - middle) <= FAR_US)


def clock_offset(items: Iterable[Item]) -> int | None:
    """Arrival minus the publisher's NTP time in microseconds, the smallest over the sender reports of a journal; None without one."""
    return _smallest(read_reports(items))


@dataclass(slots=True, eq=False)
class Stretch:
    """Timestamps that advance steadily. `offset_us` is the smallest (arrival - time in the stretch) so far."""

    timestamp: int
    ticks: int
    offset_us: int


class Arrivals:
    """Sorts packets, as they arrive, into stretches: a timestamp that is far off its arrival begins a new one."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._stretches: list[Stretch] = []  # the present one, and the one before for packets that come late

    def add(self, timestamp: int, arrival_us: int) -> tuple[Stretch, int]:
        """The stretch of a packet and its time in it, in microseconds."""
        for stretch in self._stretches:
            advance = signed(timestamp - stretch.timestamp, 32)
            time_us = (stretch.ticks + advance) * 1_000_000 // self._rate
            if abs(arrival_us - time_us - stretch.offset_us) > FAR_US:
                continue
            stretch.offset_us = min(stretch.offset_us, arrival_us - time_us)
            if advance > 0:
                stretch.timestamp, stretch.ticks = timestamp, stretch.ticks + advance
            return stretch, time_us
        begun = Stretch(timestamp, 0, arrival_us)
        self._stretches = [begun, *self._stretches[:1]]
        return begun, 0


class Clock:
    """The publisher's clock in one journal. `offset_us` is the participant's; where this journal's own is far from it, its own counts."""

    def __init__(self, reports: list[Report], rate: int, offset_us: int | None) -> None:
        own = _smallest(reports)
        if own is not None and (offset_us is None or abs(own - offset_us) > FAR_US):
            offset_us = own
        known = [] if offset_us is None else [report._replace(ntp_us=report.ntp_us + offset_us) for report in reports]
        self._reports = [report for report in known if abs(report.arrival_us - report.ntp_us) <= FAR_US]
        self._arrivals = [report.arrival_us for report in self._reports]
        self._rate = rate

    def time(self, timestamp: int, arrival_us: int) -> int | None:
        """The recording time of a timestamp by the reports around its arrival; None when none fits.

        Between two that agree it is interpolated. Two that do not stand on both sides of a jump, or one is wrong: the reading counts that
        is nearest to the arrival; where neither fits, of the next two as well.
        """
        after = bisect_right(self._arrivals, arrival_us)
        if 0 < after < len(self._reports):
            before, behind = self._reports[after - 1], self._reports[after]
            by_before, by_behind = self._reading(before, timestamp), self._reading(behind, timestamp)
            if abs(by_behind - by_before) <= AGREED_US:
                found = _between(before.ntp_us, behind.ntp_us, by_before, by_behind)
                if -FAR_US <= arrival_us - found <= STALLED_US:
                    return found
        for reach in (1, 2):
            readings = [self._reading(report, timestamp) for report in self._reports[max(after - reach, 0) : after + reach]]
            nearest = min(readings, key=lambda reading: abs(arrival_us - reading), default=None)
            if nearest is not None and abs(arrival_us - nearest) <= FAR_US:
                return nearest
        return None

    def _reading(self, report: Report, timestamp: int) -> int:
        return report.ntp_us + signed(timestamp - report.rtp, 32) * 1_000_000 // self._rate


def _between(first_us: int, second_us: int, by_first: int, by_second: int) -> int:
    """From one reading to the other as time goes from report to report, so that no step is heard."""
    if second_us <= first_us:
        return by_second
    share = min(max((by_first - first_us) / (second_us - first_us), 0.0), 1.0)
    return by_first + round((by_second - by_first) * share)
