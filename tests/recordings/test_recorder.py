"""What the recorder keeps is exactly what came before the cut; what it may not keep is gone from the file."""

from __future__ import annotations

import io
import os
import resource
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.media.sink import Packet
from recordings.journal import Reader, read_clock_pair
from recordings.recorder import FIRST_KEY_FRAME_SECONDS, KEY_FRAME_SECONDS, RECORD_BYTES, Recorder
from recordings.sealing import Context, new_key

GAIL_CAM = Context("acme", "recording-1", "gail", "cam", "epoch-1", bytes(range(32)))
KEY = new_key()
STARTED = 5000.0
STEP = 0.02  # seconds between packets
KEY_FRAME = b"\x10\x00"  # its first packet (RFC 7741 sections 4.2 and 4.3)


def rtp(number: int, payload: bytes = b"picture", length: int = 0) -> tuple[Packet, bytes]:
    raw = b"\x80\x60" + number.to_bytes(2) + (90 * number).to_bytes(4) + b"SSRC" + payload + bytes(length)
    return Packet.parse(raw), raw


def moment(number: int) -> float:
    return STARTED + number * STEP


class Desk:
    """A recorder on a real file, a clock that is told the time, and what was asked of the publisher."""

    def __init__(self, folder: Path, source: str = "cam") -> None:
        self.path, self.now, self.asked = folder / "journal", STARTED, 0
        self.context = replace(GAIL_CAM, source=source)
        self.file = open(self.path, "xb", buffering=0)  # noqa: SIM115 - reason: the recorder closes it
        self.recorder = Recorder(self.file, KEY, self.context, started=STARTED, ask_for_key_frame=self.ask, clock=lambda: self.now)

    def ask(self) -> None:
        self.asked += 1

    def send(self, first: int, last: int) -> None:
        """Packets `first` to `last - 1`, each followed by a tick."""
        for number in range(first, last):
            self.now = moment(number)
            self.recorder.packet(*rtp(number), self.now)
            self.recorder.tick(self.now)

    def reader(self) -> Reader:
        return Reader(io.BytesIO(self.path.read_bytes()), KEY, self.context)

    def numbers(self) -> list[int]:
        """The sequence numbers of the stored packets."""
        return [Packet.parse(item.data).sequence_number for item in self.reader().items() if item.kind == b"P"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_packets_that_nobody_has_read_are_kept_as_those_that_were(tmp_path: Path) -> None:
    kept, asked = list[list[bytes]](), list[int]()
    for way in ("read", "bare"):
        (tmp_path / way).mkdir()
        desk = Desk(tmp_path / way)
        for number in range(300):
            payload = b"" if number % 7 == 3 else KEY_FRAME + bytes(number % 40) if number == 60 else b"\x90" + bytes(number % 20)
            padding = b"\0\0\0\4" if number % 7 in (3, 5) else b""
            raw = bytes([0xA0 if padding else 0x80, 0x60]) + number.to_bytes(2) + bytes(8) + payload + padding
            if way == "read":
                desk.recorder.packet(Packet.parse(raw), raw, moment(number))
            else:
                desk.recorder.heard(raw, 12, len(payload), moment(number))
            desk.recorder.tick(moment(number))
        desk.recorder.stop("stopped", moment(300))
        kept.append([item.data for item in desk.reader().items()])
        asked.append(desk.asked)
    assert len(kept[0]) == 257
    assert kept[0] == kept[1]
    assert asked[0] == asked[1]


@pytest.mark.parametrize("last", range(0, 161))
def test_for_every_cut_the_stored_packets_are_exactly_those_before_it(desk: Desk, last: int) -> None:
    desk.send(0, last)
    desk.recorder.stop("withdrawn", moment(last))
    desk.send(last, 170)

    assert desk.numbers() == list(range(last))
    end = desk.reader().end
    assert (end.reason, end.packets, end.cut_us) == ("withdrawn", last, last * 20_000)
    assert desk.recorder.packets == last


@pytest.mark.parametrize("last", range(0, 161))
def test_for_every_late_withdrawal_no_record_that_ends_later_stays(tmp_path: Path, last: int) -> None:
    """Packet `last` is the last before the withdrawal was decided; it was learnt 160 packets after the start."""
    desk = Desk(tmp_path)
    desk.send(0, 160)
    desk.recorder.drop_after(moment(last))
    desk.send(160, 200)
    desk.recorder.stop("withdrawn", moment(200))
    kept = desk.numbers()

    assert kept == list(range(len(kept)))
    assert all(record.head.end_us <= last * 20_000 for record in desk.reader().records())
    assert len(kept) in ({0, 50, 100, 150, 160} if last >= 159 else {0, 50, 100, 150})
    assert last - len(kept) < 50  # one record at most went with it
    end = desk.reader().end
    assert (end.packets, end.cut_us) == (len(kept), last * 20_000)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1_500_000), min_size=1, max_size=40), st.integers(0, 20_000_000))
def test_whatever_the_gaps_abandoning_keeps_only_records_that_ended_while_confirmed(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], confirmed_us: int
) -> None:
    desk = Desk(tmp_path_factory.mktemp("gaps"))
    arrivals, at = [], 0
    for number, gap in enumerate(gaps):
        at += gap
        arrivals.append(at)
        desk.recorder.packet(*rtp(number), STARTED + at / 1e6)
    desk.recorder.abandon(STARTED + confirmed_us / 1e6, "unconfirmed", STARTED + 60 + at / 1e6)
    kept = desk.numbers()
    records = list(desk.reader().records())

    assert kept == list(range(len(kept)))
    assert all(arrivals[number] <= confirmed_us for number in kept)
    assert all(record.head.duration_us < 1_000_000 for record in records)
    assert desk.reader().end.packets == len(kept)
    assert len(kept) == len(gaps) or arrivals[len(kept)] + 1_000_000 > confirmed_us


def test_an_abandoned_recorder_ends_its_journal_at_the_confirmed_moment(desk: Desk) -> None:
    desk.send(0, 130)
    desk.recorder.abandon(moment(60), "unconfirmed", moment(130))
    end = desk.reader().end

    assert desk.numbers() == list(range(50))
    assert (end.reason, end.cut_us, end.packets, end.last_valid) == ("unconfirmed", 1_200_000, 50, 0)
    assert (desk.recorder.done, desk.recorder.ended, desk.recorder.packets) == (True, "unconfirmed", 50)


def test_packets_and_clocks_are_stored_as_published_with_their_arrival(desk: Desk) -> None:
    packet, raw = rtp(7)
    desk.recorder.packet(packet, raw, STARTED + 0.25)
    desk.recorder.sender_report(2**63 + 1, 2**32 - 1, STARTED + 0.5)
    desk.recorder.stop("stopped", STARTED + 0.6)
    stored = list(desk.reader().items())

    assert [(item.arrival_us, item.kind) for item in stored] == [(250_000, b"P"), (500_000, b"S")]
    assert stored[0].data == raw
    assert read_clock_pair(stored[1].data) == (2**63 + 1, 2**32 - 1)


def test_padding_only_packets_are_left_out(desk: Desk) -> None:
    padding = b"\xa0\x60" + bytes(10) + b"\0\0\0\x04"
    desk.recorder.packet(Packet.parse(padding), padding, STARTED)
    desk.recorder.stop("stopped", STARTED + 1)

    assert desk.numbers() == []
    assert desk.reader().end.packets == 0


def test_stored_at_is_the_moment_of_the_last_record_in_the_file(desk: Desk) -> None:
    desk.send(0, 50)
    before = desk.recorder.stored_at
    desk.send(50, 51)

    assert before is None
    assert desk.recorder.stored_at == moment(50)
    assert (desk.recorder.packets, len(desk.numbers())) == (50, 50)


def test_a_quiet_track_is_stored_by_the_tick(desk: Desk) -> None:
    desk.send(0, 1)
    desk.now = STARTED + 1
    desk.recorder.tick(desk.now)

    assert desk.numbers() == [0]
    assert desk.recorder.stored_at == STARTED + 1


def test_a_flood_is_sealed_before_its_second_is_over(desk: Desk) -> None:
    for number in range(RECORD_BYTES // 60_000 + 2):
        desk.recorder.packet(*rtp(number, length=60_000), STARTED)

    assert desk.recorder.stored_at is not None
    assert desk.recorder.packets > 0


@pytest.mark.parametrize(("source", "asks"), [("cam", 3), ("screen", 3), ("mic", 0), ("screen-audio", 0)])
def test_a_key_frame_is_asked_for_at_first_and_every_four_seconds_of_pictures(tmp_path: Path, source: str, asks: int) -> None:
    desk = Desk(tmp_path, source)
    desk.recorder.packet(*rtp(0, payload=KEY_FRAME), moment(0))
    desk.send(1, round(2.5 * KEY_FRAME_SECONDS / STEP))
    desk.recorder.stop("stopped", desk.now)
    desk.recorder.tick(desk.now + 60)

    assert desk.asked == asks


def test_until_a_key_frame_comes_it_is_asked_for_again_twice_a_second(desk: Desk) -> None:
    desk.send(0, round(KEY_FRAME_SECONDS / STEP))
    before = desk.asked
    desk.recorder.packet(*rtp(200, payload=KEY_FRAME), moment(200))
    desk.send(201, 300)

    assert before == KEY_FRAME_SECONDS / FIRST_KEY_FRAME_SECONDS
    assert desk.asked == before


def test_after_the_end_nothing_is_stored_and_a_second_end_does_nothing(desk: Desk) -> None:
    desk.send(0, 10)
    desk.recorder.stop("stopped", moment(10))
    before = desk.path.read_bytes()
    desk.send(10, 80)
    desk.recorder.sender_report(1, 1, moment(80))
    desk.recorder.stop("again", moment(80))
    desk.recorder.abandon(STARTED, "again", moment(80))
    desk.recorder.closed("ended")

    assert desk.path.read_bytes() == before
    assert desk.recorder.ended == "stopped"
    assert desk.file.closed


def test_a_track_that_is_over_can_still_be_cut_back(desk: Desk) -> None:
    """Who withdraws and leaves at once: the withdrawal may be learnt after the track has ended."""
    desk.send(0, 120)
    desk.recorder.closed("left")
    desk.send(120, 200)
    desk.recorder.drop_after(moment(70))
    desk.recorder.stop("withdrawn", moment(200))

    assert desk.recorder.ended == "left"
    assert desk.numbers() == list(range(50))


def test_a_killed_recorder_leaves_whole_records_and_no_end(desk: Desk) -> None:
    """Another process records and is killed in the middle of a second."""
    path = desk.path.with_name("killed")
    child = os.fork()
    if child == 0:
        try:
            recorder = Recorder(open(path, "xb", buffering=0), KEY, GAIL_CAM, started=STARTED, ask_for_key_frame=desk.ask)  # noqa: SIM115 - reason: never closed
            for number in range(120):
                recorder.packet(*rtp(number), moment(number))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    with open(path, "rb") as file:
        reader = Reader(file, KEY, GAIL_CAM)
        stored = [Packet.parse(item.data).sequence_number for item in reader.items()]

    assert os.WTERMSIG(status) == signal.SIGKILL
    assert stored == list(range(100))
    assert (reader.complete, reader.torn) == (False, 0)


@pytest.fixture
def full_at() -> Iterator[object]:
    """`full_at(size)`: no file of this process grows past `size`, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("room", [0, 500, 4000], ids=["nothing more", "part of a record", "more than one record"])
def test_a_full_disk_is_a_fault_and_no_exception(desk: Desk, full_at, room: int) -> None:
    full_at(desk.path.stat().st_size + room)
    desk.send(0, 200)
    desk.recorder.stop("stopped", moment(200))
    full_at(resource.RLIM_INFINITY)
    reader, stored = desk.reader(), desk.numbers()

    assert (desk.recorder.fault, desk.recorder.done, desk.recorder.ended) == (True, True, "fault")
    assert stored == list(range(len(stored)))
    assert desk.recorder.packets == len(stored)
    assert (reader.complete, reader.torn) == (False, 0)
    assert (len(stored) > 0) == (room == 4000)


def test_a_disk_that_is_full_from_the_start_is_a_fault_too(tmp_path: Path, full_at) -> None:
    full_at(0)
    desk = Desk(tmp_path)
    desk.send(0, 60)
    full_at(resource.RLIM_INFINITY)

    assert desk.recorder.fault
    assert desk.path.read_bytes() == b""


def test_records_that_cannot_be_cut_off_are_reported_and_get_no_end(tmp_path: Path) -> None:
    """The journal goes into a pipe, which no one can shorten."""
    reading, writing = os.pipe()
    file = open(writing, "wb", buffering=0)  # noqa: SIM115 - reason: the recorder closes it
    recorder = Recorder(file, KEY, GAIL_CAM, started=STARTED, ask_for_key_frame=lambda: None)
    for number in range(60):
        recorder.packet(*rtp(number), moment(number))
    recorder.drop_after(STARTED)
    recorder.stop("withdrawn", moment(60))
    os.close(reading)

    assert (recorder.uncut, recorder.fault, recorder.done, file.closed) == (True, True, True, True)
    assert recorder.kept_until_us == 0


@pytest.mark.parametrize(("last", "kept_until_us"), [(70, 1_400_000), (160, None)], ids=["decided before", "decided after"])
def test_a_journal_that_was_given_up_names_what_a_late_withdrawal_takes_back(desk: Desk, full_at, last: int, kept_until_us: int | None) -> None:
    """The disk was full, the file is closed; then it is learnt that the person had withdrawn."""
    desk.send(0, 120)
    full_at(desk.path.stat().st_size)
    desk.send(120, 160)
    full_at(resource.RLIM_INFINITY)
    assert desk.recorder.fault
    desk.recorder.drop_after(moment(last))
    desk.recorder.stop("withdrawn", moment(160))

    assert desk.recorder.kept_until_us == kept_until_us
    assert desk.numbers() == list(range(100))


def test_a_journal_whose_end_is_sealed_is_not_cut_any_more(desk: Desk) -> None:
    desk.send(0, 120)
    desk.recorder.stop("stopped", moment(120))
    desk.recorder.drop_after(STARTED)

    assert (desk.recorder.uncut, desk.recorder.kept_until_us, desk.numbers()) == (False, None, list(range(120)))
