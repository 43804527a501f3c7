"""A finished file names every alteration, and what a faulty writer with the key might have left."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings import journal, records
from recordings.playback import (
    CLUSTER,
    END,
    FRONT,
    MAGIC,
    Reader,
    heads,
)
from recordings.records import SealedFile, canonical
from recordings.sealing import Tampered, new_key
from recordings.webm import Cluster, Cue, front

from .clusters import FEW, FORM, RECORD_HEAD, picture, pieces
from .reel import CAM, KEY, SECOND, opened, write

# What was altered


def read(content: bytes) -> None:
    """Everything that a reader can ask."""
    reader = opened(content)
    reader.verify()
    reader.read(0, reader.size)


def test_every_altered_byte_is_tampered(small: bytes) -> None:
    for place in range(len(small)):
        for change in (0x01, 0x80):
            altered = bytearray(small)
            altered[place] ^= change
            with pytest.raises(Tampered):
                read(bytes(altered))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_other_list_of_its_records_is_read(small_pieces: tuple[bytes, list[bytes]], data: st.DataObject) -> None:
    """Missing, moved, doubled: whatever is put together from the records of the file is refused, except the file."""
    head, parts = small_pieces
    order = data.draw(st.lists(st.integers(0, len(parts) - 1), max_size=len(parts) + 2).filter(lambda found: found != list(range(len(parts)))))

    with pytest.raises(Tampered):
        opened(head + b"".join(parts[number] for number in order))


def test_no_two_records_can_change_places(small_pieces: tuple[bytes, list[bytes]]) -> None:
    head, parts = small_pieces
    for order in itertools.permutations(parts):
        if list(order) != parts:
            with pytest.raises(Tampered):
                opened(head + b"".join(order))


@pytest.fixture(scope="module")
def small_pieces(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[bytes]]:
    path = tmp_path_factory.mktemp("small") / "cam"
    write(path, [picture(8_300_000, key=True), picture(8_333_000), picture(10_300_000), picture(10_400_000, key=True)])
    return pieces(path.read_bytes())


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 10_000), removed=st.integers(0, 60), added=st.binary(max_size=60))
def test_bytes_removed_or_added_anywhere_are_tampered(small_pieces: tuple[bytes, list[bytes]], place: int, removed: int, added: bytes) -> None:
    whole = small_pieces[0] + b"".join(small_pieces[1])
    place %= len(whole) + 1
    altered = whole[:place] + added + whole[place + removed :]
    if altered != whole:
        with pytest.raises(Tampered):
            read(altered)


def test_anything_after_end_is_tampered(small: bytes) -> None:
    """Too little for a record head, and enough."""
    for added in range(1, 2 * RECORD_HEAD):
        for look in (lambda added=added: opened(small + bytes(added)), lambda added=added: heads(io.BytesIO(small + bytes(added)))):
            with pytest.raises(Tampered):
                look()


def test_a_record_of_another_file_is_tampered(tmp_path: Path) -> None:
    """Same key, same claim, same frames, same place."""
    for name in ("one", "two"):
        write(tmp_path / name, FEW)
    head, parts = pieces((tmp_path / "one").read_bytes())
    others = pieces((tmp_path / "two").read_bytes())[1]

    for number in range(len(parts)):
        with pytest.raises(Tampered):
            opened(head + b"".join([*parts[:number], others[number], *parts[number + 1 :]]))


def test_a_file_that_is_cut_off_while_it_is_open_is_tampered(tmp_path: Path) -> None:
    write(tmp_path / "cam", FEW)
    with open(tmp_path / "cam", "r+b", buffering=0) as file:
        reader = Reader(file, KEY, CAM)
        file.truncate(len(pieces((tmp_path / "cam").read_bytes())[0]) + RECORD_HEAD + 5)
        for start in (0, reader.size - 1):
            with pytest.raises(Tampered):
                reader.read(start, 1)


def test_another_key_or_claim_opens_nothing(small: bytes) -> None:
    others = [replace(CAM, participant="gus"), replace(CAM, epoch="epoch-2"), replace(CAM, source="mic"), replace(CAM, entry_hash=bytes(32))]

    with pytest.raises(Tampered):
        opened(small, key=new_key())
    for other in others:
        with pytest.raises(Tampered):
            opened(small, other)


def test_a_journal_is_no_playback_file_nor_the_other_way_round(tmp_path: Path, small: bytes) -> None:
    """Not even behind the other's first bytes, under the same key and claim."""
    with open(tmp_path / "journal", "xb", buffering=0) as file:
        writer = journal.Writer(file, KEY, CAM)
        writer.append(0, 0, [journal.Item(0, b"P", b"packet")])
        writer.end("stopped", SECOND, 1, 0)
    captured = (tmp_path / "journal").read_bytes()

    for content in (captured, MAGIC + captured[len(MAGIC) :]):
        for look in (lambda content=content: opened(content), lambda content=content: heads(io.BytesIO(content))):
            with pytest.raises(Tampered):
                look()
    for content in (small, journal.MAGIC + small[len(MAGIC) :]):
        for look in (
            lambda content=content: journal.Reader(io.BytesIO(content), KEY, CAM),
            lambda content=content: journal.heads(io.BytesIO(content)),
        ):
            with pytest.raises(Tampered):
                look()


@pytest.mark.parametrize("content", [b"something else entirely", MAGIC + b"\xff\xff\xff\xff", MAGIC + b"\0\0\0\x02{}", MAGIC + b"\0\0\0\x02[["])
def test_what_is_no_playback_file_is_tampered(content: bytes) -> None:
    for look in (lambda: heads(io.BytesIO(content)), lambda: opened(content)):
        with pytest.raises(Tampered):
            look()


# What a writer with the key, but with a fault, might have left


def sealed(parts: Iterator[tuple[int, int, int, bytes]]) -> bytes:
    """A file of any records, all of them genuine."""
    file = SealedFile.new(FORM, KEY, CAM)
    whole = file.head
    for number, (kind, start_us, duration_us, clear) in enumerate(parts):
        whole += file.record(kind, start_us, duration_us, clear, number - 1 if number else None)
    return whole


ONE = Cluster(FEW[0])
TWO = Cluster(FEW[2])
CUES_OF_TWO = [Cue(8300, 0), Cue(10_400, ONE.size)]
SPANS = [[8_300_000, 8_500_000], [10_400_000, 10_600_000]]
Part = tuple[int, int, int, bytes]


def right() -> dict[str, Part]:
    """The records of two clusters, as the writer makes them."""
    facts: dict[str, object] = {"clusters": 2, "duration_us": 10_600_000, "frames": 2, "spans": SPANS}
    return {
        "one": (CLUSTER, 8_300_000, 0, ONE.encoded()),
        "two": (CLUSTER, 10_400_000, 0, TWO.encoded()),
        "front": (FRONT, 0, 0, front("vp8", (640, 360), 10_600_000, ONE.size + TWO.size, CUES_OF_TWO)),
        "end": (END, 10_600_000, 0, canonical(facts)),
    }


def end(**facts: object) -> Part:
    return (END, 10_600_000, 0, canonical({"clusters": 2, "duration_us": 10_600_000, "frames": 2, "spans": SPANS, **facts}))


def front_of(width: int = 640, duration_us: int = 10_600_000, size: int = ONE.size + TWO.size, cues: list[Cue] = CUES_OF_TWO) -> Part:
    return (FRONT, 0, 0, front("vp8", (width, 360), duration_us, size, cues))


FAULTS: dict[str, Callable[[dict[str, Part]], list[Part]]] = {
    "other clusters in END": lambda r: [r["one"], r["two"], r["front"], end(clusters=3)],
    "other frames in END": lambda r: [r["one"], r["two"], r["front"], end(frames=3)],
    "another duration in END": lambda r: [r["one"], r["two"], r["front"], end(duration_us=1)],
    "another size of the picture": lambda r: [r["one"], r["two"], front_of(width=320), r["end"]],
    "another size of the file": lambda r: [r["one"], r["two"], front_of(size=ONE.size), r["end"]],
    "another time of a cue": lambda r: [r["one"], r["two"], front_of(cues=[Cue(8300, 0), Cue(10_401, ONE.size)]), r["end"]],
    "another place of a cue": lambda r: [r["one"], r["two"], front_of(cues=[Cue(8300, 0), Cue(10_400, ONE.size + 1)]), r["end"]],
    "a cue missing": lambda r: [r["one"], r["two"], front_of(cues=CUES_OF_TWO[:1]), r["end"]],
    "clusters changed over": lambda r: [r["two"], r["one"], r["front"], r["end"]],
    "another interval of a record": lambda r: [(CLUSTER, 8_200_000, 100_000, ONE.encoded()), r["two"], r["front"], r["end"]],
    "an interval too long": lambda r: [(CLUSTER, 8_300_000, 1_000, ONE.encoded()), r["two"], r["front"], r["end"]],
    "no cluster in a cluster": lambda r: [(CLUSTER, 8_300_000, 0, bytes(ONE.size)), r["two"], r["front"], r["end"]],
    "no FRONT": lambda r: [r["one"], r["two"], r["end"]],
    "two FRONTs": lambda r: [r["one"], r["two"], r["front"], r["front"], r["end"]],
    "FRONT in front": lambda r: [r["front"], r["one"], r["two"], r["end"]],
    "a record after END": lambda r: [r["one"], r["two"], r["front"], r["end"], r["two"]],
    "two ENDs": lambda r: [r["one"], r["two"], r["front"], r["end"], r["end"]],
    "END alone": lambda r: [r["end"]],
    "a record of a journal": lambda r: [r["one"], r["two"], (journal.DATA, 0, 0, b""), r["front"], r["end"]],
}


def test_the_records_of_a_writer_verify() -> None:
    """What the faults below differ from."""
    assert opened(sealed(iter(right().values()))).verify() == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_verifying_finds_what_does_not_fit_together(fault: str) -> None:
    """Before the journal goes, the file that replaces it is read back: index, counts and clusters must say the same."""
    with pytest.raises(Tampered):
        read(sealed(iter(FAULTS[fault](right()))))


@pytest.mark.parametrize("left_out", range(4))
def test_a_counter_that_was_left_out_is_tampered(left_out: int) -> None:
    """Nothing is ever dropped from a playback file, however well the records name each other."""
    file = SealedFile.new(FORM, KEY, CAM)
    whole, previous = file.head, None
    for number, part in enumerate(right().values()):
        if number == left_out:
            file.record(*part, previous)  # used, and not stored
        this = file.next_counter
        whole += file.record(*part, previous)
        previous = this

    assert records.heads(io.BytesIO(whole), FORM).complete
    with pytest.raises(Tampered):
        opened(whole)
