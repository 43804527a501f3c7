"""What a recorder's tap is given where packets were lost and came again: all of a key frame, nothing twice, nothing from before it was there."""

from __future__ import annotations

import pytest

from calls.media import sdp
from calls.media.feedback import MOST_REPEATS
from calls.media.path import KeyFrameWanted, Layer
from calls.media.sink import Packet

from .plain import IDS, REPAIRS, PlainPath, rtp

KEY, MORE, DELTA = b"\x10\x00", b"\x00\xaa", b"\x10\x01"
LOW, HIGH, LOW_REPAIRS = 51, 52, 61


class Tape:
    """What came: the numbers and payloads, as they are told and as they are in the packet's octets."""

    def __init__(self) -> None:
        self.got: list[tuple[int, bytes]] = []

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        written = Packet.parse(raw)
        assert (written.sequence_number, written.timestamp, written.ssrc, written.marker, written.payload_type, written.payload) == (
            packet.sequence_number,
            packet.timestamp,
            packet.ssrc,
            packet.marker,
            packet.payload_type,
            packet.payload,
        )
        self.got.append((packet.sequence_number, packet.payload))

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        """None is sent here."""

    def closed(self, reason: str) -> None:
        """Nothing to close."""


class Camera:
    """A camera in two layers, of which only the lower is sent, and a tape that is to get it."""

    def __init__(self, layers: tuple[Layer, ...] = (Layer("q"), Layer("h"))) -> None:
        self.plain, self.tape, self.several = PlainPath(), Tape(), len(layers) > 1
        self.plain.open(layers=layers)

    def begin(self) -> None:
        self.plain.path.tap(1, self.tape, 0)

    def send(self, number: int, payload: bytes, *, marker: bool = False) -> None:
        self.plain.clock.now += 0.001
        extensions = {IDS[sdp.MID]: b"m", IDS[sdp.RID]: b"q"} if self.several else {}
        self.plain.take(rtp(number, payload, ssrc=LOW, marker=marker, extensions=extensions))

    def send_again(self, number: int, payload: bytes, *, marker: bool = False) -> None:
        """As a repair of RFC 4588."""
        self.plain.clock.now += 0.001
        extensions = {IDS[sdp.MID]: b"m", IDS[sdp.REPAIRED_RID]: b"q"} if self.several else {}
        self.plain.take(rtp(number, number.to_bytes(2) + payload, ssrc=LOW_REPAIRS, payload_type=REPAIRS, marker=marker, extensions=extensions))

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.tape.got]

    @property
    def key_frames_wanted(self) -> int:
        self.plain.path.poll(self.plain.now)
        self.plain.path.woken()
        return sum(isinstance(event, KeyFrameWanted) for event in self.plain.publisher.events)


ONE_LAYER = (Layer("", LOW, LOW_REPAIRS),)


@pytest.fixture
def camera() -> Camera:
    return Camera()


def test_what_came_before_the_late_start_of_a_key_frame_follows_that_start(camera: Camera) -> None:
    camera.send(9, DELTA, marker=True)
    camera.begin()
    camera.send(11, MORE + b"second")
    camera.send(12, MORE + b"third", marker=True)

    camera.send_again(10, KEY + b"first")
    camera.send(13, DELTA, marker=True)

    assert camera.tape.got == [(10, KEY + b"first"), (11, MORE + b"second"), (12, MORE + b"third"), (13, DELTA)]


def test_a_key_frame_of_which_a_part_came_before_the_tap_was_there_is_not_begun_with(camera: Camera) -> None:
    camera.send(9, DELTA, marker=True)
    camera.send(11, MORE)
    camera.begin()
    camera.send(12, MORE, marker=True)

    camera.send_again(10, KEY)
    camera.send(13, DELTA, marker=True)
    assert camera.numbers == []
    assert camera.plain.path.seen(1).layers[0].starving

    camera.send(14, KEY, marker=True)
    assert camera.numbers == [14]


@pytest.mark.parametrize("layers", [ONE_LAYER, (Layer("q"), Layer("h"))], ids=["one layer", "two layers"])
def test_what_came_is_not_given_a_second_time_when_it_comes_again_as_a_repair(layers: tuple[Layer, ...]) -> None:
    camera = Camera(layers)
    camera.begin()
    camera.send(10, KEY, marker=True)
    camera.send(12, DELTA, marker=True)

    for number in (10, 11, 12, 11):
        camera.send_again(number, KEY if number == 10 else DELTA, marker=True)

    assert camera.numbers == [10, 12, 11]


@pytest.mark.parametrize("tapped", [True, False])
def test_when_a_packet_was_asked_for_in_vain_a_key_frame_is_asked_for_where_something_is_recorded(camera: Camera, tapped: bool) -> None:
    if tapped:
        camera.begin()
    camera.send(10, KEY, marker=True)
    camera.send(12, DELTA, marker=True)
    before = camera.key_frames_wanted

    for _ in range(MOST_REPEATS + 1):
        camera.plain.clock.now += 0.15
        camera.plain.path.poll(camera.plain.now)

    assert camera.key_frames_wanted - before == tapped
