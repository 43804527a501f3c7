"""A sink that turns packets into sealed journal records; knows no Django. It is handed an open file and a data key.

What must never happen here, and what holds it:
- A packet is kept after the cut: `stop`, `abandon`, `drop_after` and `closed` shut the intake before they do anything else.
- Clear media touches a disk: a packet waits in memory, for a second at most, and leaves it sealed.
- A full disk ends the call: an OSError makes the recorder give up, visibly (`fault`), and nothing is raised into the packet path.
- A key outlives its epoch: END is sealed, or given up, and then the only reference to the derived key goes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import BinaryIO

from calls.media.sink import Packet, starts_key_frame

from .journal import Writer, clock_pair
from .sealing import Context

RECORD_US = 1_000_000  # the longest interval of one record
RECORD_BYTES = 512 * 1024  # of one record: a flood is sealed in pieces that stay in the processor's cache, and memory stays bounded
KEY_FRAME_SECONDS = 4.0
FIRST_KEY_FRAME_SECONDS = 0.5  # nothing can be decoded before it: a lost request or picture must not cost four seconds
DESCRIBED = 16  # octets of a payload that tell whether a key frame begins
PICTURES = frozenset({"cam", "screen"})

_log = logging.getLogger(__name__)


class Recorder:
    """Records one track under one decision. All moments are monotonic seconds of one clock; `started` is the recording's time 0.

    It takes packets until it is stopped, abandoned, cut back or told that its track is over (`ended` says why). In the last two
    cases the journal is still open: whoever made the recorder then calls `stop` or `abandon`. `fault`: writing failed and the journal
    has no END. `uncut`: records that had to go could not be cut off, so whoever reads the journal must leave out those that end after
    `kept_until_us`.
    """

    def __init__(
        self,
        file: BinaryIO,
        data_key: bytes,
        context: Context,
        *,
        started: float,
        ask_for_key_frame: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._started, self._clock = started, clock
        self._ask = ask_for_key_frame if context.source in PICTURES else None
        self._asked_at: float | None = None
        self._can_be_decoded = False
        self._items: list[tuple[int, bytes, bytes]] = []  # as `journal.Item`
        self._first_us = self._last_us = 0  # of them
        self._waiting_bytes = self._packets = self._stored_until_us = 0
        self._cut_us: int | None = None
        self._file = file
        self._writer: Writer | None = None
        self.stored_at: float | None = None
        self.ended: str | None = None
        self.fault = self.uncut = False
        try:
            self._writer = Writer(file, data_key, context)
        except OSError as error:
            self._give_up(error)

    @property
    def packets(self) -> int:
        """How many RTP packets the stored records hold."""
        return self._writer.packets if self._writer else self._packets

    @property
    def kept_until_us(self) -> int | None:
        """Where records that are not kept begin to end, in microseconds since the recording's start; None when the file holds no such."""
        return self._cut_us if self.uncut else None

    @property
    def done(self) -> bool:
        """Is the journal closed and the key gone?"""
        return self._writer is None

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        """Keep one packet. Padding-only ones carry nothing and are left out."""
        if self.ended is None and packet.payload:
            self._keep(raw, packet.payload, arrived)

    def heard(self, raw: bytes, start: int, length: int, arrived: float) -> None:
        """The same of a packet that nobody has read yet."""
        if self.ended is None and length:
            self._keep(raw, b"" if self._can_be_decoded else raw[start : start + min(length, DESCRIBED)], arrived)

    def _keep(self, raw: bytes, payload: bytes, arrived: float) -> None:
        self._take(b"P", raw, arrived)
        if not self._can_be_decoded:
            self._can_be_decoded = starts_key_frame(payload)
        if self._asked_at is None:
            self._ask_when_due(arrived)

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        """Keep the publisher's pair of clocks: lip-sync is repaired with it."""
        if self.ended is None:
            self._take(b"S", clock_pair(ntp, rtp), arrived)

    def closed(self, reason: str) -> None:
        """The track is over. The journal stays open, because a withdrawal that was decided earlier may still cut it back."""
        if self.ended is None:
            self.ended = reason

    def tick(self, now: float) -> None:
        """To be called a few times a second: stores what has waited for a second, and asks for a key frame when one is due."""
        if self._items and self._us(now) - self._first_us >= RECORD_US:
            self._seal()
        if self.ended is None:
            self._ask_when_due(now)

    def stop(self, reason: str, now: float) -> None:
        """Store what arrived before, seal END, close the file, forget the key. A second call does nothing."""
        self.ended = self.ended or reason
        self._seal()
        self._finish(reason, self._us(now))

    def abandon(self, confirmed_until: float, reason: str, now: float) -> None:
        """Permission could not be confirmed: keep only records whose interval ends by `confirmed_until`, then end as `stop` does."""
        self.ended = self.ended or reason
        self.drop_after(min(confirmed_until, now))
        self.stop(reason, now)

    def forfeit(self, reason: str) -> None:
        """Whoever closes what lost workers left open may have read this journal by now: leave the file as it is, without END; the key goes."""
        self.ended = self.ended or reason
        self._forget_waiting()
        if self._writer is not None:
            self._file.close()
            self._forget_key()

    def drop_after(self, moment: float) -> int:
        """A withdrawal was decided at `moment`: shut the intake and drop, whole, every record whose interval ends later.

        Returns how many stored records went. A file that was given up before is closed and cannot be cut any more: then it is `uncut`.
        """
        self.ended = self.ended or "withdrawn"
        cut_us = self._us(moment)
        self._cut_us = cut_us if self._cut_us is None else min(cut_us, self._cut_us)
        if self._items and self._last_us > cut_us:
            self._forget_waiting()
        if self._writer is None:
            self.uncut = self.uncut or (self.fault and self._stored_until_us > cut_us)
            return 0
        keep, before = self._writer.ending_by(cut_us), self._writer.records
        try:
            if keep < before:
                self._writer.truncate_to(keep)
        except OSError as error:
            self.uncut = True
            self._give_up(error)
        return before - keep

    def _us(self, moment: float) -> int:
        """Microseconds since the recording's start; what came before it counts as its first moment."""
        return max(0, round((moment - self._started) * 1_000_000))

    def _take(self, kind: bytes, data: bytes, arrived: float) -> None:
        arrival = round((arrived - self._started) * 1_000_000)
        if arrival < self._last_us:  # what came before the start counts as its first moment
            arrival = self._last_us
        if self._items and (arrival - self._first_us >= RECORD_US or self._waiting_bytes >= RECORD_BYTES):
            self._seal()
            if self._writer is None:
                return
        if not self._items:
            self._first_us = arrival
        self._last_us = arrival
        self._items.append((arrival, kind, data))
        self._waiting_bytes += len(data)

    def _seal(self) -> None:
        """Store what waits as one record."""
        items = self._items
        if not items or self._writer is None:
            return
        try:
            self._writer.append(self._first_us, self._last_us - self._first_us, items)
        except OSError as error:
            self._give_up(error)
            return
        self._forget_waiting()
        self.stored_at = self._clock()

    def _forget_waiting(self) -> None:
        self._items = []
        self._waiting_bytes = 0

    def _ask_when_due(self, now: float) -> None:
        gap = KEY_FRAME_SECONDS if self._can_be_decoded else FIRST_KEY_FRAME_SECONDS
        if self._ask and (self._asked_at is None or now - self._asked_at >= gap):
            self._asked_at = now
            self._ask()

    def _finish(self, reason: str, now_us: int) -> None:
        writer = self._writer
        if writer is None:
            return
        cut_us = now_us if self._cut_us is None else min(self._cut_us, now_us)
        try:
            writer.end(reason, cut_us, writer.packets, writer.last_valid)
        except OSError as error:
            self._give_up(error)
        else:
            self._forget_key()

    def _give_up(self, error: OSError) -> None:
        """Close without END. What was stored before stays; the key goes."""
        _log.error("a journal could not be written (%s); its track is not captured any more", error.strerror)
        self.fault = True
        self.ended = self.ended or "fault"
        self._forget_waiting()
        try:
            self._file.close()
        except OSError as closing:
            _log.error("a journal could not be closed: %s", closing.strerror)
        self._forget_key()

    def _forget_key(self) -> None:
        if self._writer is not None:
            self._packets, self._stored_until_us = self._writer.packets, self._writer.last_end_us
        self._writer = None
        self._forget_waiting()
