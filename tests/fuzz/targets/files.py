"""`journal` and `playback`: sealed files that somebody altered, and sealed content that is not what it should be under the right key.

Everything that a reader gives out must be what was written, in its order: it is authenticated.
"""

from __future__ import annotations

import io
import json
import os
import random
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO
from unittest import mock

from recordings import journal, playback, records, webm
from recordings.journal import Item, clock_pair
from recordings.sealing import Context, Tampered
from recordings.webm import Frame

from ..engine import Target

KEY = bytes(range(32))
GAIL_CAM = Context("acme", "recording-1", "gail", "cam", "epoch-1", bytes(range(32)))
PICTURE = b"\x10\x00\x00\x9d\x01\x2a" + (320).to_bytes(2, "little") + (180).to_bytes(2, "little") + bytes(20)


def _made(write: Callable[[BinaryIO], None]) -> bytes:
    """A file whose salt is the same in every run; nothing but the salt is drawn here."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(os, "urandom", chance.randbytes):
        path = Path(folder) / "file"
        write(path.open("xb", buffering=0))
        return path.read_bytes()


@cache
def _journal() -> bytes:
    def write(file: BinaryIO) -> None:
        writer = journal.Writer(file, KEY, GAIL_CAM)
        for number in range(3):
            start = number * 1_000_000
            writer.append(start, 20_000, [Item(start, b"P", b"first"), Item(start + 1, b"S", clock_pair(1, 2)), Item(start + 9, b"P", bytes(40))])
        writer.end("stopped", 3_000_000, writer.packets, writer.last_valid)

    return _made(write)


@cache
def _playback() -> bytes:
    def write(file: BinaryIO) -> None:
        writer = playback.Writer(file, KEY, GAIL_CAM, "cam")
        for number in range(6):
            writer.add(Frame(number * 100_000, number % 3 == 0, PICTURE if number % 3 == 0 else b"\x11\x00\x00" + bytes(9)))
        writer.finish()

    return _made(write)


def _sealed(form: records.Form, kind: int, content: bytes, before: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    """A file with this content in its last record, sealed under the right key."""
    file = records.SealedFile.new(form, KEY, GAIL_CAM)
    contents = enumerate((*before, (kind, content)))
    return file.head + b"".join(file.record(each, 0, 0, clear, number - 1 if number else None) for number, (each, clear) in contents)


def _contents(data: bytes) -> tuple[int, bytes]:
    return (data[0] if data else 0), data[1:]


def run_journal(data: bytes) -> None:
    """The first octet: 0 a whole file; 1 the content of END; 2 that of a record, both sealed as they should be."""
    how, content = _contents(data)
    if how % 3 == 1:
        _read_journal(_sealed(journal._FORM, journal.END, content), None)
    elif how % 3 == 2:
        _read_journal(_sealed(journal._FORM, journal.DATA, content), None)
        _read_items(content)
    else:
        _read_journal(content, _journal())


def _read_journal(content: bytes, whole: bytes | None) -> None:
    with suppress(Tampered):
        _are_heads(journal.heads(io.BytesIO(content)), content)
    items, complete = list[Item](), False
    with suppress(Tampered):
        reader = journal.Reader(io.BytesIO(content), KEY, GAIL_CAM)
        items.extend(reader.items())
        complete = reader.complete
    if whole is not None:
        expected = list(journal.Reader(io.BytesIO(whole), KEY, GAIL_CAM).items())
        assert items == expected[: len(items)], "something else than was written came out"
        assert not complete or content == whole, "an altered file passes for whole"


def _are_heads(found: records.Heads, content: bytes) -> None:
    """What a proof reads without a key."""
    assert 0 <= found.torn <= len(content)
    assert sum(head.length for head in found.records) <= len(content)
    assert found.head is None or isinstance(found.head.epoch, str)
    assert found.head is None or {len(found.head.salt), len(found.head.commitment), len(found.head.context)} == {32}


def _read_items(content: bytes) -> None:
    try:
        items = journal._items(content, 7)
    except Tampered:
        return
    assert b"".join(journal._ITEM.pack(item.arrival_us - 7, item.kind, len(item.data)) + item.data for item in items) == content


def run_playback(data: bytes) -> None:
    """The first octet: 0 a whole file; 1 the content of END; 2 that of a cluster; 3 that of FRONT, all sealed as they should be."""
    how, content = _contents(data)
    cluster, front, end = _good()
    if how % 4 == 1:
        _read_playback(_sealed(playback._FORM, playback.END, content, ((playback.CLUSTER, cluster), (playback.FRONT, front))), None)
    elif how % 4 == 2:
        after = _with(content, front, end)
        _read_playback(after, None)
        _read_blocks(content)
    elif how % 4 == 3:
        _read_playback(_with(cluster, content, end), None)
    else:
        _read_playback(content, _playback())


def _with(cluster: bytes, front: bytes, end: bytes) -> bytes:
    return _sealed(playback._FORM, playback.END, end, ((playback.CLUSTER, cluster), (playback.FRONT, front)))


@cache
def _good() -> tuple[bytes, bytes, bytes]:
    """A cluster of one picture, its FRONT and its END."""
    cluster = webm.Cluster(Frame(0, True, PICTURE)).encoded()
    front = webm.front(webm.VP8, (320, 180), 200_000, len(cluster), [webm.Cue(0, 0)])
    end = records.canonical({"clusters": 1, "duration_us": 200_000, "frames": 1, "spans": [[0, 200_000]]})
    return cluster, front, end


def _read_playback(content: bytes, whole: bytes | None) -> None:
    with suppress(Tampered):
        _are_heads(playback.heads(io.BytesIO(content)), content)
    try:
        reader = playback.Reader(io.BytesIO(content), KEY, GAIL_CAM)
        played = reader.read(0, reader.size)
        assert len(played) == reader.size <= len(content)
        assert reader.read(3, 5) == played[3:8]
        reader.verify()
    except Tampered:
        return
    assert whole is None or content == whole, "an altered file passes for whole"


def _read_blocks(content: bytes) -> None:
    try:
        found = list(webm.blocks(content))
    except ValueError:
        return
    assert sum(len(block.data) for block in found) <= len(content)


def journal_seeds() -> list[bytes]:
    whole = _journal()
    ends = [{"cut_us": 0, "last_valid": None, "packets": 0, "reason": "stopped"}, {}, {"cut_us": "x"}, [1]]
    return [b"\x00" + whole, b"\x00" + whole[: len(whole) // 2], *(b"\x01" + json.dumps(end).encode() for end in ends)] + [
        b"\x02" + journal._ITEM.pack(5, b"P", 3) + b"abc" + journal._ITEM.pack(6, b"S", 16) + clock_pair(1, 2)
    ]


def playback_seeds() -> list[bytes]:
    whole, (cluster, front, end) = _playback(), _good()
    return [b"\x00" + whole, b"\x00" + whole[:-30], b"\x01" + end, b"\x02" + cluster, b"\x03" + front, b"\x01{}", b"\x01[]"]


WORDS = [b"\x02" + bytes(8), b"\x01" + bytes(7) + b"\x01", b"\x1f\x43\xb6\x75", b"\xe7", b"\xa3", b'"packets":', b'"frames":', b"null", b"[[0,1]]"]
JOURNAL = Target("journal", run_journal, journal_seeds, WORDS)
PLAYBACK = Target("playback", run_playback, playback_seeds, WORDS)
