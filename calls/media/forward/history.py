"""One layer as it arrives: its numbering, its history, its sender reports."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from .. import sdp
from ..feedback import Reception
from ..path import Layer, LayerSeen, Shape
from ..sink import Packet

HISTORY = 512  # packets kept per layer for listeners that lost some
NEVER = -1  # an id that no extension has
TOO_OLD = 1024  # numbers behind the highest; SRTP would not seal them either


class Numbering:
    """Publisher's numbers to ours: the same, less the padding-only packets dropped below each number.

    Numbers are unwrapped here (they grow past 65535), so that a late packet finds the offset of its own range.
    """

    def __init__(self) -> None:
        self.highest: int | None = None
        self._skipped: list[int] = []
        self._forgotten = 0
        self._shift = 0
        self._restart_at: int | None = None

    def unwrap(self, sequence_number: int) -> int | None:
        """The long form of a number; None when it is too old. Two successive ones from elsewhere restart (RFC 3550 A.1)."""
        number = (sequence_number + self._shift) & 0xFFFF
        if self.highest is None:
            self.highest = number + 0x10000
            return self.highest
        if number == (self.highest + 1) & 0xFFFF:  # as nearly all
            self._restart_at = None
            return self.highest + 1
        ahead = (number - self.highest) & 0xFFFF
        found = self.highest + (ahead if ahead < 0x8000 else ahead - 0x10000)
        if found > self.highest - TOO_OLD:
            self._restart_at = None
        elif self._restart_at == sequence_number:
            found = self.highest + 1
            self._shift = (found - sequence_number) & 0xFFFF
            self._restart_at = None
        else:
            self._restart_at = (sequence_number + 1) & 0xFFFF
            return None
        return found

    def reached(self, number: int) -> None:
        """Note a number as seen."""
        self.highest = number if self.highest is None else max(self.highest, number)

    def skip(self, number: int) -> None:
        """Drop `number`, the highest so far: later ones move down by one."""
        self._skipped.append(number)
        old = bisect_left(self._skipped, number - 2 * TOO_OLD)
        self._forgotten += old
        del self._skipped[:old]

    def skipped(self, number: int) -> bool:
        """Was `number` dropped?"""
        at = bisect_left(self._skipped, number)
        return at < len(self._skipped) and self._skipped[at] == number

    def ours(self, number: int) -> int:
        """The (long) number under which listeners know it."""
        return number - self._forgotten - bisect_right(self._skipped, number)


@dataclass(slots=True)
class Kept:
    """One packet as it was first sent: our number, the send time that goes into every copy (24 bits of 64 seconds), and its key-frame bit.

    `arrived_us` is when it came here. It is `usual` when no stretch begins with it, and copies have nothing to take over but its payload. Nothing
    of it changes afterwards.
    """

    number: int
    packet: Packet
    sent_at: int
    starts_key_frame: bool
    arrived_us: int
    usual: bool


class LayerStream:
    """One encoding of a track."""

    def __init__(self, index: int, declared: Layer, kind: str) -> None:
        self.index, self.rid = index, declared.rid
        self.ssrc, self.repair_ssrc = declared.ssrc, declared.repair_ssrc
        self.numbering = Numbering()
        self.reception = Reception(sdp.CLOCK_RATES[kind])
        self.history: list[Kept | None] = [None] * HISTORY
        self.report: tuple[int, int] | None = None
        self.passes_report_from = 0
        self.packets = self.octets = 0
        self.last_us: int | None = None

    def kept(self, number: int) -> Kept | None:
        """The packet that copies know under this long number, while it is kept."""
        found = self.history[number % HISTORY]
        return found if found is not None and found.number == number else None

    def later(self, kept: Kept) -> Iterator[Kept]:
        """What is kept behind this packet: where it is the newest, nothing."""
        highest = kept.number if self.numbering.highest is None else self.numbering.ours(self.numbering.highest)
        return (found for number in range(kept.number + 1, highest + 1) if (found := self.kept(number)))

    def holds(self, number: int) -> bool:
        """Is the packet under this number of the publisher kept?"""
        return self.kept(self.numbering.ours(number)) is not None

    def seen(self, starving: bool) -> LayerSeen:
        return LayerSeen(self.packets, self.octets, self.last_us, starving)

    def origin(self) -> int | None:
        """The RTP time of NTP time 0 by the last sender report, which tells how the clocks of two layers differ."""
        if self.report is None:
            return None
        ntp, rtp = self.report
        return (rtp - (ntp * 90000 >> 32)) & 0xFFFFFFFF


class Ids:
    """The publisher's ids of the extensions that are looked for in each packet."""

    def __init__(self, shape: Shape) -> None:
        ids = shape.extensions
        self.mid, self.rid, self.repaired_rid = ids.get(sdp.MID), ids.get(sdp.RID), ids.get(sdp.REPAIRED_RID)
        self.orientation, self.level = ids.get(sdp.ORIENTATION, NEVER), ids.get(sdp.AUDIO_LEVEL, NEVER)
        self.transport = ids.get(sdp.TRANSPORT_CC, NEVER)
