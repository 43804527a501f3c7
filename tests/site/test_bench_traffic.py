"""What the load of `bench media` makes of what comes: pictures in layers, and the reports of a server."""

from __future__ import annotations

import ctypes
import socket
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.media import measure
from bench.media.build import library
from bench.media.contenders.ours import Ours
from bench.media.forms import FORMS
from bench.media.load import Listener, Publisher, Whole
from bench.media.loads import LOADS
from bench.media.matrix import one_run
from bench.report import Report

SECONDS = 1.0
FIRST = 1000  # the SSRC of the worst layer
FRAMES = (1, 3)  # packets of a picture in each
LATER = 600  # numbers behind which nothing is waited for
MARK = 0x436C6561
MOST_RUNS = 100  # until a listener has reported again, which it does each second


@pytest.mark.parametrize("form", FORMS)
def test_every_listener_is_sent_another_layer_from_a_key_frame_on_while_packets_get_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("CLEAC_DATA", str(tmp_path))
    run = one_run(Ours(form), LOADS["features-layers"], SECONDS)

    assert run.asked > 0
    assert run.counted.landed > 0
    assert run.counted.switches >= run.counted.landed
    assert run.counted.repaired > 0
    assert (run.counted.bad, run.counted.broken) == (0, 0)
    assert run.counted.checked == run.counted.forwarded


def test_a_server_that_cannot_go_over_to_another_layer_is_named_with_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEAC_DATA", str(tmp_path))
    monkeypatch.setattr("bench.media.contenders.pion.Pion.missing", lambda pion: "")
    report = Report("media")

    measure(report, SECONDS, loads=["features-layers"], contenders=["pion"], repetitions=1)

    assert report.figures == []
    assert report.missing["pion-features/layers"]


@dataclass(frozen=True)
class Came:
    """One packet as a listener gets it: numbers of the server's making, and what its publisher wrote."""

    number: int
    timestamp: int
    picture_id: int
    layer: int
    serial: int
    key: bool = False

    def packet(self) -> bytes:
        first = self.serial % FRAMES[self.layer] == 0
        head = struct.pack("!BBHII", 0x80, 96, self.number & 0xFFFF, self.timestamp, FIRST)
        descriptor = struct.pack("!BBH", 0x90 if first else 0x80, 0x80, 0x8000 | self.picture_id)
        frame = bytes.fromhex("1002009d012a80026801") if self.key else b"\x01" + bytes(9)
        return head + descriptor + frame + struct.pack("!III", MARK, FIRST + self.layer, self.serial)


BEFORE = (Came(70_000, 7200, 40, 0, 10, key=True), Came(70_001, 7920, 41, 0, 11))
AFTER = (Came(70_002, 8640, 42, 1, 36, key=True), Came(70_003, 8640, 42, 1, 37), Came(70_004, 8640, 42, 1, 38), Came(70_005, 9360, 43, 1, 39))
COURSES = {
    "all as it should be": (AFTER, 1, 1, 0),
    "no key frame": ((replace(AFTER[0], key=False), *AFTER[1:]), 1, 0, 1),
    "from the middle of a picture on": ((replace(AFTER[1], number=70_002), replace(AFTER[2], number=70_003)), 1, 0, 1),
    "a picture id too far": (tuple(replace(one, picture_id=one.picture_id + 1) for one in AFTER), 1, 0, 1),
    "a timestamp that goes back": (tuple(replace(one, timestamp=one.timestamp - 1440) for one in AFTER), 1, 0, 1),
    "a packet left out later, and no number": ((*AFTER[:2], replace(AFTER[3], number=70_004)), 1, 1, 1),
    "a number that nobody has": (tuple(replace(one, number=one.number + 1) for one in AFTER), 1, 0, 0),
}


@pytest.mark.parametrize(("after", "switches", "landed", "broken"), COURSES.values(), ids=COURSES.keys())
def test_what_follows_wrongly_at_a_change_of_layer_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: tuple[Came, ...], switches: int, landed: int, broken: int
) -> None:
    monkeypatch.setenv("CLEAC_DATA", str(tmp_path))
    traffic = ctypes.CDLL(str(library("traffic", "-pthread")))
    publishers = (Publisher * len(FRAMES))(*[Publisher(ssrc=FIRST + layer, frame=frame) for layer, frame in enumerate(FRAMES)])
    listeners = (Listener * 1)(Listener(expected=FIRST))
    whole = Whole(publishers, listeners, len(FRAMES), 1, 0, 0, len(FRAMES))
    assert traffic.load_prepare(ctypes.byref(whole)) == 0

    for came in (*BEFORE, *after, replace(after[-1], number=after[-1].number + LATER)):
        packet = ctypes.create_string_buffer(came.packet())
        payload = ctypes.byref(packet, 12)
        traffic.layers_note(ctypes.byref(whole), ctypes.byref(listeners[0]), ctypes.c_uint64(came.number), packet, payload)
    traffic.load_free(ctypes.byref(whole))

    assert (listeners[0].switches, listeners[0].landed, listeners[0].broken) == (switches, landed, broken)


WALL = 0x1122_3344_5566_7788  # the clock of a sender report, whose middle a listener repeats (RFC 3550 section 6.4.1)
Crypt = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.POINTER(ctypes.c_int))


def test_a_listener_says_which_report_of_the_server_came_last_and_how_long_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sealed here. Of what it asks and tells, every compound begins with its report."""
    monkeypatch.setenv("CLEAC_DATA", str(tmp_path))
    told: list[bytes] = []

    def sealed(session: object, data: Any, length: Any) -> int:
        told.append(bytes(data[: length[0]]))
        return 1  # refused, so that it is not sent

    refuse, leave = Crypt(sealed), Crypt(lambda session, data, length: 0)
    traffic = ctypes.CDLL(str(library("traffic", "-pthread")))
    traffic.load_begin(refuse, leave, refuse, leave)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    listeners = (Listener * 1)(Listener(socket=theirs.fileno(), picture_type=96))
    whole = Whole(None, listeners, 0, 1, 0, 1, 1)
    assert traffic.load_prepare(ctypes.byref(whole)) == 0

    ours.send(BEFORE[0].packet())
    ours.send(struct.pack("!BBHIQIII", 0x80, 200, 6, FIRST, WALL, 7200, 1, 44))
    for _ in range(MOST_RUNS):
        if len(told) >= 2:
            break
        assert traffic.load_run(ctypes.byref(whole), ctypes.c_double(0.1), ctypes.c_double(0)) == 0
    traffic.load_free(ctypes.byref(whole))
    ours.close()
    theirs.close()

    last_report, since = struct.unpack("!II", told[-1][24:32])
    assert last_report == WALL >> 16 & 0xFFFFFFFF
    assert since > 0
