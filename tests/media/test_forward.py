"""One packet to many listeners: numbers, headers, history, key frames, taps."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.media import sdp
from calls.media.forward import HISTORY, Numbering
from calls.media.path import Estimated, Layer, Shape
from calls.media.peer import (
    RTCP_PSFB_APP,
    RTCP_RTPFB_NACK,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    pack_remb_fci,
    parse_rtcp,
)
from calls.media.sink import Packet, starts_key_frame

from .plain import AUDIO, IDS, VIDEO, PlainPath, rtp

KEY, DELTA = b"\x10\x00", b"\x10\x01"


class Tape:
    """A sink that remembers, or fails when asked to."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.numbers: list[int] = []
        self.reports: list[tuple[int, int]] = []
        self.over: list[str] = []

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        if self.fails:
            raise RuntimeError("disk full")
        self.numbers.append(packet.sequence_number)

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        self.reports.append((ntp, rtp))

    def closed(self, reason: str) -> None:
        self.over.append(reason)


class Path:
    """A path with one track and as many listeners as asked for."""

    def __init__(self, kind: str = "video", listeners: int = 1, repairs: bool = False) -> None:
        self.plain, self.kind = PlainPath(), kind
        self.plain.open(kind)
        self.path, self.counters = self.plain.path, self.plain.counters
        self.ends = [self.plain.listen(repairs=repairs) for _ in range(listeners)]

    def send(self, number: int, payload: bytes = DELTA, marker: bool = False, timestamp: int = 90, **extensions: bytes) -> None:
        ids = {"orientation": IDS[sdp.ORIENTATION], "level": IDS[sdp.AUDIO_LEVEL], "mid": IDS[sdp.MID]}
        found = {ids[name]: value for name, value in extensions.items()}
        body = payload + number.to_bytes(4) if payload else b""
        payload_type = VIDEO if self.kind == "video" else AUDIO
        self.plain.take(rtp(number, body, payload_type=payload_type, timestamp=timestamp, marker=marker, extensions=found))

    def report(self, ntp: int, rtp_time: int) -> None:
        self.plain.take(bytes(RtcpSrPacket(5, RtcpSenderInfo(ntp, rtp_time, 1, 1))))

    def lost(self, listener: int, *numbers: int) -> None:
        """A listener asks for these again."""
        for number in numbers:
            self.plain.hear(self.ends[listener], bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, 7000 + listener, [number & 0xFFFF])))

    def raw(self, listener: int = 0) -> list[bytes]:
        return self.plain.sent[self.ends[listener].number]

    def told(self, listener: int = 0) -> list[bytes]:
        return self.plain.told[self.ends[listener].number]

    def got(self, listener: int = 0) -> list[Packet]:
        return self.plain.packets(self.ends[listener])

    @property
    def starving(self) -> bool:
        return self.path.seen(1).layers[0].starving


def test_a_copy_has_its_own_header_and_the_publishers_timestamp_marker_and_payload() -> None:
    path = Path()
    path.send(65535, KEY, marker=True, timestamp=123456, orientation=b"\x03", mid=b"secret")
    packet = path.got()[0]

    assert (packet.ssrc, packet.payload_type, packet.sequence_number) == (7000, 96, 65535)
    assert (packet.timestamp, packet.marker, packet.payload) == (123456, True, KEY + (65535).to_bytes(4))
    assert packet.extensions[1] == b"0"
    assert len(packet.extensions[2]) == 3
    assert packet.extensions[4] == b"\x03"
    assert set(packet.extensions) == {1, 2, 4}


def test_sound_keeps_its_level_and_starts_at_once() -> None:
    path = Path("audio")
    path.send(1, b"\xfc", level=b"\x85")
    packet = path.got()[0]
    assert (packet.payload_type, packet.extensions) == (111, {1: b"0", 3: b"\x85"})


def test_a_listener_starts_with_a_key_frame() -> None:
    path = Path()
    path.send(1)
    assert path.starving
    path.send(2, KEY)
    path.send(3)
    assert [p.sequence_number for p in path.got()] == [2, 3]
    assert not path.starving


def test_a_listener_that_cannot_take_a_packet_waits_for_the_next_key_frame_and_nobody_else_does() -> None:
    path = Path(listeners=2)
    path.send(1, KEY)
    path.plain.shut.add(path.ends[0].number)
    path.send(2)
    path.plain.shut.clear()
    path.send(3)
    assert path.starving
    path.send(4, KEY)

    assert [p.sequence_number for p in path.got()] == [1, 4]
    assert [p.sequence_number for p in path.got(1)] == [1, 2, 3, 4]


def test_dropped_padding_leaves_no_hole_and_a_reordered_packet_keeps_its_own_number() -> None:
    path = Path()
    path.send(10, KEY)
    path.send(12)  # 11 is late
    path.send(13, b"")  # padding only
    path.send(14)
    path.send(11)
    path.send(16, b"")
    path.send(15)  # before the padding that came first
    path.send(17)

    assert sorted(p.sequence_number for p in path.got()) == [10, 11, 12, 13, 14, 15]
    by_number = {p.sequence_number: int.from_bytes(p.payload[-4:]) for p in path.got()}
    assert by_number == {10: 10, 11: 11, 12: 12, 13: 14, 14: 15, 15: 17}


def test_padding_that_comes_too_late_to_be_skipped_fills_its_place_empty() -> None:
    path = Path()
    path.send(10, KEY)
    path.send(12)
    path.send(11, b"")
    numbers = {p.sequence_number: p.payload for p in path.got()}
    assert set(numbers) == {10, 11, 12}
    assert numbers[11] == b""


@given(st.integers(0, 65535), st.lists(st.sampled_from("mmmp"), min_size=3, max_size=300), st.integers(0, 2**32))
def test_whatever_is_padding_and_however_it_is_reordered_each_number_carries_one_packet(start: int, kinds: list[str], seed: int) -> None:
    path, chance = Path("audio"), random.Random(seed)
    order = sorted(range(len(kinds)), key=lambda at: at + chance.uniform(0, 6))
    order.remove(0)
    for at in [0, *order]:
        path.send((start + at) & 0xFFFF, b"" if kinds[at] == "p" and at else b"\xfc")

    seen = [p.sequence_number for p in path.got()]
    assert len(seen) == len(set(seen))
    media = [p for p in path.got() if p.payload]
    in_order = sorted(media, key=lambda p: (p.sequence_number - start) & 0xFFFF)
    sent = [(int.from_bytes(p.payload[-4:]) - start) & 0xFFFF for p in in_order]
    assert sent == sorted(sent)
    assert len(sent) == sum(kind == "m" or at == 0 for at, kind in enumerate(kinds))


def test_numbers_wrap_and_a_publisher_that_starts_over_is_followed_after_two_packets() -> None:
    numbering = Numbering()
    for number in (65534, 65535, 0, 1):
        long = numbering.unwrap(number)
        assert long is not None
        numbering.reached(long)
    assert numbering.highest == 0x20001

    assert numbering.unwrap(40000) is None
    assert numbering.unwrap(40001) == 0x20002


def test_what_was_lost_is_sent_again_to_the_last_bit() -> None:
    path = Path()
    for number in range(65500, 65500 + 100):
        path.send(number & 0xFFFF, KEY if number == 65500 else DELTA, orientation=b"\x01")
    first = dict(zip([p.sequence_number for p in path.got()], path.raw(), strict=True))
    path.raw().clear()

    path.lost(0, 65534, 65535, 65536, 65537)

    assert path.raw() == [first[65534], first[65535], first[0], first[1]]


def test_the_history_holds_512_packets_and_only_what_this_listener_was_sent() -> None:
    path = Path("audio")
    for number in range(HISTORY + 100):
        path.send(number, b"\xfc")
    path.ends.append(path.plain.listen())
    path.send(HISTORY + 100, b"\xfc")
    path.raw().clear()

    path.lost(0, 50, HISTORY)
    path.lost(1, HISTORY)

    assert [p.sequence_number for p in path.got()] == [HISTORY]
    assert len(path.raw(1)) == 1


def test_with_repairs_agreed_what_was_lost_comes_under_an_ssrc_of_its_own_with_its_number_in_front() -> None:
    path = Path(repairs=True)
    path.send(65535, KEY, timestamp=7)
    path.send(0, marker=True, timestamp=8)
    first = path.got()[1]

    path.lost(0, 0, 0)
    again = path.got()[2:]

    assert [(p.ssrc, p.payload_type, p.sequence_number) for p in again] == [(8000, 97, 1), (8000, 97, 2)]
    assert {p.payload for p in again} == {b"\x00\x00" + first.payload}
    assert {(p.timestamp, p.marker) for p in again} == {(8, True)}
    assert [int.from_bytes(p.extensions[5]) for p in path.got()] == [1, 2, 3, 4]
    assert 2 not in first.extensions


def test_requests_to_send_again_have_a_budget_per_listener() -> None:
    path = Path("audio", listeners=2)
    for number in range(300):
        path.send(number, b"\xfc")
    before = len(path.raw())
    for _ in range(10):
        path.lost(0, *range(300))
    assert len(path.raw()) - before < 700
    assert path.counters["resend-budget"] > 0
    path.lost(1, 299)
    assert len(path.raw(1)) == 301


def test_one_number_is_never_given_to_two_packets() -> None:
    path = Path("audio")
    path.send(5, b"\xfc")
    path.send(5, b"\xfd")
    assert len(path.raw()) == 1
    assert path.counters["rtp-repeated"] == 1


def test_the_publishers_pair_of_clocks_goes_to_every_listener_unchanged_under_the_participants_name() -> None:
    path = Path("audio")
    path.send(1, b"\xfc")
    path.report(0x1122334455667788, 4242)
    report, names = parse_rtcp(path.told()[-1])

    assert isinstance(report, RtcpSrPacket)
    assert isinstance(names, RtcpSdesPacket)
    assert (report.ssrc, report.sender_info.ntp_timestamp, report.sender_info.rtp_timestamp) == (7000, 0x1122334455667788, 4242)
    assert report.sender_info.packet_count == 1
    assert names.chunks[0].items == [(1, b"gail")]


def test_a_publisher_that_reports_all_the_time_is_passed_on_ten_times_a_second_and_recorded_whole() -> None:
    plain, tape = PlainPath(), Tape()
    plain.open()
    listeners = [plain.listen(), plain.listen()]
    plain.path.tap(1, tape, 0)
    plain.take(rtp(1, KEY))

    for turn in range(100):  # in just under a second
        plain.clock.now += 0.0099
        plain.take(bytes(RtcpSrPacket(5, RtcpSenderInfo(turn, 1, 1, 1))))

    for listener in listeners:
        passed = [parse_rtcp(told)[0].sender_info.ntp_timestamp for told in plain.told[listener.number]]
        assert passed == list(range(0, 100, 11)), "each at least 100 ms behind the one before"
    assert len(tape.reports) == 100


def test_control_packets_of_an_end_without_tracks_and_copies_are_dropped_unopened() -> None:
    plain = PlainPath()
    trial = plain.end(50)
    said = bytes(RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, pack_remb_fci(1_000_000, [5])))

    plain.hear(trial, said)
    plain.path.poll(plain.now)
    assert (plain.counters["rtcp-unasked"], trial.events) == (1, [])

    plain.path.open(2, trial, Shape("audio", "m", AUDIO, None, IDS, (Layer("", 6),)))
    plain.hear(trial, said)
    plain.path.poll(plain.now)
    assert (plain.counters["rtcp-unasked"], trial.events) == (1, [Estimated(1_000_000)])


def test_a_new_listener_is_told_the_last_pair_of_clocks_with_its_first_packet() -> None:
    path = Path("audio", listeners=0)
    path.report(1, 2)
    path.ends.append(path.plain.listen())
    assert path.told() == []
    path.send(1, b"\xfc")
    assert len(path.told()) == 1


def test_a_removed_listener_gets_a_goodbye_and_nothing_more() -> None:
    path = Path("audio")
    path.send(1, b"\xfc")
    path.path.remove(1, "listener-0")
    path.send(2, b"\xfc")

    assert len(path.raw()) == 1
    assert parse_rtcp(path.told()[-1]) == [RtcpByePacket([7000])]
    assert path.path.listeners(1) == frozenset()


def test_taking_a_tap_off_returns_the_last_number_it_was_given_and_nothing_follows() -> None:
    path, tape = Path(), Tape()
    path.path.tap(1, tape, 0)
    for number in (65534, 65535, 1, 0):
        path.send(number, KEY)
    path.send(2, b"")

    cut = path.path.untap(1, tape)
    path.send(3, KEY)

    assert (cut, tape.numbers) == (2, [65534, 65535, 1, 0, 2])
    assert path.path.untap(1, tape) is None


def test_a_tap_that_got_nothing_has_no_cut() -> None:
    path, tape = Path(), Tape()
    path.path.tap(1, tape, 0)
    assert path.path.untap(1, tape) is None


def test_a_tap_that_fails_is_taken_off_and_the_call_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    path, broken, whole = Path(), Tape(fails=True), Tape()
    path.path.tap(1, broken, 0)
    path.path.tap(1, whole, 0)
    path.send(1, KEY)
    path.send(2)

    assert broken.over == ["faulty"]
    assert whole.numbers == [1, 2]
    assert len(path.raw()) == 2
    assert path.counters["tap-failed"] == 1


def test_a_track_that_ends_tells_its_taps_why() -> None:
    path, tape = Path(), Tape()
    path.path.tap(1, tape, 0)
    path.report(1, 2)
    path.path.close(1, "left")
    assert (tape.reports, tape.over) == ([(1, 2)], ["left"])


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        (b"\x10\x00", True),
        (b"\x10\x01", False),
        (b"\x00\x00", False),
        (b"\x11\x00", False),
        (b"\x90\x80\x05\x00", True),
        (b"\x90\x80\x85\x05\x00", True),
        (b"\x90\xe0\x85\x05\x07\x20\x00", True),
        (b"\x90\xe0\x85\x05\x07\x20\x01", False),
        (b"\x90", False),
        (b"", False),
    ],
)
def test_key_frames_are_told_by_the_first_bytes(payload: bytes, key: bool) -> None:
    assert starts_key_frame(payload) is key


@given(st.binary(max_size=12))
def test_no_payload_raises(payload: bytes) -> None:
    starts_key_frame(payload)


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_value_error_when_read_as_rtp(raw: bytes) -> None:
    for attempt in (raw, b"\x90" + raw, b"\xb0\x60" + raw):
        with contextlib.suppress(ValueError):
            Packet.parse(attempt)
