"""`rtcp`: what listeners and publishers say about packets."""

from __future__ import annotations

from contextlib import suppress

from calls.media.congestion import Arrivals, each_packet, statuses
from calls.media.peer import RtcpReceiverInfo, RtcpSdesPacket, RtcpSourceInfo, parse_rtcp
from tests.media.control import bye, fir, nack, pli, receiver_report, remb, sender_report
from tests.media.plain import rtp

from ..engine import Target
from . import paths

SENT = 6  # packets that the listener may ask for again


def run(data: bytes) -> None:
    """The first octet says who sends: the listener or the publisher; the rest is one compound."""
    compound = data[1:]
    _read(compound)
    worlds = paths.worlds()
    for path, listener in worlds:
        for number in range(SENT):
            path.take(rtp(number, b"\x90\x80\x05\x00" if not number else b"\x80\x80\x05\x01", timestamp=number * 3000))
        sender = listener if data[:1] < b"\x80" else path.publisher
        path.hear(sender, compound)
        assert len(path.sent[listener.number]) <= 2 * SENT + 17 * len(compound), "more was sent again than was asked for"
    paths.agree(worlds)


def _read(compound: bytes) -> None:
    with suppress(ValueError):
        parse_rtcp(compound)
    assert b"".join(each_packet(compound)) == compound[: sum(map(len, each_packet(compound)))]
    for raw in each_packet(compound):
        try:
            told = statuses(raw)
        except ValueError:
            continue
        assert len(told) == int.from_bytes(raw[14:16])
        assert len({number for number, _ in told}) == len(told)


def seeds() -> list[bytes]:
    arrivals = Arrivals()
    for number, at in enumerate((0, 900, 1_000, 70_000, 71_000, 300_000)):
        arrivals.note(2 * number, at)
    feedback = arrivals.due(1, 7000, 400_000) or b""
    block = RtcpReceiverInfo(7000, 50, 1, 2, 3, 4, 5)
    made = [
        receiver_report(1, block),
        sender_report(5, 1 << 40, 3000, block) + bytes(RtcpSdesPacket([RtcpSourceInfo(5, [(1, b"gail")])])),
        nack(1, 7000, [0, 1, 2, 5, 65535]),
        pli(1, 7000) + fir(1, 7000),
        remb(1, 1_000_000, 7000),
        bye(5),
        feedback,
        receiver_report(1, block) + feedback,
    ]
    return [who + compound for compound in made for who in (b"\x00", b"\xff")]


WORDS = [b"\x81\xcd", b"\x8f\xcd", b"\x81\xce", b"\x84\xce", b"\x8f\xceREMB", b"\x00\x00\x1b\x58", b"\xa1\xc9", b"\x80\xcb\x00\x00", b"\xd5\x55"]
TARGET = Target("rtcp", run, seeds, WORDS)
