"""From a journal's packets to frames: order, loss, and what never gets out."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.media.sink import Packet
from recordings import depacketise
from recordings.depacketise import Damaged
from recordings.depacketise.order import MOST_BYTES, WINDOW_US
from recordings.journal import Item, Reader
from recordings.recorder import Recorder
from recordings.sealing import Context, new_key
from tests.recordings import packets as made
from tests.recordings.packets import EVER, HERE, PICTURE_US, Camera, Microphone, Sent, arriving, depacketised, numbers

MOST_DELAY = WINDOW_US - 100_000
CLAIM = Context("acme", "recording-1", "gail", "cam", "epoch-1", bytes(range(32)))


@st.composite
def journeys(draw: st.DrawFn) -> tuple[list[Sent], set[int], set[int], list[int]]:
    """Packets of a camera, which pictures are key frames, which packets are lost, and the delays of all that arrive."""
    bits = draw(st.sampled_from([0, 7, 15]))
    number, timestamp = draw(st.sampled_from([0, 65_530, 30_000])), draw(st.sampled_from([0, 2**32 - 3000, 2**31]))
    camera = Camera(number, timestamp - made.ticks(HERE, made.VIDEO), bits, draw(st.sampled_from([0, 125, 32_765])), payload=20)
    keys = {index for index, key in enumerate(draw(st.lists(st.booleans(), min_size=1, max_size=25))) if key or index == 0}
    sent: list[Sent] = []
    for index in range(draw(st.integers(1, 25))):
        data = made.picture(index, key=index in keys, size=20 * draw(st.integers(1, 4)) - 1)
        sent += camera.send(data, HERE + index * PICTURE_US)
        camera.number += draw(st.integers(0, 3)) if bits else 0  # padding takes a number and is not recorded
    lost = draw(st.sets(st.integers(0, len(sent) - 1)))
    delays = draw(st.lists(st.integers(0, MOST_DELAY), min_size=len(sent), max_size=len(sent)))
    return sent, keys, lost, delays


@settings(max_examples=200, deadline=None)
@given(journeys(), st.randoms(use_true_random=False))
def test_whatever_is_lost_doubled_and_mixed_up_the_frames_are_those_that_can_be_decoded(
    journey: tuple[list[Sent], set[int], set[int], list[int]], dice: random.Random
) -> None:
    """Any order inside the window, any loss, any doubles: exactly the frames that are whole and follow a key frame without a gap."""
    sent, keys, lost, delays = journey
    left = [(one, delay) for index, (one, delay) in enumerate(zip(sent, delays, strict=True)) if index not in lost]
    doubles = [(one, dice.randint(0, MOST_DELAY)) for one, _ in left if dice.random() < 0.3]
    items = arriving([one for one, _ in left + doubles], [delay for _, delay in left + doubles])
    found = depacketised(items)

    assert numbers(found) == made.decodable(sent, lost, keys)
    assert [frame.key for frame in found] == [number in keys for number in numbers(found)]
    assert all(before.time_us < after.time_us for before, after in zip(found, found[1:], strict=False))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([0, 65_500]), st.sets(st.integers(0, 99)), st.lists(st.integers(0, MOST_DELAY), min_size=100, max_size=100))
def test_whatever_is_lost_and_mixed_up_a_voice_goes_on(first: int, lost: set[int], delays: list[int]) -> None:
    """Every sound that arrived is there, once and in order."""
    sent = Microphone(number=first).sounds(100)
    items = arriving(sent, delays)
    kept = [item for item in items if int.from_bytes(item.data[-4:]) not in lost]
    found = depacketised(kept, "mic")

    assert numbers(found) == [number for number in range(100) if number not in lost]
    assert all(frame.key for frame in found)


def test_a_packet_that_comes_after_the_window_is_too_late_and_counted() -> None:
    """It waits for nobody longer than that, so that memory stays bounded."""
    sent = Microphone().sounds(300)
    tally: Counter[str] = Counter()
    found = depacketised(arriving(sent, [WINDOW_US + 100_000 if one.frame == 20 else 0 for one in sent]), "mic", tally=tally)

    assert numbers(found) == [number for number in range(300) if number != 20]
    assert tally["late"] == 1


def test_after_a_loss_nothing_is_given_out_until_the_next_key_frame() -> None:
    """The middle packet of a picture of three is missing."""
    sent = Camera().pictures(30, key_every=10, packets=3)
    middle = 3 * 13 + 1
    tally: Counter[str] = Counter()
    found = depacketised(arriving(sent[:middle] + sent[middle + 1 :], 0), tally=tally)

    assert len(found) == 23
    assert [frame.time_us for frame in found if frame.key] == pytest.approx([HERE, HERE + 10 * PICTURE_US, HERE + 20 * PICTURE_US], abs=20)
    assert (tally["incomplete"], tally["undecodable"]) == (1, 6)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 79)), st.sampled_from([7, 15]), st.integers(1, 3))
def test_a_lost_picture_of_a_higher_temporal_layer_costs_only_what_was_made_from_it(lost: set[int], bits: int, packets: int) -> None:
    """Browsers do not send it again: without it the lowest layer goes on, and the higher ones from their next sync."""
    sent = Camera(bits=bits, layers=True).pictures(80, key_every=40, packets=packets)
    gone = {packets * picture + picture % packets for picture in lost}
    found = depacketised(arriving([one for index, one in enumerate(sent) if index not in gone], 0))

    assert numbers(found) == made.decodable_of_layers(lost, 80, 40)


def test_so_many_lost_pictures_that_the_count_of_the_lowest_layer_came_round_need_a_key_frame() -> None:
    sent = Camera(layers=True).pictures(4 * 258, key_every=4 * 258)
    found = depacketised(arriving([one for one in sent if not 1 <= one.frame < 1 + 4 * 256], 0))

    assert numbers(found) == [0]


@pytest.mark.parametrize(("bits", "lost", "kept"), [(7, 0, True), (7, 1, False), (7, 128, False), (15, 0, True), (15, 128, False), (0, 0, False)])
def test_a_missing_number_is_padding_when_the_pictures_own_number_says_so(bits: int, lost: int, kept: bool) -> None:
    """Padding takes a number and is never recorded. 128 lost pictures look like none in seven bits, but not in so few packets."""
    camera = Camera(bits=bits)
    sent = camera.pictures(5)
    camera.number += lost or 3
    camera.picture += lost
    sent += camera.send(made.picture(77, key=False), HERE + (5 + lost) * PICTURE_US)

    assert (77 in numbers(depacketised(arriving(sent, 0)))) is kept


def test_numbers_and_timestamps_wrap_in_the_middle_of_a_picture() -> None:
    """Sequence numbers after 65535 and timestamps after 2**32 go on."""
    camera = Camera(number=65_535 - 31, timestamp=2**32 - 5 * 3000 - made.ticks(HERE, made.VIDEO))
    found = depacketised(arriving(camera.pictures(40, packets=3), 5000))

    assert len(found) == 40
    assert [frame.time_us - HERE - 5000 for frame in found] == pytest.approx([index * PICTURE_US for index in range(40)], abs=40)


@pytest.mark.parametrize("jump", [4000, 30_000, 60_000, -1100])
def test_a_publisher_whose_numbers_begin_anew_is_heard_from_its_second_packet_on(jump: int) -> None:
    """The first is kept as well, once the second confirms it (RFC 3550 appendix A.1)."""
    voice = Microphone()
    sent = voice.sounds(50)
    voice.number += jump
    sent += voice.sounds(50, at_us=HERE + 10**6)

    assert numbers(depacketised(arriving(sent, 0), "mic")) == list(range(100))


def test_one_packet_from_a_far_place_changes_nothing() -> None:
    """A stray number is left out and counted, and those after it are not taken for late."""
    voice = Microphone()
    sent = voice.sounds(50)
    voice.number += 20_000
    stray = voice.sounds(1, at_us=HERE + 1_000_000)
    voice.number, voice.frame = voice.number - 20_001, 50
    tally: Counter[str] = Counter()
    found = depacketised(arriving(sent + stray + voice.sounds(50, at_us=HERE + 1_020_000), 0), "mic", tally=tally)

    assert numbers(found) == list(range(100))
    assert tally == {"stray": 1}


def test_two_packets_from_different_far_places_are_no_new_beginning() -> None:
    """Only a second number near the first confirms it; both are counted."""
    voice = Microphone()
    sent = voice.sounds(50)
    strays = [Item(HERE + 999_000 + index, b"P", made.rtp(voice.number + far, 0, b"\x78far")) for index, far in enumerate((20_000, 40_000))]
    tally: Counter[str] = Counter()
    found = depacketised(arriving(sent, 0) + strays + arriving(voice.sounds(50, at_us=HERE + 1_000_000), 10_000), "mic", tally=tally)

    assert numbers(found) == list(range(100))
    assert tally == {"stray": 2}


def test_a_picture_without_its_marker_ends_where_the_next_begins() -> None:
    """All of its packets are here: only the sign of the last one is wanting."""
    sent = Camera().pictures(6)
    bare = [Sent(bytes([one.raw[0], one.raw[1] & 0x7F]) + one.raw[2:], one.at_us, one.frame) for one in sent]

    assert numbers(depacketised(arriving(bare[:5] + sent[5:], 0))) == [0, 1, 2, 3, 4, 5]


def test_a_picture_that_never_ends_is_given_up() -> None:
    """A publisher that never sends the marker cannot fill the memory; its next key frame is given out again."""
    camera, tally = Camera(), Counter[str]()
    endless = [Item(HERE + number, b"P", made.rtp(number, 0, made.descriptor(begins=number == 0) + bytes(60_000))) for number in range(150)]
    camera.number, camera.timestamp = 150, 3000
    found = depacketised(endless + arriving(camera.send(made.picture(5, key=True), HERE + PICTURE_US), 0), tally=tally)

    assert numbers(found) == [5]
    assert tally["incomplete"] == 1


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["mic", "cam", "screen", "screen-audio"]),
    st.lists(
        st.tuples(
            st.integers(0, 5_000_000),
            st.sampled_from([b"P", b"S", b"X"]),
            st.one_of(
                st.binary(max_size=40),
                st.builds(made.rtp, st.integers(0, 40), st.integers(0, 2**32 - 1), st.binary(max_size=30), marker=st.booleans()),
                st.builds(lambda pair: pair, st.binary(min_size=16, max_size=16)),
            ),
        ),
        max_size=60,
    ),
    st.one_of(st.none(), st.integers(-(10**16), 10**16)),
    st.integers(0, 2_000_000),
    st.integers(2_000_000, 4_000_000),
)
def test_whatever_a_journal_holds_no_frame_lies_outside_and_nothing_else_is_raised(
    source: str, parts: list[tuple[int, bytes, bytes]], offset_us: int | None, first_us: int, cut_us: int
) -> None:
    """Bytes of anybody: frames in rising order inside the interval, made of what arrived inside it, or the journal is damaged."""
    items = sorted((Item(*part) for part in parts), key=lambda item: item.arrival_us)
    inside = b"".join(item.data for item in items if first_us <= item.arrival_us <= cut_us)
    try:
        found = depacketised(items, source, offset_us=offset_us, within=(first_us, cut_us))
    except Damaged:
        assert not any(parsed(item) for item in items if first_us <= item.arrival_us <= cut_us)
        return

    assert all(first_us <= frame.time_us <= cut_us for frame in found)
    assert all(before.time_us < after.time_us for before, after in zip(found, found[1:], strict=False))
    assert source in ("cam", "screen") or all(frame.data in inside for frame in found)


def parsed(item: Item) -> bool:
    try:
        Packet.parse(item.data)
    except ValueError:
        return False
    return item.kind == b"P"


def test_what_cannot_be_read_is_dropped_and_counted() -> None:
    """A broken packet, one of another SSRC, a payload that ends too early and one that came after the cut."""
    good = arriving(Camera().pictures(3), 0)
    odd = [
        Item(HERE + 1, b"P", b"\x00" * 20),
        Item(HERE + 2, b"P", made.rtp(1000, 0, b"\x10data", ssrc=7)),
        Item(HERE + 3, b"P", made.rtp(1010, 0, b"\x80\x80")),
        Item(HERE + 500_000, b"P", made.rtp(1003, 0, b"\x10data")),
    ]
    tally: Counter[str] = Counter()
    found = depacketised(good + odd, within=(HERE, HERE + 400_000), tally=tally)

    assert numbers(found) == [0, 1, 2]
    assert tally == {"malformed": 2, "foreign": 1, "outside": 1}


def test_a_journal_of_which_no_packet_can_be_read_is_damaged() -> None:
    """One that holds none at all is only empty."""
    assert depacketised([]) == []
    with pytest.raises(Damaged):
        depacketised([Item(HERE, b"P", b"no packet")])


def test_twenty_minutes_are_read_with_two_seconds_of_it_in_memory() -> None:
    """The reader is never further ahead of what it gives out than the window."""
    ahead, read_us, sounds = 0, 0, 0
    voice = Microphone()

    def items() -> Iterator[Item]:
        nonlocal read_us
        for index in range(1200 * 50):
            raw = made.rtp(voice.number + index, index * 960, b"\x78voice")
            read_us = index * 20_000
            yield Item(read_us, b"P", raw)

    for frame in depacketise.frames(items, "mic", offset_us=None, within=EVER):
        ahead, sounds = max(ahead, read_us - frame.time_us), sounds + 1

    assert sounds == 1200 * 50
    assert ahead <= WINDOW_US + 20_000


def test_a_flood_is_put_in_order_over_less_time_than_the_window() -> None:
    """No more than the bound waits, however much arrives at once."""
    read = given = most = 0

    def items() -> Iterator[Item]:
        nonlocal read
        for index in range(2000):
            read = 60_000 * index
            yield Item(HERE + index, b"P", made.rtp(index, index * 3000, b"\x10" + made.picture(index, key=True, size=59_999), marker=True))

    for frame in depacketise.frames(items, "cam", offset_us=None, within=EVER):
        given += len(frame.data) + 1
        most = max(most, read - given)

    assert given == 2000 * 60_000
    assert most <= MOST_BYTES + 2 * 60_000


def test_a_journal_that_a_recorder_wrote_gives_its_frames(tmp_path: Any) -> None:
    """Sealed by the recorder, padding left out by it, read back, depacketised."""
    key, camera = new_key(), Camera()
    file = open(tmp_path / "journal", "xb", buffering=0)  # noqa: SIM115 - reason: the recorder closes it
    recorder = Recorder(file, key, CLAIM, started=100.0, ask_for_key_frame=lambda: None)
    for index in range(60):
        camera.number += index % 2  # padding between two pictures
        for one in camera.send(made.picture(index, key=index == 0), index * PICTURE_US):
            padding = bytes([one.raw[0] | 0x20]) + made.rtp(camera.number - 2, 0, b"\x01")[1:]
            recorder.packet(Packet.parse(padding), padding, 100 + one.at_us / 1e6)
            recorder.packet(Packet.parse(one.raw), one.raw, 100 + one.at_us / 1e6)
    recorder.stop("stopped", 103.0)
    reader = Reader(io.BytesIO((tmp_path / "journal").read_bytes()), key, CLAIM)
    found = list(depacketise.frames(reader.items, "cam", offset_us=depacketise.clock_offset(reader.items()), within=(0, 3_000_000)))

    assert numbers(found) == list(range(60))
    assert [frame.time_us for frame in found] == pytest.approx([index * PICTURE_US for index in range(60)], abs=40)
