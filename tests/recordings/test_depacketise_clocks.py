"""Where frames lie in time: by the publisher's own clock, whatever the way to the relay does to the packets."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings.depacketise import Frame, clock_offset
from recordings.depacketise.clocks import read_reports
from recordings.journal import Item
from tests.recordings.packets import (
    HERE,
    PICTURE_US,
    SOUND_US,
    Camera,
    Microphone,
    PublisherClock,
    arriving,
    depacketised,
    jitter,
    picture,
    ticks,
    together,
)

CLOCK = PublisherClock()
LEAST = 20_000  # the smallest delay of reports: what recording time is later than capture
SLOW = 90_000  # the smallest delay of packets where only the reports can tell the right place
SECOND = 1_000_000


def times(frames: Iterable[Frame]) -> list[int]:
    """Capture times, as the frames show them."""
    return [frame.time_us - LEAST for frame in frames]


def grid(count: int, step_us: int, first_us: int = HERE) -> list[int]:
    return [first_us + index * step_us for index in range(count)]


def closely(expected: list[int], within_us: int = 1000) -> Any:
    return pytest.approx(expected, abs=within_us, rel=0)


@pytest.mark.parametrize("seed", range(5))
def test_jitter_does_not_move_a_frame(seed: int) -> None:
    """Packets arrive 20 to 150 ms after they were sent; their frames are as far apart as when they were captured."""
    voice = Microphone()
    sent = voice.sounds(500)
    items = together(arriving(sent, jitter(500, seed)), CLOCK.reports(voice, HERE, HERE + 10 * SECOND))

    assert times(depacketised(items, "mic", clock_offset(items))) == closely(grid(500, SOUND_US))


@pytest.mark.parametrize("seed", range(5))
def test_voice_and_picture_of_one_moment_meet_although_one_took_longer(seed: int) -> None:
    """The camera's packets come 180 ms later than the voice's, from other random timestamps: they land within 20 ms of each other."""
    voice, camera = Microphone(timestamp=2**32 - 5), Camera(timestamp=123_456_789)
    heard = together(arriving(voice.sounds(500), jitter(500, seed)), CLOCK.reports(voice, HERE, HERE + 10 * SECOND, 5 * SECOND))
    late = [delay + 180_000 for delay in jitter(300, seed + 50)]
    seen = together(arriving(camera.pictures(300), late), CLOCK.reports(camera, HERE, HERE + 10 * SECOND))
    offset = min(found for items in (heard, seen) if (found := clock_offset(items)) is not None)
    sounds, pictures = depacketised(heard, "mic", offset), depacketised(seen, "cam", offset)

    clap, flash = sounds[250], pictures[150]  # both captured after five seconds
    assert abs(clap.time_us - flash.time_us) < 20_000
    apart = depacketised([item for item in seen if item.kind == b"P"], "cam")[150].time_us - clap.time_us
    assert apart > 150_000  # by arrival alone they do not


def test_a_first_report_that_comes_after_seconds_places_what_came_before_it() -> None:
    """Nothing is guessed meanwhile: the reports are read before the packets."""
    voice = Microphone()
    items = together(arriving(voice.sounds(500), jitter(500, 1, least=SLOW)), CLOCK.reports(voice, HERE + 7 * SECOND, HERE + 10 * SECOND))

    assert times(depacketised(items, "mic", clock_offset(items))) == closely(grid(500, SOUND_US))


def test_without_a_report_the_smallest_way_counts() -> None:
    """The fastest packet of the first seconds tells where the others belong."""
    delays = jitter(500, 4)
    delays[0], delays[40] = 150_000, LEAST
    items = arriving(Microphone().sounds(500), delays)

    assert clock_offset(items) is None
    assert times(depacketised(items, "mic")) == closely(grid(500, SOUND_US))


@pytest.mark.parametrize(
    "wrong", [{"ntp_wrong_us": 3_600 * SECOND}, {"ntp_wrong_us": -3 * SECOND}, {"rtp_wrong_us": 9 * SECOND}, {"rtp_wrong_us": -3 * SECOND}]
)
@pytest.mark.parametrize("at_us", [HERE, HERE + 5 * SECOND, HERE + 9 * SECOND], ids=["first", "middle", "last"])
def test_a_report_that_is_far_off_the_arrival_is_ignored(wrong: dict[str, int], at_us: int) -> None:
    """Wherever it comes, the frames lie as if it had not come."""
    voice = Microphone()
    honest = [item for item in CLOCK.reports(voice, HERE, HERE + 10 * SECOND) if item.arrival_us != at_us + LEAST]
    items = together(arriving(voice.sounds(500), jitter(500, 2, least=SLOW)), honest, [CLOCK.report(voice, at_us, **wrong)])

    assert abs((clock_offset(items) or 0) - (clock_offset(honest) or 0)) <= 1
    assert times(depacketised(items, "mic", clock_offset(honest))) == closely(grid(500, SOUND_US))


def test_reports_before_and_after_a_run_of_wrong_ones_count() -> None:
    """For five seconds the publisher's clock is three seconds off: no frame moves."""
    voice = Microphone()
    wrong = [CLOCK.report(voice, HERE + second * SECOND, ntp_wrong_us=3 * SECOND) for second in range(3, 8)]
    honest = [CLOCK.report(voice, HERE + second * SECOND) for second in (0, 1, 2, 8, 9, 10)]
    items = together(arriving(voice.sounds(500), jitter(500, 9, least=SLOW)), wrong, honest)

    assert times(depacketised(items, "mic", clock_offset(items))) == closely(grid(500, SOUND_US))


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize("jump_us", [-(10**9), -5 * SECOND, 5 * SECOND, 10**9])
def test_a_source_that_begins_anew_with_other_timestamps_stays_in_its_place(reported: bool, jump_us: int) -> None:
    """With a report after the jump, and without any: the second half lies where it was captured."""
    before, after = Microphone(), Microphone(number=2250, frame=250)
    after.timestamp = before.timestamp + ticks(jump_us, 48_000)
    sent = before.sounds(250) + after.sounds(250, at_us=HERE + 5 * SECOND)
    clocks = CLOCK.reports(before, HERE, HERE + 4 * SECOND, 3 * SECOND) + CLOCK.reports(after, HERE + 8 * SECOND, HERE + 9 * SECOND)
    delays = jitter(500, 3, least=SLOW if reported else LEAST, most=SLOW + 20_000 if reported else LEAST + 20_000)
    items = together(arriving(sent, delays), clocks if reported else [])
    found = times(depacketised(items, "mic", clock_offset(items)))

    assert len(found) == 500
    assert found == closely(grid(500, SOUND_US), 1000 if reported else 21_000)


@pytest.mark.parametrize("reported", [True, False])
def test_a_pause_and_a_silence_keep_their_place(reported: bool) -> None:
    """Muted for a minute, then packets of silence every 400 ms, then the voice again."""
    voice = Microphone()
    sent = voice.sounds(50)
    moments = grid(50, SOUND_US)
    for at_us in [*grid(20, 400_000, HERE + 61 * SECOND), *grid(50, SOUND_US, HERE + 69 * SECOND)]:
        sent += voice.send(b"\x78" + bytes(4), at_us)
        moments.append(at_us)
    items = together(arriving(sent, jitter(120, 6)), CLOCK.reports(voice, HERE, HERE + 70 * SECOND, 5 * SECOND) if reported else [])

    assert times(depacketised(items, "mic", clock_offset(items))) == closely(moments, 1000 if reported else 30_000)


def test_packets_that_were_held_up_for_seconds_lie_where_they_were_captured() -> None:
    """The way was blocked for six seconds and all came at once: the reports before and after agree, so they are believed."""
    voice = Microphone()
    sent = voice.sounds(1000)
    free_us = HERE + 12 * SECOND
    delays = [free_us - one.at_us if 6 * SECOND <= one.at_us - HERE < 12 * SECOND else SLOW for one in sent]
    clocks = CLOCK.reports(voice, HERE, HERE + 6 * SECOND) + CLOCK.reports(voice, HERE + 13 * SECOND, HERE + 20 * SECOND)
    items = together(arriving(sent, delays), clocks)

    assert times(depacketised(items, "mic", clock_offset(items))) == closely(grid(1000, SOUND_US))


def test_a_participant_who_came_back_with_another_device_keeps_time() -> None:
    """The other device's clock is an hour off. The smallest offset is not of this journal, so its own counts."""
    voice, other = Microphone(), PublisherClock(CLOCK.ntp_us + 3600 * SECOND)
    start_us = HERE + 60 * SECOND
    first = together(arriving(voice.sounds(200), jitter(200, 1, least=SLOW)), CLOCK.reports(voice, HERE, HERE + 4 * SECOND))
    again = arriving(voice.sounds(200, at_us=start_us), jitter(200, 2, least=SLOW))
    second = together(again, other.reports(voice, start_us, start_us + 4 * SECOND))
    offset = min(clock_offset(first) or 0, clock_offset(second) or 0)

    assert times(depacketised(first, "mic", offset)) == closely(grid(200, SOUND_US))
    assert times(depacketised(second, "mic", offset)) == closely(grid(200, SOUND_US, start_us))


def test_timestamps_wrap_and_a_publishers_clock_enters_the_era_of_2036() -> None:
    """32-bit RTP time and 64-bit NTP time both begin again in the middle; nothing moves."""
    clock = PublisherClock(2**32 * SECOND - HERE - 5 * SECOND)
    camera = Camera(timestamp=2**32 - ticks(HERE + 4 * SECOND, 90_000))
    reports = clock.reports(camera, HERE, HERE + 10 * SECOND)
    items = together(arriving(camera.pictures(300), jitter(300, 5)), reports)

    assert clock_offset(reports[:5]) == pytest.approx(clock_offset(reports[6:]), abs=2)
    assert times(depacketised(items, "cam", clock_offset(items))) == closely(grid(300, PICTURE_US))


def test_a_clock_that_wanders_between_reports_makes_no_step() -> None:
    """Each report is up to 8 ms off: the frames follow smoothly, none comes 2 ms too near or too far from the one before."""
    voice = Microphone()
    wander = [0, 8, -8, 5, -3, 8, 0, -8, 8, 0, 3]
    clocks = [CLOCK.report(voice, HERE + index * SECOND, rtp_wrong_us=1000 * off) for index, off in enumerate(wander)]
    found = depacketised(together(arriving(voice.sounds(500), jitter(500, 8)), clocks), "mic", clock_offset(clocks))

    assert times(found) == closely(grid(500, SOUND_US), 10_000)
    assert all(abs(after.time_us - before.time_us - SOUND_US) < 2000 for before, after in pairwise(found[5:]))


def test_no_frame_lies_before_the_first_arrival_or_after_the_cut() -> None:
    """Another journal's smaller offset would put the first frames before this one began: they are moved up, not out."""
    camera = Camera()
    items = together(arriving(camera.pictures(90), 30_000), CLOCK.reports(camera, HERE, HERE + 3 * SECOND))
    within = (items[0].arrival_us, items[-1].arrival_us - SECOND)
    found = depacketised(items, "cam", (clock_offset(items) or 0) - 100_000, within=within)

    assert found[0].key
    assert found[0].time_us == within[0]
    assert found[-1].time_us <= within[1]
    assert all(before.time_us < after.time_us for before, after in pairwise(found))
    assert len(found) == sum(item.arrival_us <= within[1] for item in items if item.kind == b"P")


def test_no_frame_lies_after_its_own_arrival() -> None:
    """A report that is a second ahead of the packets is believable, but nothing is captured after it arrived."""
    voice = Microphone()
    sent = voice.sounds(100)
    clocks = [CLOCK.report(voice, HERE, rtp_wrong_us=-SECOND)]
    found = depacketised(together(arriving(sent, LEAST), clocks), "mic", clock_offset(clocks))

    assert [frame.time_us for frame in found] == closely([one.at_us + LEAST for one in sent])


def test_a_picture_arrives_with_the_first_of_its_packets() -> None:
    """Its first packet was lost and sent again: another one came before, and the picture is no later than that."""
    camera = Camera(payload=500)
    sent = camera.send(picture(0, key=True, size=2000), HERE)
    clocks = [CLOCK.report(camera, HERE, rtp_wrong_us=-SECOND)]
    found = depacketised(together(arriving(sent, [900_000, *[LEAST] * (len(sent) - 1)]), clocks), "cam", clock_offset(clocks))

    assert times(found) == closely([HERE])


def test_a_flood_of_reports_is_thinned() -> None:
    """A publisher that sends a thousand a second fills nothing."""
    voice = Microphone()
    clocks = CLOCK.reports(voice, HERE, HERE + 10 * SECOND, 1000)

    assert len(clocks) == 10_000
    assert 90 <= len(read_reports(clocks)) <= 100


def test_reports_that_cannot_be_read_are_left_out() -> None:
    """Half a pair of clocks is none."""
    assert clock_offset([Item(HERE, b"S", bytes(15)), Item(HERE, b"S", b"")]) is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-(10**7), 10**7), max_size=8),
    st.lists(st.integers(-(10**7), 10**7), max_size=8),
    st.lists(st.integers(LEAST, 1_500_000), min_size=60, max_size=60),
    st.integers(-(10**7), 10**7),
)
def test_whatever_the_reports_say_every_frame_is_given_out_in_rising_order_near_its_arrival(
    ntp_wrong: list[int], rtp_wrong: list[int], delays: list[int], offset_wrong: int
) -> None:
    """No report can lose a frame or move it further than is believed of any."""
    camera = Camera()
    lies = [CLOCK.report(camera, HERE + index * 200_000, ntp_wrong_us=off) for index, off in enumerate(ntp_wrong)]
    lies += [CLOCK.report(camera, HERE + index * 300_000, rtp_wrong_us=off) for index, off in enumerate(rtp_wrong)]
    items = together(arriving(camera.pictures(60), delays), lies)
    found = depacketised(items, "cam", CLOCK.ntp_us + offset_wrong)

    assert [int.from_bytes(frame.data[-4:]) for frame in found] == list(range(60))
    assert all(before.time_us < after.time_us for before, after in pairwise(found))
    assert all(HERE - 12 * SECOND < frame.time_us < HERE + 60 * PICTURE_US + 1_600_000 for frame in found)
