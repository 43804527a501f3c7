"""`rtp`: a publisher's packets, one by one and as they go through the path."""

from __future__ import annotations

from calls.media.forward import vp8
from calls.media.sink import Packet, header_end, starts_key_frame
from tests.media.plain import IDS, REPAIRS, rtp, sdp

from ..engine import Target
from . import paths

MOST = 40  # datagrams of one input


def run(data: bytes) -> None:
    """A stream of datagrams, each behind its length."""
    found = paths.datagrams(data)[:MOST]
    for raw in found:
        _read(raw)
        _shifted(raw)
    worlds = paths.worlds()
    for path, _ in worlds:
        for number, raw in enumerate(found):
            path.clock.now += 0.001 * (number % 3)
            path.take(raw)
    paths.agree(worlds)
    for path, _ in worlds:
        for end in path.listeners:
            assert all(packet.ssrc in (7000, 7001, 8000) for packet in path.packets(end)), "a listener was sent an SSRC that is not its own"
            assert len(path.sent[end.number]) <= len(found), "more was forwarded than came"


def _read(raw: bytes) -> None:
    try:
        packet = Packet.parse(raw)
    except ValueError:
        return
    start, extensions = header_end(raw)
    assert packet.extensions == extensions
    assert raw[start:].startswith(packet.payload)
    assert packet.ssrc == int.from_bytes(raw[8:12])
    assert all(value in raw for value in extensions.values())


def _shifted(payload: bytes) -> None:
    """Moving picture ids on and back changes nothing; no octet comes or goes."""
    starts_key_frame(payload)
    ids = vp8.ids_of(payload)
    moved = vp8.shifted(payload, 300, 7)
    assert len(moved) == len(payload)
    assert vp8.shifted(moved, -300, -7) == payload
    assert (vp8.ids_of(moved).wide, vp8.ids_of(moved).tl0_at) == (ids.wide, ids.tl0_at)


def seeds() -> list[bytes]:
    key, more = b"\x90\xe0\x80\x05\x07\x21\x00\x01", b"\x80\xe0\x80\x05\x07\x21\x01\x01"
    numbered = {IDS[sdp.MID]: b"m", IDS[sdp.TRANSPORT_CC]: b"\x00\x01"}
    layer = {**numbered, IDS[sdp.RID]: b"q"}
    single = [rtp(65534 + n, key if n == 0 else more, timestamp=n * 3000, extensions=numbered, marker=True) for n in range(4)]
    layered = [rtp(n, key, ssrc=50, timestamp=n * 3000, extensions=layer) for n in range(3)]
    padded = [rtp(9, b""), rtp(10, key), rtp(8, b"")]
    repaired = [rtp(1, key), rtp(1, b"\x00\x02" + more, ssrc=6, payload_type=REPAIRS), rtp(3, more)]
    wide = b"\x90\x64\x00\x01" + bytes(4) + (5).to_bytes(4) + b"\x10\x00\x00\x02\x05\x01m\x0a\x03abc" + key
    return [paths.framed(*packets) for packets in (single, layered, padded, repaired, [wide])]


WORDS = [b"\xbe\xde", b"\x10\x00", b"\x00\x0c\x80\x64", b"\xb0\x64", b"\x00\x00\x00\x05", b"\x00\x00\x00\x04"]
TARGET = Target("rtp", run, seeds, WORDS)
