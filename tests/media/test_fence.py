"""A worker whose permission has run out: nothing is sent and nothing tapped until it is allowed again."""

from __future__ import annotations

import pytest

from calls.media.peer import RTCP_RTPFB_NACK, RtcpRtpfbPacket, RtcpSenderInfo, RtcpSrPacket

from .plain import PlainEnd, PlainPath, rtp
from .test_forward import KEY, Tape

SECOND = 1_000_000


class Fenced:
    """A picture with one listener and a tap, allowed for one second, of which both have one packet."""

    def __init__(self) -> None:
        self.plain, self.tape = PlainPath(), Tape()
        self.plain.open()
        self.listener: PlainEnd = self.plain.listen()
        self.plain.path.tap(1, self.tape, 0)
        self.plain.path.allow(self.plain.now + SECOND)
        self.send(1)

    def send(self, number: int) -> None:
        self.plain.take(rtp(number, KEY + bytes([number])))

    @property
    def heard(self) -> list[int]:
        return [packet.sequence_number for packet in self.plain.packets(self.listener)]


@pytest.fixture
def fenced() -> Fenced:
    return Fenced()


def test_up_to_the_last_allowed_moment_packets_go_to_listeners_and_taps(fenced: Fenced) -> None:
    fenced.plain.clock.now += 1.0
    fenced.send(2)

    assert fenced.heard == fenced.tape.numbers == [1, 2]
    assert fenced.plain.counters["fenced"] == 0


def test_past_it_nothing_is_sent_and_nothing_tapped_and_each_packet_is_counted(fenced: Fenced) -> None:
    fenced.plain.clock.now += 1.001
    fenced.send(2)
    fenced.plain.take(bytes(RtcpSrPacket(5, RtcpSenderInfo(7, 8, 1, 1))))

    assert fenced.heard == fenced.tape.numbers == [1]
    assert fenced.tape.reports == []
    assert fenced.plain.told[fenced.listener.number] == []
    assert fenced.plain.counters["fenced"] == 2


def test_past_it_lost_packets_are_not_sent_again_and_no_goodbye_is_said(fenced: Fenced) -> None:
    fenced.plain.clock.now += 1.001
    fenced.plain.hear(fenced.listener, bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, 7000, [1])))
    fenced.plain.path.remove(1, "listener-0")

    assert fenced.heard == [1]
    assert fenced.plain.told[fenced.listener.number] == []


def test_allowed_again_the_call_goes_on_without_what_came_in_between(fenced: Fenced) -> None:
    fenced.plain.clock.now += 1.001
    fenced.send(2)
    fenced.plain.path.allow(fenced.plain.now + SECOND)
    fenced.send(3)

    assert fenced.heard == fenced.tape.numbers == [1, 3]


def test_without_a_limit_time_means_nothing(fenced: Fenced) -> None:
    fenced.plain.path.allow(None)
    fenced.plain.clock.now += 3600
    fenced.send(2)

    assert fenced.heard == fenced.tape.numbers == [1, 2]
