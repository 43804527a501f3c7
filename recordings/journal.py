"""The captured format: packets with their arrival times in sealed records, appended while a call runs. `docs/formats.md` has the bytes.

What must never happen here, and what holds it:
- A counter is used twice: `Writer` never goes back, whatever it truncates, and nothing continues a file that another writer began.
- A record is lost, doubled, moved or brought back unnoticed: each is bound to the counter of the record before it in the file.
- A crash is taken for tampering or the other way round: every record head carries a keyed mark, so that a record whose head is
  genuine and whose end is missing is torn, and a length that somebody changed is not.

Without a key `heads` lists the intervals; it finds faults of form only. Times are microseconds since the recording's start.
"""

from __future__ import annotations

import errno
import hmac
import json
import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import BinaryIO, NamedTuple

from .sealing import ALGORITHM, MARK_SIZE, SALT_SIZE, Context, Sealer, Tampered

MAGIC = b"CLEACJ1\n"
VERSION = 1
DATA, END = 1, 2

_LENGTH = Struct("!L")
_RECORD = Struct("!BQQLL")  # type, counter, start, duration, length of what is sealed
_ITEM = Struct("!LcH")  # arrival after the record's start, kind, length
_COUNTER = Struct("!Q")
_PAIR = Struct("!QQ")
_NO_COUNTER = 2**64 - 1
_HEAD_SIZE = _RECORD.size + MARK_SIZE
_MOST_HEAD = 4096


class Item(NamedTuple):
    """What arrived and when. `kind` is b"P" for a raw RTP packet in clear, b"S" for a pair of clocks (`clock_pair`)."""

    arrival_us: int
    kind: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class FileHead:
    """The clear start of a file. `context` is the digest of the claim; nothing here is shared with another recording."""

    version: int
    algorithm: str
    salt: bytes
    commitment: bytes
    context: bytes
    epoch: str


@dataclass(frozen=True, slots=True)
class RecordHead:
    """The clear start of a record: DATA or END, its counter, its interval, and how many sealed bytes follow."""

    type: int
    counter: int
    start_us: int
    duration_us: int
    length: int

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us


@dataclass(frozen=True, slots=True)
class Heads:
    """What a file says without a key. `head` is None when the file was cut inside it; `torn` counts bytes of no whole record."""

    head: FileHead | None
    records: list[RecordHead]
    torn: int

    @property
    def complete(self) -> bool:
        return bool(self.records) and self.records[-1].type == END


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


class _Place(NamedTuple):
    """A record head found in a file, and where its sealed bytes begin. `whole`: all of them are there."""

    head: RecordHead
    raw: bytes
    mark: bytes
    body: int
    whole: bool


def clock_pair(ntp: int, rtp: int) -> bytes:
    """A sender report's pair as an item's 16 bytes: 64-bit NTP time, then the RTP time."""
    return _PAIR.pack(ntp, rtp)


def read_clock_pair(data: bytes) -> tuple[int, int]:
    """NTP and RTP time of an item of kind b"S"."""
    ntp, rtp = _PAIR.unpack(data)
    return ntp, rtp


def _canonical(facts: dict[str, object]) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _file_head(salt: bytes, commitment: bytes, context: Context) -> bytes:
    clear = _canonical(
        {
            "algorithm": ALGORITHM,
            "commitment": commitment.hex(),
            "context": context.digest().hex(),
            "epoch": str(context.epoch),
            "salt": salt.hex(),
            "version": VERSION,
        }
    )
    return MAGIC + _LENGTH.pack(len(clear)) + clear


def _parsed(clear: bytes) -> FileHead:
    """Read the clear JSON; raises `Tampered` when it is not a head of this version."""
    try:
        facts = json.loads(clear)
        salt, commitment, context = (bytes.fromhex(facts[name]) for name in ("salt", "commitment", "context"))
        head = FileHead(facts["version"], facts["algorithm"], salt, commitment, context, facts["epoch"])
    except (ValueError, KeyError, TypeError):
        raise Tampered("the head cannot be read") from None
    if head.version != VERSION or head.algorithm != ALGORITHM or len(head.salt) != SALT_SIZE:
        raise Tampered("the head names an unknown form")
    return head


def _read_file_head(file: BinaryIO, expected_length: int | None = None) -> bytes | None:
    """Everything before the first record, or None when the file was cut before its end. Raises `Tampered` on another form."""
    file.seek(0)
    raw = file.read(len(MAGIC) + _LENGTH.size)
    if not MAGIC.startswith(raw[: len(MAGIC)]):
        raise Tampered("not a journal")
    if len(raw) < len(MAGIC) + _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(raw, len(MAGIC))
    if length > _MOST_HEAD or expected_length not in (None, len(raw) + length):
        raise Tampered("the head's length was altered")
    clear = file.read(length)
    return raw + clear if len(clear) == length else None


def _walk(file: BinaryIO, position: int, size: int) -> Iterator[_Place]:
    """Every record head from `position` on. Ends at the tail, or after the first record that is not whole."""
    while size - position >= _HEAD_SIZE:
        file.seek(position)
        raw = file.read(_HEAD_SIZE)
        head = RecordHead(*_RECORD.unpack_from(raw))
        body, position = position + _HEAD_SIZE, position + _HEAD_SIZE + head.length
        yield _Place(head, raw[: _RECORD.size], raw[_RECORD.size :], body, position <= size)


def heads(file: BinaryIO) -> Heads:
    """The clear heads of a file, for proof without keys. Raises `Tampered` on faults of form; only a key verifies the rest."""
    size = file.seek(0, os.SEEK_END)
    clear = _read_file_head(file)
    if clear is None:
        return Heads(None, [], size)
    found: list[RecordHead] = []
    tail = len(clear)
    for place in _walk(file, tail, size):
        if place.head.type not in (DATA, END):
            raise Tampered("a record of an unknown type")
        if found and (found[-1].type == END or found[-1].counter >= place.head.counter):
            raise Tampered("records out of order")
        if place.whole:
            found.append(place.head)
            tail = place.body + place.head.length
    if found and found[-1].type == END and tail != size:
        raise Tampered("something follows END")
    return Heads(_parsed(clear[len(MAGIC) + _LENGTH.size :]), found, size - tail)


class Writer:
    """Writes one journal from its first byte. `file` is new, unbuffered and writable; errors of the file are raised as OSError.

    What a failed write left in the file is cut off again where the file allows it; its counter stays used.
    """

    def __init__(self, file: BinaryIO, data_key: bytes, context: Context) -> None:
        salt = os.urandom(SALT_SIZE)
        self._file, self._sealer = file, Sealer(data_key, salt, context)
        head = _file_head(salt, self._sealer.commitment, context)
        self._head_hash = sha256(head).digest()
        self._start = self._size = 0
        # For each kept record: its counter, the end of its interval, where it ends in the file, packets up to and with it.
        self._counters, self._ends, self._offsets, self._packets = array("Q"), array("Q"), array("Q"), array("Q")
        self._write(head)
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

    def ending_by(self, moment_us: int) -> int:
        """How many leading records have an interval that ends at `moment_us` or before."""
        return next((number for number, end in enumerate(self._ends) if end > moment_us), len(self._ends))

    def append(self, start_us: int, duration_us: int, items: Sequence[Item]) -> int:
        """Seal and store one record in one write; returns its counter. No item may have arrived before `start_us`."""
        clear = b"".join(_ITEM.pack(item.arrival_us - start_us, item.kind, len(item.data)) + item.data for item in items)
        counter = self._store(DATA, start_us, duration_us, clear)
        self._packets.append(self.packets + sum(item.kind == b"P" for item in items))
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
        """Write END under the next unused counter and wait until the file is on the disk. Raises ValueError on wrong facts."""
        if (packets, last_valid) != (self.packets, self.last_valid):
            raise ValueError("END must say what the file holds")
        clear = _canonical({"cut_us": cut_us, "last_valid": last_valid, "packets": packets, "reason": reason})
        self._store(END, cut_us, 0, clear)
        os.fsync(self._file.fileno())
        self._file.close()

    def end_given_up(self) -> None:
        """Close the file without END: it stays incomplete, and what its whole records hold counts."""
        self._file.close()

    def _store(self, kind: int, start_us: int, duration_us: int, clear: bytes) -> int:
        counter = self._sealer.next_counter
        raw = _RECORD.pack(kind, counter, start_us, duration_us, len(clear) + MARK_SIZE)
        aad = _bound(self._head_hash, raw, self.last_valid)
        self._write(raw + self._sealer.mark(aad) + self._sealer.seal(counter, aad, clear))
        return counter

    def _write(self, whole: bytes) -> None:
        try:
            if self._file.write(whole) != len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._size)
                self._file.seek(self._size)
            raise
        self._size += len(whole)


def _bound(head_hash: bytes, raw: bytes, previous: int | None) -> bytes:
    """What a record is bound to: its file, its own clear head, and the record before it."""
    return head_hash + raw + _COUNTER.pack(_NO_COUNTER if previous is None else previous)


class Reader:
    """Reads and verifies one journal; raises `Tampered`, before anything is read, under another key or claim.

    Heads, order and END are verified at once, a record's content when `records` comes to it. `end` is None and `complete` False for
    a journal without END; `torn` counts the bytes at the tail that make no whole record.
    """

    def __init__(self, file: BinaryIO, data_key: bytes, context: Context) -> None:
        self._file = file
        self.end: End | None = None
        self._places: list[tuple[_Place, bytes]] = []
        size = self.torn = file.seek(0, os.SEEK_END)
        expected = len(_file_head(bytes(SALT_SIZE), bytes(32), context))
        clear = _read_file_head(file, expected)
        if clear is None:
            return
        head = _parsed(clear[len(MAGIC) + _LENGTH.size :])
        self._sealer = Sealer(data_key, head.salt, context)
        if not hmac.compare_digest(clear, _file_head(head.salt, self._sealer.commitment, context)):
            raise Tampered("another key, another claim or an altered head")
        self._index(sha256(clear).digest(), len(clear), size)

    @property
    def complete(self) -> bool:
        return self.end is not None

    def records(self) -> Iterator[Record]:
        """Every DATA record in order, verified one by one. May be called again."""
        packets = 0
        for place, aad in self._places:
            items = _items(self._open(place, aad), place.head.start_us)
            packets += sum(item.kind == b"P" for item in items)
            yield Record(place.head, items)
        if self.end is not None and packets != self.end.packets:
            raise Tampered("END counts other packets")

    def items(self) -> Iterator[Item]:
        """What the records hold, in order of arrival."""
        for record in self.records():
            yield from record.items

    def _index(self, head_hash: bytes, tail: int, size: int) -> None:
        previous: int | None = None
        for place in _walk(self._file, tail, size):
            aad = _bound(head_hash, place.raw, previous)
            if self.end is not None or not hmac.compare_digest(place.mark, self._sealer.mark(aad)):
                raise Tampered("a record's head was altered, or a record is missing or out of place")
            if not place.whole:
                break
            tail = place.body + place.head.length
            if place.head.type == END:
                self.end = self._read_end(place, aad, previous)
            else:
                self._places.append((place, aad))
                previous = place.head.counter
        self.torn = size - tail
        if self.end is not None and self.torn:
            raise Tampered("something follows END")

    def _open(self, place: _Place, aad: bytes) -> bytes:
        self._file.seek(place.body)
        return self._sealer.open(place.head.counter, aad, self._file.read(place.head.length))

    def _read_end(self, place: _Place, aad: bytes, previous: int | None) -> End:
        facts = json.loads(self._open(place, aad))
        end = End(facts["reason"], facts["cut_us"], facts["packets"], facts["last_valid"])
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
