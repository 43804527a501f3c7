"""The bytes of a WebM file are where its index says, and hold every frame at its time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings.webm import (
    CLUSTER,
    CUES,
    EBML,
    INFO,
    OPUS,
    SEEK_HEAD,
    SEGMENT,
    SILENCE,
    SILENCE_US,
    TIMESTAMP,
    TRACKS,
    VP8,
    Block,
    Cluster,
    Cue,
    Frame,
    block_size,
    blocks,
    front,
    opus_duration_us,
    vp8_size,
    without_holes,
)

from . import reel

CONTAINERS = {EBML, SEGMENT, SEEK_HEAD, 0x4DBB, INFO, TRACKS, 0xAE, 0xE0, 0xE1, CUES, 0xBB, 0xB7}


class Element:
    """An EBML element as RFC 8794 has it, read without the code under test."""

    def __init__(self, whole: bytes, position: int) -> None:
        self.position = position
        width = 9 - whole[position].bit_length()
        self.id = int.from_bytes(whole[position : position + width])
        position += width
        width = 9 - whole[position].bit_length()
        self.length = int.from_bytes(whole[position : position + width]) & ((1 << 7 * width) - 1)
        self.start = position + width
        self.end = self.start + self.length
        self.content = whole[self.start : self.end]
        self._whole = whole

    @cached_property
    def children(self) -> list[Element]:
        return list(elements(self._whole, self.start, self.end)) if self.id in CONTAINERS else []

    @property
    def number(self) -> int:
        return int.from_bytes(self.content)

    def all(self, *ids: int) -> list[Element]:
        """The elements at the end of this path of ids."""
        found = [child for child in self.children if child.id == ids[0]]
        return found if len(ids) == 1 else [last for one in found for last in one.all(*ids[1:])]

    def one(self, *ids: int) -> Element:
        (found,) = self.all(*ids)
        return found


def elements(whole: bytes, position: int, end: int) -> Iterator[Element]:
    while position < end:
        element = Element(whole, position)
        yield element
        position = element.end
    assert position == end


def assembled(codec: str, clusters: list[Cluster], picture: tuple[int, int] | None) -> bytes:
    """A whole file, every cluster a place to seek to."""
    offsets = itertools.accumulate((cluster.size for cluster in clusters), initial=0)
    cues = [Cue(cluster.time_ms, offset) for cluster, offset in zip(clusters, offsets, strict=False)]
    body = b"".join(cluster.encoded() for cluster in clusters)
    return front(codec, picture, 12_345_678, len(body), cues) + body


@pytest.fixture
def two_clusters() -> list[Cluster]:
    first, second = Cluster(Frame(8_300_900, True, b"one")), Cluster(Frame(10_300_000, True, b"three"))
    first.add(Frame(8_333_999, False, b"two" * 100))
    return [first, second]


def test_every_part_is_where_the_index_says(two_clusters: list[Cluster]) -> None:
    whole = assembled(VP8, two_clusters, (640, 360))
    head, segment = elements(whole, 0, len(whole))
    found = {entry.one(0x53AB).number: segment.start + entry.one(0x53AC).number for entry in segment.all(SEEK_HEAD, 0x4DBB)}
    cues = [(cue.one(0xB3).number, segment.start + cue.one(0xB7, 0xF1).number) for cue in segment.all(CUES, 0xBB)]
    clusters = segment.all(CLUSTER)

    assert (head.id, segment.id, segment.end) == (EBML, SEGMENT, len(whole))
    assert found == {number: segment.one(number).position for number in (INFO, TRACKS, CUES)}
    assert cues == [(8300, clusters[0].position), (10300, clusters[1].position)]
    assert segment.one(CUES).position < clusters[0].position
    assert [next(elements(whole, one.start, one.end)).number for one in clusters] == [8300, 10300]


def test_a_picture_file_says_what_a_player_needs(two_clusters: list[Cluster]) -> None:
    whole = assembled(VP8, two_clusters, (1280, 720))
    head, segment = elements(whole, 0, len(whole))
    track = segment.one(TRACKS, 0xAE)

    assert (head.one(0x4282).content, head.one(0x4287).number, head.one(0x4285).number) == (b"webm", 4, 2)
    assert (segment.one(INFO, 0x2AD7B1).number, np.frombuffer(segment.one(INFO, 0x4489).content, ">f8")[0]) == (1_000_000, 12_345.678)
    assert (track.one(0x83).number, track.one(0x86).content) == (1, b"V_VP8")
    assert (track.one(0xE0, 0xB0).number, track.one(0xE0, 0xBA).number) == (1280, 720)


def test_a_sound_file_says_what_a_player_needs(two_clusters: list[Cluster]) -> None:
    """RFC 7845 section 5.1; CodecDelay is the pre-skip as nanoseconds (RFC 9559 section 5.1.4.1.25), and both are 0: times stay as they are."""
    whole = assembled(OPUS, two_clusters, None)
    _, segment = elements(whole, 0, len(whole))
    track = segment.one(TRACKS, 0xAE)
    opus = track.one(0x63A2).content

    assert (track.one(0x83).number, track.one(0x86).content) == (2, b"A_OPUS")
    assert (opus[:8], opus[8], opus[9]) == (b"OpusHead", 1, 2)
    assert [int.from_bytes(opus[start:end], "little") for start, end in ((10, 12), (12, 16), (16, 18), (18, 19))] == [0, 48_000, 0, 0]
    assert len(opus) == 19
    assert (track.one(0x56AA).number, track.one(0x56BB).number) == (0, 80_000_000)
    assert (np.frombuffer(track.one(0xE1, 0xB5).content, ">f8")[0], track.one(0xE1, 0x9F).number) == (48_000, 2)


def test_nothing_but_the_media_is_told(two_clusters: list[Cluster]) -> None:
    """No date, no title, no id drawn at random: two files of the same frames are the same bytes."""
    whole = assembled(VP8, two_clusters, (640, 360))
    _, segment = elements(whole, 0, len(whole))

    assert {one.id for one in segment.one(INFO).children} == {0x2AD7B1, 0x4489, 0x4D80, 0x5741}
    assert assembled(VP8, two_clusters, (640, 360)) == whole


@given(st.lists(st.tuples(st.integers(0, 2**45), st.integers(0, 2**40)), max_size=300), st.integers(0, 2**48))
@settings(max_examples=30, deadline=None)
def test_a_list_of_cues_of_any_length_points_right(cues: list[tuple[int, int]], size: int) -> None:
    whole = front(VP8, (2, 2), 1, size, [Cue(*cue) for cue in cues])
    segment = Element(whole, Element(whole, 0).end)
    last = list(elements(whole, segment.start, len(whole)))[-1]
    before = len(whole) - segment.start

    assert (segment.id, last.id, segment.length) == (SEGMENT, CUES, before + size)
    assert [(cue.one(0xB3).number, cue.one(0xB7, 0xF1).number - before) for cue in last.children] == cues


frames_of_a_cluster = st.lists(st.tuples(st.integers(0, 60_000), st.booleans(), st.binary(min_size=1, max_size=400)), min_size=1, max_size=30)


@given(st.integers(0, 10**11), frames_of_a_cluster)
@settings(max_examples=100, deadline=None)
def test_a_cluster_gives_back_its_frames_at_their_milliseconds(start: int, parts: list[tuple[int, bool, bytes]]) -> None:
    times = itertools.accumulate((step for step, _, _ in parts), initial=start)
    frames = [Frame(time, key, data) for time, (_, key, data) in zip(times, parts, strict=False)]
    cluster = Cluster(frames[0])
    for frame in frames[1:]:
        cluster.add(frame)

    assert list(blocks(cluster.encoded())) == [Block(frame.time_us // 1000, frame.key, frame.data) for frame in frames]
    assert (cluster.size, cluster.start_us, cluster.end_us) == (len(cluster.encoded()), start, frames[-1].time_us)
    assert cluster.opens_with_key == frames[0].key


@pytest.mark.parametrize("length", [1, 122, 123, 124, 16_378, 16_379, 16_380, 2_097_146, 2_097_147, 2_097_148])
def test_a_frame_takes_what_was_counted_for_it(length: int) -> None:
    """Where the width of a length changes, and where all ones would mean "unknown" (RFC 8794 section 6.2)."""
    frame = Frame(0, True, bytes(length))
    cluster = Cluster(frame)
    _, block = elements(cluster.encoded(), Element(cluster.encoded(), 0).start, cluster.size)

    assert cluster.size == Cluster.EMPTY + block_size(frame) == len(cluster.encoded())
    assert block.content[4:] == frame.data


@given(st.binary(max_size=60))
def test_other_bytes_are_no_cluster(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"fit|cluster|block|element"):
        list(blocks(content))


def test_a_cluster_that_was_cut_or_lengthened_is_refused(two_clusters: list[Cluster]) -> None:
    whole = two_clusters[0].encoded()
    for cut in range(len(whole)):
        with pytest.raises(ValueError, match=r"fit|cluster"):
            list(blocks(whole[:cut]))
    with pytest.raises(ValueError, match="not one cluster"):
        list(blocks(whole + b"\0"))


def test_a_block_of_another_track_or_with_laces_is_refused(two_clusters: list[Cluster]) -> None:
    whole = two_clusters[1].encoded()
    start = Element(whole, 0).start
    timestamp, block = elements(whole, start, len(whole))
    assert (timestamp.id, block.id) == (TIMESTAMP, 0xA3)

    for place, value in ((block.start, 0x82), (block.start + 3, 0x86)):
        altered = bytearray(whole)
        altered[place] = value
        with pytest.raises(ValueError, match="another kind"):
            list(blocks(bytes(altered)))


def test_a_key_frame_says_its_size() -> None:
    """As libvpx writes it, in both sizes; the pictures between two key frames say none."""
    frames = reel.pictures(small=3, large=3)

    assert [vp8_size(frame.data) for frame in frames] == [(160, 120), None, None, (320, 240), None, None]


def test_the_bits_for_scaling_are_no_part_of_the_size() -> None:
    assert vp8_size(reel.picture_head(True, 0x4000 | 640, 0xC000 | 360)) == (640, 360)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        reel.picture_head(True)[:9],
        reel.picture_head(False) + bytes(20),
        b"\x10\0\0\x9d\x01\x2b" + bytes([1, 0, 1, 0]),
        reel.picture_head(True, 0, 360),
        reel.picture_head(True, 640, 0xC000),
    ],
    ids=["nothing", "cut", "no key frame", "another start code", "no width", "no height"],
)
def test_what_is_no_key_frame_has_no_size(data: bytes) -> None:
    assert vp8_size(data) is None


@pytest.mark.parametrize(
    ("application", "packet_us"),
    [("voip", 10_000), ("voip", 20_000), ("voip", 40_000), ("voip", 60_000), ("voip", 120_000), ("lowdelay", 2_500), ("lowdelay", 5_000)],
)
def test_an_opus_packet_lasts_as_long_as_libopus_made_it(application: str, packet_us: int) -> None:
    encoder: Any = reel.opus_encoder(packet_us, application)
    size = reel.RATE * packet_us // reel.SECOND
    wave = (9000 * np.sin(np.arange(size) / 20)).astype(np.int16)

    packets = [packet for number in range(10) for packet in reel.encoded_sound(encoder, wave, number * size)]

    assert len(packets) == 10
    assert {opus_duration_us(packet) for packet in packets} == {packet_us}


FRAMES_MS = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4  # RFC 6716 section 3.1, table 2


@pytest.mark.parametrize("number", range(32))
def test_an_opus_packet_lasts_as_its_first_byte_says(number: int) -> None:
    frame = int(FRAMES_MS[number] * 1000)
    lasting = [opus_duration_us(bytes([number << 3 | code, 2])) for code in range(4)]

    assert lasting == [frame, 2 * frame, 2 * frame, 2 * frame]


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\x00", b"\xff\x07", b"\x1f\x03", b"\xe7\x3f"])
def test_a_packet_that_no_decoder_may_take_lasts_no_time(data: bytes) -> None:
    """Empty, without its count, of no frame, or longer than 120 ms."""
    assert opus_duration_us(data) == 0


def test_missing_sound_becomes_silence_so_that_what_follows_plays_at_its_time() -> None:
    """A player plays packets one after another: what was played before a packet lasts as long as its time says, to less than one packet."""
    packet, at = b"\x78" + bytes(9), [0, 20_000, 100_000, 120_000, 1_015_000, 9_000_000]  # 20 ms each; two holes, then a pause
    frames = list(without_holes((Frame(time_us, True, packet) for time_us in at), 3_000_000))

    assert [frame.time_us for frame in frames if frame.data == packet] == at
    assert all(later.time_us > earlier.time_us for earlier, later in pairwise(frames))
    for number, frame in enumerate(frames[:-1]):
        played = sum(opus_duration_us(earlier.data) for earlier in frames[:number])
        assert 0 <= frame.time_us - played < 20_000
    assert frames[-2].data == packet  # the pause is left


LONGEST = 3_000_000
PACKETS = {bytes([0xE0, 1]): 2_500, bytes([0xF8, 1]): 20_000, bytes([0xFB, 6, 1]): 120_000}  # two and a half, 20 and 120 ms


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9), st.lists(st.tuples(st.integers(1, 5_000_000) | st.integers(1, 130_000), st.sampled_from(sorted(PACKETS))), max_size=60))
def test_silence_fills_what_is_missing_inside_a_stretch_and_nothing_else(start: int, steps: list[tuple[int, bytes]]) -> None:
    """A player has something to play up to the time of every packet, 20 ms at most left over; a long pause stays one."""
    times = itertools.accumulate((step for step, _ in steps), initial=start)
    packets = [Frame(time, True, data) for time, (_, data) in zip(times, steps, strict=False)]
    filled = list(without_holes(packets, LONGEST))

    assert [frame for frame in filled if frame.data != SILENCE] == packets
    assert all(a.time_us < b.time_us for a, b in itertools.pairwise(filled))
    played = last = None
    for frame in filled:
        if last is None or (frame.data != SILENCE and frame.time_us - last > LONGEST):
            played = frame.time_us
        if frame.data != SILENCE:
            assert frame.time_us - played < SILENCE_US
        played += opus_duration_us(frame.data)
        last = frame.time_us
    assert {opus_duration_us(SILENCE)} == {SILENCE_US}


def test_a_pause_that_ends_a_stretch_is_not_filled() -> None:
    packets = [Frame(time, True, b"\xf8\x01") for time in (0, LONGEST, 2 * LONGEST + 1)]
    filled = list(without_holes(packets, LONGEST))

    assert [frame.time_us for frame in filled] == [*range(0, LONGEST + 1, SILENCE_US), 2 * LONGEST + 1]
