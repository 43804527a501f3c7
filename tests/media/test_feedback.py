"""What is asked of publishers, and how often: arithmetic with a clock moved by hand."""

from __future__ import annotations

from calls.media.budgets import Bucket
from calls.media.feedback import CEILINGS, FLOOR, KEY_FRAME_GAP, LONGEST_JUMP, MOST_REPEATS, Ceiling, KeyFrames, Reception
from calls.media.peer import RTCP_RTPFB_NACK, RtcpRrPacket, RtcpRtpfbPacket, parse_rtcp
from calls.media.sink import Packet


def packet(number: int, timestamp: int = 0) -> Packet:
    return Packet(96, False, number & 0xFFFF, timestamp, 5, b"x")


def test_key_frames_are_asked_for_at_most_once_per_gap_and_an_early_wish_is_kept() -> None:
    frames = KeyFrames()
    assert not frames.due(0.0)
    frames.want()
    assert frames.due(0.0)
    frames.want()
    frames.want()
    assert not frames.due(KEY_FRAME_GAP / 2)
    assert frames.due(KEY_FRAME_GAP)
    assert not frames.due(10.0)


def test_a_gap_across_the_wrap_is_asked_for_and_filled() -> None:
    reception = Reception(90000)
    assert reception.add(packet(65533), 0.0) == []
    assert sorted(reception.add(packet(2), 0.0)) == [0, 1, 65534, 65535]
    request = RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, 5, reception.repeat(1.0))
    assert {lost & 0xFFFF for lost in parse_rtcp(bytes(request))[0].lost} == {0, 1, 65534, 65535}  # type: ignore[union-attr]  # reason: a NACK was packed

    for number in (65534, 65535, 0, 1):
        reception.add(packet(number), 0.0)
    assert reception.repeat(2.0) == []


def test_a_number_is_asked_for_a_bounded_number_of_times() -> None:
    reception = Reception(90000)
    reception.add(packet(1), 0.0)
    asked = [reception.add(packet(3), 0.0), *[reception.repeat(float(second)) for second in range(1, 40)]]
    assert [numbers for numbers in asked if numbers] == [[2]] * MOST_REPEATS


def test_a_newer_gap_asks_for_its_own_numbers_and_not_again_for_those_whose_answer_may_be_under_way() -> None:
    """Many are lost at a high rate over a long way: each is asked for every 100 ms, and not sent ten times before the first answer comes."""
    reception = Reception(90000)
    reception.add(packet(1), 0.0)
    asked = [reception.add(packet(3 + 2 * gap), 0.01 * gap) for gap in range(25)]

    of_the_first = [0.01 * gap for gap, numbers in enumerate(asked) if 2 in numbers]
    assert len(of_the_first) == 3
    assert all(2 + 2 * gap in numbers for gap, numbers in enumerate(asked))


def test_a_jump_that_nothing_can_repair_is_not_asked_for() -> None:
    reception = Reception(90000)
    for jump in range(200):
        assert reception.add(packet(jump * (LONGEST_JUMP + 2000)), 0.0) == []


def test_a_report_fits_its_fields_whatever_the_publisher_sends() -> None:
    reception = Reception(90000)
    assert reception.report(5, 0.0) is None
    for at in range(300):
        reception.add(packet(at * 30000, timestamp=(at * 0x7FFFFFFF) & 0xFFFFFFFF), 0.0)
        block = reception.report(5, 0.0)
        assert block is not None
        assert parse_rtcp(bytes(RtcpRrPacket(1, [block])))


def test_a_report_says_when_the_publishers_last_report_came() -> None:
    reception = Reception(90000)
    reception.add(packet(7), 0.0)
    reception.sender_report(0x1122334455667788, 10.0)
    block = reception.report(5, 10.5)
    assert block is not None
    assert (block.lsr, block.dlsr, block.highest_sequence) == (0x33445566, 32768, 7)


def test_the_ceiling_falls_when_a_listener_loses_more_than_a_tenth_and_never_below_its_floor() -> None:
    ceiling = Ceiling("cam")
    assert ceiling.rate == CEILINGS["cam"] == 1_500_000
    ceiling.lost("gail", 0.2, 0.0)
    assert ceiling.rate == 1_350_000
    ceiling.lost("gail", 0.05, 1.0)
    assert ceiling.rate == 1_350_000
    for second in range(100):
        ceiling.lost("gail", 1.0, float(second))
    assert ceiling.rate == FLOOR


def test_the_ceiling_grows_by_eight_per_cent_per_second_while_nobody_loses_and_never_above_its_cap() -> None:
    ceiling = Ceiling("screen")
    ceiling.lost("gail", 0.5, 0.0)
    low = ceiling.rate
    ceiling.grow(0.0)
    ceiling.grow(1.0)
    assert ceiling.rate == low, "the listener's loss is still fresh"
    ceiling.lost("gail", 0.01, 1.0)
    ceiling.grow(2.0)
    assert ceiling.rate == int(low * 1.08)
    for second in range(3, 100):
        ceiling.grow(float(second))
    assert ceiling.rate == CEILINGS["screen"] == 2_500_000


def test_a_listener_that_is_gone_or_silent_no_longer_holds_the_ceiling_down() -> None:
    ceiling = Ceiling("cam")
    ceiling.lost("gail", 0.5, 0.0)
    ceiling.grow(0.0)
    low = ceiling.rate
    ceiling.forget("gail")
    ceiling.grow(1.0)
    assert ceiling.rate > low


def test_a_bucket_refills_with_time_up_to_its_size() -> None:
    bucket = Bucket(rate=2.0, burst=3.0, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5) for _ in range(2)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
