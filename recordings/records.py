"""What every sealed file has in common: a clear head, then sealed records, each bound to the file and to the record before it. No Django.

What must never happen here, and what holds it:
- A record is lost, doubled, moved or brought back unnoticed: each is bound to the counter of the record before it in the file.
- A length that somebody changed is taken for a file that was cut off, or makes the reader take memory for it: every record head
  carries a keyed mark, which is compared before anything behind it is read.
- One form is taken for the other: the first bytes name the form, and every record is bound to them.

`docs/formats.md` has the bytes. What the records hold is for `journal` and `playback` to say.
"""

from __future__ import annotations

import errno
import hmac
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from types import UnionType
from typing import Any, BinaryIO, Final, NamedTuple

from .sealing import ALGORITHM, MARK_SIZE, SALT_SIZE, TAG_SIZE, Context, Sealer, Tampered

VERSION: Final = 1
END: Final = 2  # the type of the last record, in every form

_LENGTH = Struct("!L")
_RECORD = Struct("!BQQLL")  # type, counter, start, duration, length of what is sealed
_COUNTER = Struct("!Q")
_NO_COUNTER = 2**64 - 1
_HEAD_SIZE = _RECORD.size + MARK_SIZE
_MOST_HEAD = 4096


class Form(NamedTuple):
    """A kind of file: its first bytes, the types of record that it has, and its name in messages."""

    magic: bytes
    types: frozenset[int]
    name: str


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
    """The clear start of a record: its type and counter, its interval, and how many sealed bytes follow."""

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


class Place(NamedTuple):
    """A record head found in a file, and where its sealed bytes begin. `whole`: all of them are there."""

    head: RecordHead
    raw: bytes
    mark: bytes
    body: int
    whole: bool

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.body + self.head.length

    @property
    def clear_length(self) -> int:
        """How many bytes it holds once it is opened."""
        return self.head.length - TAG_SIZE


def canonical(facts: dict[str, object]) -> bytes:
    """JSON in ASCII with sorted keys and no spaces."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def facts_in(clear: bytes, **kinds: type | UnionType) -> dict[str, Any]:
    """The JSON object that a record holds, with just these names and values of these kinds. Raises `Tampered`: even a right key proves no form."""
    try:
        facts = json.loads(clear)
    except (ValueError, RecursionError):
        raise Tampered("a record's facts cannot be read") from None
    if not isinstance(facts, dict) or facts.keys() != kinds.keys():
        raise Tampered("a record has other facts")
    if not all(isinstance(facts[name], kind) and not isinstance(facts[name], bool) for name, kind in kinds.items()):
        raise Tampered("a record's facts are of other kinds")
    return facts


def write_whole(file: BinaryIO, whole: bytes) -> None:
    """Write all of it in one go; raises OSError where the file took less."""
    if file.write(whole) != len(whole):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _file_head(form: Form, salt: bytes, commitment: bytes, context: Context) -> bytes:
    clear = canonical(
        {
            "algorithm": ALGORITHM,
            "commitment": commitment.hex(),
            "context": context.digest().hex(),
            "epoch": str(context.epoch),
            "salt": salt.hex(),
            "version": VERSION,
        }
    )
    return form.magic + _LENGTH.pack(len(clear)) + clear


def _parsed(form: Form, raw: bytes) -> FileHead:
    """Read the clear JSON; raises `Tampered` when it is not a head of this version."""
    try:
        facts = json.loads(raw[len(form.magic) + _LENGTH.size :])
        salt, commitment, context = (bytes.fromhex(facts[name]) for name in ("salt", "commitment", "context"))
        head = FileHead(facts["version"], facts["algorithm"], salt, commitment, context, facts["epoch"])
    except (ValueError, KeyError, TypeError, RecursionError):  # the last for a head that is nothing but brackets
        raise Tampered("the head cannot be read") from None
    if not isinstance(head.epoch, str) or {len(commitment), len(context)} != {sha256().digest_size}:
        raise Tampered("the head cannot be read")
    if head.version != VERSION or head.algorithm != ALGORITHM or len(head.salt) != SALT_SIZE:
        raise Tampered("the head names an unknown form")
    return head


def _read_file_head(file: BinaryIO, form: Form, expected_length: int | None = None) -> bytes | None:
    """Everything before the first record, or None when the file was cut before its end. Raises `Tampered` on another form."""
    file.seek(0)
    raw = file.read(len(form.magic) + _LENGTH.size)
    if not form.magic.startswith(raw[: len(form.magic)]):
        raise Tampered(f"not a {form.name}")
    if len(raw) < len(form.magic) + _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(raw, len(form.magic))
    if length > _MOST_HEAD or expected_length not in (None, len(raw) + length):
        raise Tampered("the head's length was altered")
    clear = file.read(length)
    return raw + clear if len(clear) == length else None


def place_at(file: BinaryIO, position: int, size: int) -> Place:
    """The record head that begins at `position`, in a file of `size` bytes. Nothing of it is verified yet. Raises `Tampered` past the end."""
    file.seek(position)
    raw = file.read(_HEAD_SIZE)
    if len(raw) < _HEAD_SIZE:
        raise Tampered("the file was cut off")
    head = RecordHead(*_RECORD.unpack_from(raw))
    body = position + _HEAD_SIZE
    return Place(head, raw[: _RECORD.size], raw[_RECORD.size :], body, body + head.length <= size)


def walk(file: BinaryIO, position: int, size: int) -> Iterator[Place]:
    """Every record head from `position` on. Ends at the tail, or after the first record that is not whole."""
    while size - position >= _HEAD_SIZE:
        place = place_at(file, position, size)
        position = place.end
        yield place


def heads(file: BinaryIO, form: Form) -> Heads:
    """The clear heads of a file, for proof without keys. Raises `Tampered` on faults of form; only a key verifies the rest."""
    size = file.seek(0, os.SEEK_END)
    clear = _read_file_head(file, form)
    if clear is None:
        return Heads(None, [], size)
    found: list[RecordHead] = []
    tail = len(clear)
    for place in walk(file, tail, size):
        if place.head.type not in form.types:
            raise Tampered("a record of an unknown type")
        if found and (found[-1].type == END or found[-1].counter >= place.head.counter):
            raise Tampered("records out of order")
        if place.whole:
            found.append(place.head)
            tail = place.end
    if found and found[-1].type == END and tail != size:
        raise Tampered("something follows END")
    return Heads(_parsed(form, clear), found, size - tail)


class SealedFile:
    """The keys of one file: makes its records, tells whether one is genuine, and opens it."""

    def __init__(self, head: bytes, sealer: Sealer) -> None:
        self.head, self._sealer = head, sealer
        self._head_hash = sha256(head).digest()

    @classmethod
    def new(cls, form: Form, data_key: bytes, context: Context) -> SealedFile:
        """For a file that begins now, under a salt of its own. `head` is what it begins with."""
        salt = os.urandom(SALT_SIZE)
        sealer = Sealer(data_key, salt, context)
        return cls(_file_head(form, salt, sealer.commitment, context), sealer)

    @classmethod
    def found(cls, file: BinaryIO, form: Form, data_key: bytes, context: Context) -> SealedFile | None:
        """For a file to read; None when it was cut inside its head. Raises `Tampered` under another key or claim."""
        expected = len(_file_head(form, bytes(SALT_SIZE), bytes(32), context))
        clear = _read_file_head(file, form, expected)
        if clear is None:
            return None
        salt = _parsed(form, clear).salt
        sealer = Sealer(data_key, salt, context)
        if not hmac.compare_digest(clear, _file_head(form, salt, sealer.commitment, context)):
            raise Tampered("another key, another claim or an altered head")
        return cls(clear, sealer)

    @property
    def next_counter(self) -> int:
        """The counter of the next record that is made."""
        return self._sealer.next_counter

    def record(self, type: int, start_us: int, duration_us: int, clear: bytes, previous: int | None) -> bytes:
        """A whole record under the next counter. `previous`: the counter of the record before it in the file, None for the first."""
        counter = self._sealer.next_counter
        raw = _RECORD.pack(type, counter, start_us, duration_us, len(clear) + TAG_SIZE)
        binding = self._bound(raw, previous)
        return raw + self._sealer.mark(binding) + self._sealer.seal(counter, binding, clear)

    def binding(self, place: Place, previous: int | None) -> bytes:
        """What a genuine record is bound to; raises `Tampered` where its mark says that it is not."""
        binding = self._bound(place.raw, previous)
        if not hmac.compare_digest(place.mark, self._sealer.mark(binding)):
            raise Tampered("a record's head was altered, or a record is missing or out of place")
        return binding

    def open(self, file: BinaryIO, place: Place, binding: bytes) -> bytes:
        """What the record holds. Raises `Tampered`."""
        file.seek(place.body)
        return self._sealer.open(place.head.counter, binding, file.read(place.head.length))

    def _bound(self, raw: bytes, previous: int | None) -> bytes:
        """Its file, its own clear head, and the record before it."""
        return self._head_hash + raw + _COUNTER.pack(_NO_COUNTER if previous is None else previous)
