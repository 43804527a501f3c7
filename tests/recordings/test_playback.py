"""A finished file gives back exact ranges of one WebM and opens no more than it needs; what was cut off is refused."""

from __future__ import annotations

import io
import itertools
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings.playback import (
    CLUSTER,
    END,
    FRONT,
    LARGEST_CLUSTER,
    LONGEST_CLUSTER_US,
    MAGIC,
    Reader,
    Unfinished,
    Writer,
    heads,
)
from recordings.sealing import Sealer
from recordings.webm import Frame

from .clusters import FEW, PICTURE, RECORD_HEAD, SILENCE, camera, cues_of, in_it, picture, pieces, voice, webm
from .reel import CAM, KEY, MIC, SECOND, opened, picture_head, write
from .test_webm import Element

# What it holds


def test_a_file_gives_back_its_frames_at_their_recording_times(tmp_path: Path) -> None:
    """She agreed at 8.3 s: the first cluster says 8300, and the cues stand before it."""
    frames = camera(8_300_000, 15_000_000)
    written = write(tmp_path / "cam", frames)
    reader = opened((tmp_path / "cam").read_bytes())
    whole = reader.read(0, reader.size)

    clusters = in_it(whole)
    assert list(itertools.chain(*clusters)) == [(f.time_us // 1000, f.key, f.data) for f in frames]
    assert clusters[0][0][0] == 8300
    assert whole.index(bytes.fromhex("1c53bb6b")) < whole.index(bytes.fromhex("1f43b675"))
    assert (written.frames, reader.frames, reader.verify()) == (len(frames),) * 3
    assert (written.size, reader.mime) == ((tmp_path / "cam").stat().st_size, 'video/webm; codecs="vp8"')
    assert written.duration_us == reader.duration_us == frames[-1].time_us + PICTURE


def test_a_cluster_of_pictures_opens_at_every_key_frame_and_only_those_are_places_to_seek_to(tmp_path: Path) -> None:
    """One key frame, then 5 s without one, then two in a row: clusters end after 2 s all the same."""
    frames = [picture(time, key=time in (0, 5 * SECOND, 5_100_000)) for time in range(0, 5_300_000, 100_000)]
    write(tmp_path / "cam", frames)
    whole = webm((tmp_path / "cam").read_bytes())

    assert [cluster[0][:2] for cluster in in_it(whole)] == [(0, True), (2000, False), (4000, False), (5000, True), (5100, True)]
    assert cues_of(whole) == [(0, 0), (5000, 3), (5100, 4)]


def test_every_cluster_of_sound_is_a_place_to_seek_to(tmp_path: Path) -> None:
    write(tmp_path / "mic", voice(SECOND, 8 * SECOND), MIC)
    reader = opened((tmp_path / "mic").read_bytes(), MIC)

    assert cues_of(reader.read(0, reader.size)) == [(1000, 0), (3000, 1), (5000, 2), (7000, 3)]
    assert reader.mime == 'audio/webm; codecs="opus"'


def test_a_cluster_is_closed_before_it_grows_too_large(tmp_path: Path) -> None:
    """The third frame would not fit any more; one that is too large by itself stands alone."""
    sizes = (100_000, 100_000, 100_000, 300_000, 1)
    write(tmp_path / "cam", [picture(number * PICTURE, key=not number, size=size) for number, size in enumerate(sizes)])
    whole = webm((tmp_path / "cam").read_bytes())

    assert [len(cluster) for cluster in in_it(whole)] == [2, 1, 1, 1]
    assert cues_of(whole) == [(0, 0)]


def test_the_size_of_the_first_picture_is_the_tracks(tmp_path: Path) -> None:
    """Later ones say theirs themselves."""
    frames = [Frame(0, True, picture_head(True, 1280, 720)), Frame(PICTURE, True, picture_head(True, 320, 180))]
    write(tmp_path / "cam", frames)
    whole = webm((tmp_path / "cam").read_bytes())
    sizes = Element(whole, Element(whole, 0).end).one(0x1654AE6B, 0xAE, 0xE0)

    assert (sizes.one(0xB0).number, sizes.one(0xBA).number) == (1280, 720)


picture_steps = st.lists(st.tuples(st.integers(1, 700_000), st.booleans(), st.integers(0, 90_000)), max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**10), picture_steps, st.data())
def test_any_frames_come_back_and_any_range_is_a_slice_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, start: int, steps: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "cam"
    times = itertools.accumulate((step for step, _, _ in steps), initial=start)
    frames = [picture(time, key=key, size=size) for time, (_, key, size) in zip(times, [(0, True, 9), *steps], strict=True)]
    written = write(path, frames)
    reader = opened(path.read_bytes())
    whole = reader.read(0, reader.size)
    clusters = in_it(whole)

    assert list(itertools.chain(*clusters)) == [(f.time_us // 1000, f.key, f.data) for f in frames]
    assert (reader.verify(), reader.spans, len(whole)) == (len(frames), written.spans, reader.size)
    assert [one[0][0] for one in clusters if one[0][1]] == [time for time, _ in cues_of(whole)]
    assert all(not key for cluster in clusters for _, key, _ in cluster[1:])
    assert all(cluster[-1][0] - cluster[0][0] <= LONGEST_CLUSTER_US // 1000 for cluster in clusters)
    assert all(length - RECORD_HEAD - 16 <= LARGEST_CLUSTER for length in map(len, pieces(path.read_bytes())[1][:-2]))
    for _ in range(10):
        first, length = data.draw(st.integers(0, len(whole) + 9)), data.draw(st.integers(0, len(whole) + 9))
        assert reader.read(first, length) == whole[first : first + length]


def test_every_range_of_a_small_file_is_a_slice_of_the_whole(small: bytes) -> None:
    reader = opened(small)
    whole = reader.read(0, reader.size)

    assert all(reader.read(a, b - a) == whole[a:b] for a in range(len(whole) + 3) for b in range(a, min(a + 3, len(whole)) + 3))
    assert all(reader.read(a, len(whole)) == whole[a:] for a in range(len(whole) + 3))
    for start, length in ((-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="a range"):
            reader.read(start, length)


# Stretches


def test_a_pause_of_a_camera_ends_a_stretch(tmp_path: Path) -> None:
    """1.5 s between two pictures is a still screen; more is no picture. A stretch ends when its last picture does."""
    frames = [*camera(0, 330_000), picture(297_000 + 1_500_000), picture(297_000 + 3_000_001)]
    written = write(tmp_path / "cam", frames)

    assert frames[9].time_us == 297_000
    assert written.spans == [[0, 297_000 + 1_500_000 + 200_000], [297_000 + 3_000_001, 297_000 + 3_200_001]]
    assert written.duration_us == 297_000 + 3_200_001


def test_a_last_picture_is_taken_to_last_as_long_as_the_one_before(tmp_path: Path) -> None:
    assert write(tmp_path / "fast", camera(0, 99_000)).spans == [[0, 99_000]]
    assert write(tmp_path / "slow", camera(0, 2_000_000, step=1_000_000)).spans == [[0, 1_200_000]]
    assert write(tmp_path / "alone", camera(7, 8)).spans == [[7, 200_007]]


@pytest.mark.parametrize(("cut_us", "end_us"), [(None, 99_000), (98_999, 98_999), (66_001, 66_001), (66_000, 66_000), (5, 66_000), (200_000, 99_000)])
def test_no_stretch_ends_after_the_cut(tmp_path: Path, cut_us: int | None, end_us: int) -> None:
    """Three pictures, the last at 66 ms; what a frame's own time says is not taken back."""
    with open(tmp_path / "cam", "xb", buffering=0) as file:
        writer = Writer(file, KEY, CAM, "cam", cut_us)
        for frame in camera(0, 99_000):
            writer.add(frame)
        written = writer.finish()

    assert (written.spans, written.duration_us) == ([[0, end_us]], end_us)
    assert opened((tmp_path / "cam").read_bytes()).verify() == 3


def test_silence_of_a_voice_shorter_than_three_seconds_ends_no_stretch(tmp_path: Path) -> None:
    """In DTX an encoder sends nothing for a while. A packet lasts as long as it says."""
    frames = [Frame(time, True, SILENCE) for time in (5 * SECOND, 8 * SECOND, 11_000_001)]
    written = write(tmp_path / "mic", frames, MIC)

    assert written.spans == [[5 * SECOND, 8_020_000], [11_000_001, 11_020_001]]


def test_heads_tell_the_intervals_without_a_key(small: bytes) -> None:
    found = heads(io.BytesIO(small))

    assert [(h.type, h.counter, h.start_us, h.end_us) for h in found.records] == [
        (CLUSTER, 0, 8_300_000, 8_333_000),
        (CLUSTER, 1, 10_300_000, 10_300_000),
        (CLUSTER, 2, 10_400_000, 10_400_000),
        (FRONT, 3, 0, 0),
        (END, 4, 10_500_000, 10_500_000),
    ]
    assert (found.head.epoch, found.head.context, found.torn, found.complete) == ("epoch-1", CAM.digest(), 0, True)


def test_nothing_clear_but_heads_is_in_the_file(small: bytes) -> None:
    for hidden in (b"8300000", b"webm", b"V_VP8", b"Cleac", b"spans", KEY, b"gail", b"acme", b"recording-1", b"cam", CAM.entry_hash):
        assert hidden not in small
    assert small.startswith(MAGIC)


def test_two_files_of_one_key_and_claim_share_no_salt_and_no_ciphertext(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, camera(0, SECOND))
    one, two = (tmp_path / "one").read_bytes(), (tmp_path / "two").read_bytes()

    assert webm(one) == webm(two)
    assert heads(io.BytesIO(one)).head.salt != heads(io.BytesIO(two)).head.salt
    assert all(a[RECORD_HEAD:] != b[RECORD_HEAD:] for a, b in zip(pieces(one)[1], pieces(two)[1], strict=True))


# Cost


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The counter of every record that is opened."""
    found: list[int] = []
    as_it_is = Sealer.open

    def counted(self: Sealer, counter: int, aad: bytes, sealed: bytes) -> bytes:
        found.append(counter)
        return as_it_is(self, counter, aad, sealed)

    monkeypatch.setattr(Sealer, "open", counted)
    return found


def test_a_range_opens_only_the_records_behind_it(tmp_path: Path, openings: list[int]) -> None:
    """Thirty clusters: FRONT is record 30 and END 31."""
    write(tmp_path / "mic", voice(0, 60 * SECOND), MIC)
    reader = opened((tmp_path / "mic").read_bytes(), MIC)
    _, parts = pieces((tmp_path / "mic").read_bytes())
    lengths = [len(parts[30]) - RECORD_HEAD - 16, *(len(part) - RECORD_HEAD - 16 for part in parts[:30])]
    starts = [0, *itertools.accumulate(lengths)]

    def opens(first: int, length: int) -> list[int]:
        openings.clear()
        assert len(reader.read(first, length)) == min(length, max(0, reader.size - first))
        return openings.copy()

    assert openings == [31]
    assert starts[-1] == reader.size
    assert opens(0, 1) == opens(0, starts[1]) == [30]
    assert opens(0, starts[1] + 1) == opens(starts[1] - 1, 2) == [30, 0]
    assert opens(starts[8], lengths[8]) == [7]
    assert opens(starts[8] - 1, lengths[8] + 2) == [6, 7, 8]
    assert opens(reader.size - 1, 100) == [29]
    assert opens(reader.size, 100) == opens(5, 0) == []


def test_neither_writing_nor_reading_takes_memory_by_the_length_of_the_file(tmp_path: Path) -> None:
    """48 MB of pictures: a cluster or two while writing and verifying, three times the range while reading."""
    count, size = 800, 60_000
    frames = (picture(number * PICTURE, key=number % 60 == 0, size=size) for number in range(count))
    peaks = []
    tracemalloc.start()
    try:
        write(tmp_path / "cam", frames)
        peaks.append(tracemalloc.get_traced_memory()[1])
        with open(tmp_path / "cam", "rb") as file:
            reader = Reader(file, KEY, CAM)
            for step in (reader.verify, lambda: reader.read(20_000_000, 2**21)):
                tracemalloc.reset_peak()
                step()
                peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()

    assert reader.size > count * size
    assert [peak < 2_500_000 for peak in peaks[:2]] == [True, True], peaks
    assert peaks[2] < 3 * 2**21, peaks


# What stops in the middle


class Narrow(io.FileIO):
    """A file on a disk that has room for `room` more bytes; it cannot go back."""

    def __init__(self, path: Path, room: int) -> None:
        super().__init__(path, "xb")
        self.room = room

    def write(self, data: Any) -> int:
        taken = super().write(bytes(data)[: self.room])
        self.room -= taken
        return taken

    def refuse(self, *args: Any) -> int:
        raise io.UnsupportedOperation("no way back")

    seek = truncate = refuse


def test_the_writer_needs_no_way_back(tmp_path: Path) -> None:
    file = Narrow(tmp_path / "cam", 10**6)
    writer = Writer(file, KEY, CAM, "cam")
    for frame in FEW:
        writer.add(frame)
    writer.finish()

    assert opened((tmp_path / "cam").read_bytes()).verify() == 3
    assert file.closed


def test_a_full_disk_is_an_error_and_leaves_what_every_reader_refuses(tmp_path: Path) -> None:
    """Wherever it happens."""
    write(tmp_path / "whole", FEW)
    size = (tmp_path / "whole").stat().st_size
    for room in range(0, size, 7):
        file = Narrow(tmp_path / f"{room}", room)
        with pytest.raises(OSError, match="No space left"):
            fill(file)

        assert file.closed
        with pytest.raises(Unfinished):
            opened((tmp_path / f"{room}").read_bytes())


def fill(file: Any) -> None:
    writer = Writer(file, KEY, CAM, "cam")
    for frame in FEW:
        writer.add(frame)
    writer.finish()


def test_a_failed_writer_takes_nothing_more(tmp_path: Path) -> None:
    """Whoever overlooks the error cannot end the file after a gap."""
    writer = Writer(Narrow(tmp_path / "cam", 450), KEY, CAM, "cam")
    writer.add(FEW[0])
    with pytest.raises(OSError, match="No space left"):
        writer.add(FEW[2])

    with pytest.raises(ValueError, match="closed"):
        writer.add(picture(11_000_000, key=True))
    with pytest.raises(ValueError, match="closed"):
        writer.finish()


def test_a_file_cut_off_anywhere_is_unfinished(small: bytes) -> None:
    """What a kill leaves: any prefix of the file. Its whole records are told without a key, and that it is not complete."""
    for cut in range(len(small)):
        with pytest.raises(Unfinished, match="ends"):
            opened(small[:cut])
        assert not heads(io.BytesIO(small[:cut])).complete


def test_a_writer_that_gave_up_leaves_an_unfinished_file(tmp_path: Path) -> None:
    writer = Writer(open(tmp_path / "cam", "xb", buffering=0), KEY, CAM, "cam")  # noqa: SIM115 - reason: the writer closes it
    writer.add(FEW[0])
    writer.abandon()

    with pytest.raises(Unfinished):
        opened((tmp_path / "cam").read_bytes())


def test_without_a_frame_there_is_no_file_to_play(tmp_path: Path) -> None:
    written = write(tmp_path / "cam", [])

    assert (written.frames, written.spans, written.duration_us) == (0, [], 0)
    with pytest.raises(Unfinished):
        opened((tmp_path / "cam").read_bytes())


def test_a_finished_file_is_on_the_disk_before_anybody_hears_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fsync` comes after END, and where it fails the writer does."""
    on_disk = []

    def seen(handle: int) -> None:
        on_disk.append(heads(io.BytesIO((tmp_path / "cam").read_bytes())).complete)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", seen)
    with pytest.raises(OSError, match="Input/output"):
        write(tmp_path / "cam", FEW)

    assert on_disk == [True]


# What the writer does not take


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([picture(5, key=True), picture(5)], "rising"),
        ([picture(5, key=True), picture(4)], "rising"),
        ([Frame(-1, True, picture_head(True))], "rising"),
        ([Frame(0, True, b"")], "have bytes"),
        ([picture(0)], "first picture is a key frame"),
        ([Frame(0, True, picture_head(False))], "first picture is a key frame"),
        ([Frame(0, False, picture_head(True))], "first picture is a key frame"),
    ],
    ids=["same time", "back in time", "before the recording", "empty", "no key frame first", "not what it says", "nor the other way round"],
)
def test_frames_that_no_player_could_place_are_refused(tmp_path: Path, frames: list[Frame], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "cam", frames)


@pytest.mark.parametrize(("claimed", "source"), [("cam", "mic"), ("mic", "cam"), ("chat", "chat")])
def test_a_file_is_for_the_source_that_was_agreed_to(tmp_path: Path, claimed: str, source: str) -> None:
    with open(tmp_path / "one", "xb", buffering=0) as file, pytest.raises(ValueError, match="another source"):
        Writer(file, KEY, replace(CAM, source=claimed), source)
