"""A journal gives back what was written, survives a crash at every byte, and names every alteration."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings.journal import DATA, END, MAGIC, Item, Reader, Writer, clock_pair, heads, read_clock_pair
from recordings.sealing import Context, Tampered, new_key

GAIL_CAM = Context("acme", "recording-1", "gail", "cam", "epoch-1", bytes(range(32)))
KEY = new_key()
RECORD_HEAD = 41
SECOND = 1_000_000


def second(number: int) -> list[Item]:
    """What arrives in second `number`: two packets and the clocks between them."""
    start = number * SECOND
    return [
        Item(start, b"P", b"first of %d" % number),
        Item(start + 1, b"S", clock_pair(number, 90_000 * number)),
        Item(start + 20_000, b"P", b"last of %d" % number),
    ]


def opened(path: Path) -> BinaryIO:
    return open(path, "xb", buffering=0)


def write(path: Path, seconds: int, *, end: bool = True) -> bytes:
    writer = Writer(opened(path), KEY, GAIL_CAM)
    for number in range(seconds):
        writer.append(number * SECOND, 20_000, second(number))
    if end:
        writer.end("stopped", seconds * SECOND, writer.packets, writer.last_valid)
    else:
        writer.end_given_up()
    return path.read_bytes()


def read(content: bytes, key: bytes = KEY, context: Context = GAIL_CAM) -> tuple[Reader, list[Item]]:
    reader = Reader(io.BytesIO(content), key, context)
    return reader, list(reader.items())


def pieces(content: bytes) -> tuple[bytes, list[bytes]]:
    """The head of the file, and each whole record."""
    found, position = [], len(content)
    for head in reversed(heads(io.BytesIO(content)).records):
        start = position - RECORD_HEAD - head.length
        found.append(content[start:position])
        position = start
    return content[:position], found[::-1]


@pytest.fixture
def three(tmp_path: Path) -> bytes:
    return write(tmp_path / "journal", 3)


def test_a_journal_gives_back_what_was_written(three: bytes) -> None:
    reader, items = read(three)

    assert items == second(0) + second(1) + second(2)
    assert read_clock_pair(items[4].data) == (1, 90_000)
    assert reader.complete
    assert reader.torn == 0
    assert (reader.end.reason, reader.end.cut_us, reader.end.packets, reader.end.last_valid) == ("stopped", 3 * SECOND, 6, 2)
    assert list(reader.items()) == items


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 999_999), st.sampled_from([b"P", b"S"]), st.binary(max_size=1500)), max_size=5), max_size=5))
def test_any_items_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, records: list[list[tuple[int, bytes, bytes]]]) -> None:
    path = tmp_path_factory.mktemp("any") / "journal"
    writer = Writer(opened(path), KEY, GAIL_CAM)
    written = [[Item(number * SECOND + delta, kind, data) for delta, kind, data in parts] for number, parts in enumerate(records)]
    for number, items in enumerate(written):
        writer.append(number * SECOND, 999_999, items)
    writer.end("stopped", 0, writer.packets, writer.last_valid)

    assert [record.items for record in Reader(io.BytesIO(path.read_bytes()), KEY, GAIL_CAM).records()] == written


def test_nothing_clear_but_heads_is_in_the_file(three: bytes) -> None:
    for hidden in (b"first of", b"last of", KEY, b"gail", b"acme", b"recording-1", b"cam", b"stopped", GAIL_CAM.entry_hash):
        assert hidden not in three
    assert three.startswith(MAGIC)


def test_two_files_of_one_key_and_claim_share_no_salt_and_no_ciphertext(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", 1), write(tmp_path / "two", 1)

    assert heads(io.BytesIO(one)).head.salt != heads(io.BytesIO(two)).head.salt
    assert pieces(one)[1][0][RECORD_HEAD:] != pieces(two)[1][0][RECORD_HEAD:]


def test_heads_tell_the_intervals_without_a_key(three: bytes) -> None:
    found = heads(io.BytesIO(three))

    assert [(h.type, h.counter, h.start_us, h.end_us) for h in found.records] == [
        (DATA, 0, 0, 20_000),
        (DATA, 1, SECOND, SECOND + 20_000),
        (DATA, 2, 2 * SECOND, 2 * SECOND + 20_000),
        (END, 3, 3 * SECOND, 3 * SECOND),
    ]
    assert (found.head.epoch, found.head.context, found.torn, found.complete) == ("epoch-1", GAIL_CAM.digest(), 0, True)


def test_cut_at_every_byte_it_gives_the_whole_records_before_the_cut(three: bytes) -> None:
    """What a kill leaves: any prefix of the file."""
    head, records = pieces(three)
    ends = [len(head) + sum(map(len, records[: number + 1])) for number in range(len(records))]
    for cut in range(len(three)):
        whole = sum(end <= cut for end in ends)
        reader, items = read(three[:cut])

        assert items == [item for number in range(whole) for item in second(number)], cut
        assert not reader.complete
        assert reader.torn == cut - (ends[whole - 1] if whole else len(head) if cut >= len(head) else 0)
        assert len(heads(io.BytesIO(three[:cut])).records) == whole


def test_every_altered_byte_is_tampered(three: bytes) -> None:
    for place in range(len(three)):
        for change in (0x01, 0x80):
            altered = bytearray(three)
            altered[place] ^= change
            with pytest.raises(Tampered):
                read(bytes(altered))


def test_every_altered_byte_of_a_journal_without_end_is_tampered(tmp_path: Path) -> None:
    """A length that grew past the end of the file must not pass for a torn tail."""
    whole = write(tmp_path / "journal", 2, end=False)
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 0x40
        with pytest.raises(Tampered):
            read(bytes(altered))


ALTERATIONS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "the first missing": lambda r: r[1:],
    "the middle missing": lambda r: [r[0], *r[2:]],
    "the last before END missing": lambda r: [*r[:2], r[3]],
    "reordered": lambda r: [r[1], r[0], *r[2:]],
    "doubled": lambda r: [r[0], r[0], *r[1:]],
    "END doubled": lambda r: [*r, r[3]],
    "a record after END": lambda r: [*r, r[2]],
    "bytes after END": lambda r: [*r, b"\0"],
    "END first": lambda r: [r[3], *r[:3]],
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_records_missing_moved_or_doubled_are_tampered(three: bytes, alteration: str) -> None:
    head, records = pieces(three)

    with pytest.raises(Tampered):
        read(head + b"".join(ALTERATIONS[alteration](records)))


def test_a_record_of_another_file_is_tampered(tmp_path: Path, three: bytes) -> None:
    head, records = pieces(three)
    records[1] = pieces(write(tmp_path / "other", 3))[1][1]

    with pytest.raises(Tampered):
        read(head + b"".join(records))


def test_another_key_or_claim_opens_nothing(three: bytes) -> None:
    others = [replace(GAIL_CAM, participant="gus"), replace(GAIL_CAM, epoch="epoch-2"), replace(GAIL_CAM, entry_hash=bytes(32))]

    with pytest.raises(Tampered):
        Reader(io.BytesIO(three), new_key(), GAIL_CAM)
    for other in others:
        with pytest.raises(Tampered):
            Reader(io.BytesIO(three), KEY, other)


NO_JOURNALS = [
    b"something else entirely",
    MAGIC + b"\xff\xff\xff\xff",
    *(MAGIC + len(head).to_bytes(4) + head for head in (b"{}", b"[[", b"[" * 4096)),
]


@pytest.mark.parametrize("content", NO_JOURNALS)
def test_what_is_no_journal_is_tampered(content: bytes) -> None:
    for look in (lambda: heads(io.BytesIO(content)), lambda: read(content)):
        with pytest.raises(Tampered):
            look()


def test_truncation_never_gives_a_counter_back(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    writer = Writer(opened(path), KEY, GAIL_CAM)
    counters = [writer.append(number * SECOND, 20_000, second(number)) for number in range(4)]
    writer.truncate_to(2)
    counters.append(writer.append(4 * SECOND, 20_000, second(4)))
    writer.end("stopped", 5 * SECOND, 6, 4)
    reader, items = read(path.read_bytes())

    assert counters == [0, 1, 2, 3, 4]
    assert [head.counter for head in heads(io.BytesIO(path.read_bytes())).records] == [0, 1, 4, 5]
    assert items == second(0) + second(1) + second(4)
    assert (reader.end.packets, reader.end.last_valid) == (6, 4)


def test_a_dropped_record_cannot_be_brought_back(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    writer = Writer(opened(path), KEY, GAIL_CAM)
    for number in range(3):
        writer.append(number * SECOND, 20_000, second(number))
    dropped = pieces(path.read_bytes())[1][2]
    writer.truncate_to(2)
    writer.end("withdrawn", 2 * SECOND, 4, 1)
    head, records = pieces(path.read_bytes())

    with pytest.raises(Tampered):
        read(head + b"".join([*records[:2], dropped, records[2]]))


def test_everything_can_be_dropped_and_end_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    writer = Writer(opened(path), KEY, GAIL_CAM)
    writer.append(0, 20_000, second(0))
    writer.truncate_to(0)
    writer.end("withdrawn", 0, 0, None)
    reader, items = read(path.read_bytes())

    assert items == []
    assert (reader.complete, reader.end.packets, reader.end.last_valid) == (True, 0, None)
    assert [head.counter for head in heads(io.BytesIO(path.read_bytes())).records] == [1]


def test_end_may_only_say_what_the_file_holds(tmp_path: Path) -> None:
    writer = Writer(opened(tmp_path / "journal"), KEY, GAIL_CAM)
    writer.append(0, 20_000, second(0))

    for packets, last_valid in ((3, 0), (2, 1), (2, None)):
        with pytest.raises(ValueError, match="what the file holds"):
            writer.end("stopped", 0, packets, last_valid)
    writer.end_given_up()


def test_the_records_that_end_by_a_moment_are_the_first_ones(tmp_path: Path) -> None:
    writer = Writer(opened(tmp_path / "journal"), KEY, GAIL_CAM)
    for number in range(3):
        writer.append(number * SECOND, 20_000, second(number))

    asked = (0, 19_999, 20_000, SECOND, SECOND + 20_000, 9 * SECOND)
    assert [writer.ending_by(moment) for moment in asked] == [0, 0, 1, 1, 2, 3]
    writer.end_given_up()
