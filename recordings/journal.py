"""The captured format: packets with their arrival times in sealed records, appended while a call runs. `docs/formats.md` has the bytes.

What must never happen here, and what holds it:
- A counter is used twice: `Writer` never goes back, whatever it truncates, and nothing continues a file that another writer began.
- A crash is taken for tampering or the other way round: a record whose head is genuine (`records`) and whose end is missing is torn,
  and a length that somebody changed is not.

Without a key `heads` lists the intervals; it finds faults of form only. Times are microseconds since the recording's start.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

from . import records
from .records import END, Form, Heads, Place, RecordHead, SealedFile, canonical, facts_in, walk, write_whole
from .sealing import Context, Tampered

MAGIC: Final = b"CLEACJ1\n"
DATA: Final = 1

_FORM = Form(MAGIC, frozenset({DATA, END}), "journal")
_ITEM = Struct("!LcH")  # arrival after the record's start, kind, length
_PAIR = Struct("!QQ")


class Item(NamedTuple):
    """What arrived and when. `kind` is b"P" for a raw RTP packet in clear, b"S" for a pair of clocks (`clock_pair`)."""

    arrival_us: int
    kind: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """How the capture ended: why, the moment of the cut, how many packets the kept records hold, the last of their counters."""

    reason: str
    cut_us: int
    packets: int
    last_valid: int | None


@dataclass(frozen=True, slots=True)
class Record:
    """One verified DATA record."""

    head: RecordHead
    items: list[Item]


def clock_pair(ntp: int, rtp: int) -> bytes:
    """A sender report's pair as an item's 16 bytes: 64-bit NTP time, then the RTP time."""
    return _PAIR.pack(ntp, rtp)


def read_clock_pair(data: bytes) -> tuple[int, int]:
    """NTP and RTP time of an item of kind b"S"."""
    ntp, rtp = _PAIR.unpack(data)
    return ntp, rtp


def heads(file: BinaryIO) -> Heads:
    """The clear heads of a journal, for proof without keys. Raises `Tampered` on faults of form; only a key verifies the rest."""
    return records.heads(file, _FORM)


class Writer:
    """Writes one journal from its first byte. `file` is new, unbuffered and writable; errors of the file are raised as OSError.

    What a failed write left in the file is cut off again where the file allows it; its counter stays used.
    """

    def __init__(self, file: BinaryIO, data_key: bytes, context: Context) -> None:
        self._file, self._sealed = file, SealedFile.new(_FORM, data_key, context)
        self._start = self._size = 0
        # For each kept record: its counter, the end of its interval, where it ends in the file, packets up to and with it.
        self._counters, self._ends, self._offsets, self._packets = array("Q"), array("Q"), array("Q"), array("Q")
        self._write(self._sealed.head)
        self._start = self._size

    @property
    def records(self) -> int:
        """How many DATA records the file holds."""
        return len(self._counters)

    @property
    def packets(self) -> int:
        """How many RTP packets they hold."""
        return self._packets[-1] if self._packets else 0

    @property
    def last_valid(self) -> int | None:
        """The counter of the last of them."""
        return self._counters[-1] if self._counters else None

    @property
    def last_end_us(self) -> int:
        """Where the interval of the last of them ends; 0 without one."""
        return self._ends[-1] if self._ends else 0

    def ending_by(self, moment_us: int) -> int:
        """How many leading records have an interval that ends at `moment_us` or before."""
        return next((number for number, end in enumerate(self._ends) if end > moment_us), len(self._ends))

    def append(self, start_us: int, duration_us: int, items: Sequence[tuple[int, bytes, bytes]]) -> int:
        """Seal and store one record of items, in one write; returns its counter. No item may have arrived before `start_us`."""
        pieces, packets = list[bytes](), 0
        for arrival, kind, data in items:
            pieces += (_ITEM.pack(arrival - start_us, kind, len(data)), data)
            packets += kind == b"P"
        counter = self._store(DATA, start_us, duration_us, b"".join(pieces))
        self._packets.append(self.packets + packets)
        self._counters.append(counter)
        self._ends.append(start_us + duration_us)
        self._offsets.append(self._size)
        return counter

    def truncate_to(self, keep: int) -> None:
        """Keep the first `keep` records. The counters of the others stay used. Raises OSError when the file cannot be cut."""
        size = self._offsets[keep - 1] if keep else self._start
        self._file.truncate(size)
        self._file.seek(size)
        self._size = size
        for column in (self._counters, self._ends, self._offsets, self._packets):
            del column[keep:]

    def end(self, reason: str, cut_us: int, packets: int, last_valid: int | None) -> None:
        """Write END under the next unused counter and close the file; the disk is waited for by name (`storage.Store.sync`), not here.

        Raises ValueError on wrong facts.
        """
        if (packets, last_valid) != (self.packets, self.last_valid):
            raise ValueError("END must say what the file holds")
        clear = canonical({"cut_us": cut_us, "last_valid": last_valid, "packets": packets, "reason": reason})
        self._store(END, cut_us, 0, clear)
        self._file.close()

    def end_given_up(self) -> None:
        """Close the file without END: it stays incomplete, and what its whole records hold counts."""
        self._file.close()

    def _store(self, kind: int, start_us: int, duration_us: int, clear: bytes) -> int:
        counter = self._sealed.next_counter
        self._write(self._sealed.record(kind, start_us, duration_us, clear, self.last_valid))
        return counter

    def _write(self, whole: bytes) -> None:
        try:
            write_whole(self._file, whole)
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._size)
                self._file.seek(self._size)
            raise
        self._size += len(whole)


class Reader:
    """Reads and verifies one journal; raises `Tampered`, before anything is read, under another key or claim.

    Heads, order and END are verified at once, a record's content when `records` comes to it. `end` is None and `complete` False for
    a journal without END; `torn` counts the bytes at the tail that make no whole record. Of more than `counted` bytes the rest is not read.
    """

    def __init__(self, file: BinaryIO, data_key: bytes, context: Context, counted: int | None = None) -> None:
        self._file = file
        self.end: End | None = None
        self._places: list[tuple[Place, bytes]] = []
        size = file.seek(0, os.SEEK_END)
        size = self.torn = size if counted is None else min(size, counted)
        sealed = SealedFile.found(file, _FORM, data_key, context)
        if sealed is not None:
            self._sealed = sealed
            self._index(size)

    @property
    def complete(self) -> bool:
        return self.end is not None

    @property
    def heads(self) -> list[RecordHead]:
        """The verified heads of the DATA records, in order."""
        return [place.head for place, _ in self._places]

    def records(self) -> Iterator[Record]:
        """Every DATA record in order, verified one by one. May be called again."""
        packets = 0
        for place, binding in self._places:
            items = _items(self._sealed.open(self._file, place, binding), place.head.start_us)
            packets += sum(item.kind == b"P" for item in items)
            yield Record(place.head, items)
        if self.end is not None and packets != self.end.packets:
            raise Tampered("END counts other packets")

    def items(self) -> Iterator[Item]:
        """What the records hold, in order of arrival."""
        for record in self.records():
            yield from record.items

    def _index(self, size: int) -> None:
        previous: int | None = None
        tail = len(self._sealed.head)
        for place in walk(self._file, tail, size):
            binding = self._sealed.binding(place, previous)
            if self.end is not None:
                raise Tampered("something follows END")
            if not place.whole:
                break
            tail = place.end
            if place.head.type == END:
                self.end = self._read_end(place, binding, previous)
            else:
                self._places.append((place, binding))
                previous = place.head.counter
        self.torn = size - tail
        if self.end is not None and self.torn:
            raise Tampered("something follows END")

    def _read_end(self, place: Place, binding: bytes, previous: int | None) -> End:
        clear = self._sealed.open(self._file, place, binding)
        end = End(**facts_in(clear, reason=str, cut_us=int, packets=int, last_valid=int | None))
        if end.last_valid != previous:
            raise Tampered("END names another last record")
        return end


def _items(clear: bytes, start_us: int) -> list[Item]:
    found, position = [], 0
    try:
        while position < len(clear):
            delta, kind, length = _ITEM.unpack_from(clear, position)
            position += _ITEM.size + length
            if position > len(clear):
                raise Tampered("a record's items do not fit")
            found.append(Item(start_us + delta, kind, clear[position - length : position]))
    except struct.error:
        raise Tampered("a record's items do not fit") from None
    return found
