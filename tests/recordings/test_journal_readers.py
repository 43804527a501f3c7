"""Everybody who reads a journal, on a journal that was cut off at every byte, and on one of which any byte was changed.

A cut is what a crash leaves: whole records count, the rest is torn, the stretch is incomplete. A change is told by its name, `Tampered`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from recordings import depacketise, services, storage
from recordings.finishing import Part
from recordings.journal import Item, Reader, Writer, heads
from recordings.models import Artefact
from recordings.sealing import Context, Tampered
from tests.recordings import stored
from tests.recordings.sittings import Sitting
from tests.recordings.stored import SECOND, acting

CLAIM = Context("acme", "recording-1", "gail", "mic", "epoch-1", bytes(range(32)))
KEY = bytes(range(32))
RECORDS = 3


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """Three records of two packets of sound each, and END."""
    with (tmp_path / "journal").open("xb", buffering=0) as file:
        writer = Writer(file, KEY, CLAIM)  # type: ignore[arg-type]  # reason: unbuffered files are not typed as BinaryIO
        for number in range(RECORDS):
            start = number * SECOND
            items = [Item(start, b"P", stored.rtp(2 * number)), Item(start + 20_000, b"P", stored.rtp(2 * number + 1))]
            writer.append(start, 20_000, items)
        writer.end("stopped", RECORDS * SECOND, writer.packets, writer.last_valid)
    return (tmp_path / "journal").read_bytes()


@pytest.fixture
def artefact() -> Iterator[Artefact]:
    """A row that no database has, which is enough for whoever reads without a key."""
    made = Artefact(kind=Artefact.Kind.JOURNAL, object_name=storage.new_name())
    storage.store().create(made.object_name).close()
    yield made
    storage.store().delete(made.object_name)


def spooled(artefact: Artefact) -> Path:
    return Path(settings.CLEAC.data) / "spool" / f"{artefact.object_name}.journal"


def ends_of(content: bytes) -> list[int]:
    """Where each record ends in the file, END's included."""
    found = heads(io.BytesIO(content)).records
    sizes = [41 + head.length for head in found]
    start = len(content) - sum(sizes)
    return [start + sum(sizes[: number + 1]) for number in range(len(sizes))]


def test_cut_at_every_byte_everybody_finds_the_same_whole_records(whole: bytes, artefact: Artefact) -> None:
    """By key, by heads alone, by what is written down of it, and as frames."""
    ends = ends_of(whole)
    everything = list(Reader(io.BytesIO(whole), KEY, CLAIM).items())
    for cut in range(len(whole) + 1):
        count = sum(end <= cut for end in ends)
        complete, records = count > RECORDS, min(count, RECORDS)
        spooled(artefact).write_bytes(whole[:cut])

        reader = Reader(io.BytesIO(whole[:cut]), KEY, CLAIM)
        clear, kept = heads(io.BytesIO(whole[:cut])), services.kept(artefact=artefact)
        frames = list(depacketise.frames(reader.items, "mic", offset_us=None, within=(0, RECORDS * SECOND)))

        assert (list(reader.items()), reader.complete) == (everything[: 2 * records], complete), cut
        assert (len(clear.records), clear.complete) == (count, complete), cut
        assert (kept.size, kept.stored_ms, kept.complete) == (cut, 20 * records, complete), cut
        assert [frame.data for frame in frames] == [item.data[12:] for item in everything[: 2 * records]], cut


def test_with_any_byte_changed_nobody_takes_it_for_what_was_written(whole: bytes, artefact: Artefact, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has the key names it. Without a key a fault of form has the same name, and what was stored is never found to be more."""
    for place in range(len(whole)):
        for change in (0x01, 0x80):
            altered = bytearray(whole)
            altered[place] ^= change
            with pytest.raises(Tampered):
                list(Reader(io.BytesIO(bytes(altered)), KEY, CLAIM).items())
            try:
                assert len(heads(io.BytesIO(bytes(altered))).records) <= RECORDS + 1
            except Tampered:
                spooled(artefact).write_bytes(altered)
                assert services.kept(artefact=artefact) == services.Kept(len(whole))
    assert {record.message.split("(")[1] for record in caplog.records} == {"Tampered); its stretch is closed as incomplete"}


@pytest.mark.django_db(databases=["default", "keys"])
def test_the_job_that_finishes_takes_whole_records_and_refuses_a_change_anywhere(sitting: Sitting) -> None:
    made = stored.captured(sitting, ("gail", "mic"))
    (part,) = stored.ordered(made, "gail")
    path, artefact = spooled(made.journals["gail", "mic"]), part.artefact
    content, everything, ends = path.read_bytes(), list(part.items()), ends_of(path.read_bytes())
    packets = [0]
    for record in part.journal.records():
        packets.append(packets[-1] + len(record.items))
    with acting(sitting.cast):
        for cut in sorted({end + step for end in ends for step in (-1, 0, 1) if end + step < len(content)} | {0, 1, 100, ends[0] // 2}):
            path.write_bytes(content[:cut])
            found = Part(artefact)
            assert list(found.items()) == everything[: packets[sum(end <= cut for end in ends[:-1])]], cut
            assert not found.journal.complete
        for place in range(0, len(content), len(content) // 25):
            altered = bytearray(content)
            altered[place] ^= 0x10
            path.write_bytes(bytes(altered))
            with pytest.raises(Tampered):
                Part(artefact)
    path.write_bytes(content)
