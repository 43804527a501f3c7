"""`sdp`: a publisher's offer and a subscriber's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from calls.media import sdp
from calls.media.candidates import Listening
from tenants.errors import Refused
from tests.media.test_sdp import GOOD, NAMES, section, session, text

from ..engine import Target

OURS = sdp.Transport(Listening(("192.0.2.1",), 3478, True), "ufrg", "p" * 24, ":".join(["AB"] * 32), 7)
DECLARED: tuple[dict[str, str], ...] = ({}, {"0": "mic"}, {"0": "mic", "1": "cam"}, {"1": "screen"})


def run(data: bytes) -> None:
    """The first octet says what is declared, the rest is the description."""
    declared, text = DECLARED[data[0] % 4 if data else 0], data[1:].decode(errors="replace")
    for read in (lambda: sdp.parse_offer(text, declared), lambda: sdp.parse_answer(text, ["0", "1"])):
        found = _outcome(read)
        if isinstance(found, Refused):
            assert found.code in NAMES, found.code
            assert found.facts == {}, "what was sent is told back"
        elif found.live or not declared:
            _answered(found, found.live)


def _outcome(read: Callable[[], sdp.Offer]) -> sdp.Offer | Refused:
    try:
        return read()
    except Refused as refusal:
        return refusal


def _answered(offer: sdp.Offer, declared: Mapping[str, str]) -> None:
    """What can be read can be answered, and our own reader understands the answer as the offer's mirror."""
    assert 1 <= len(offer.sections) <= sdp.MOST_SECTIONS
    assert all(len(s.rids) <= sdp.MOST_LAYERS and all(1 <= key <= 14 for key in s.extensions.values()) for s in offer.sections)
    written = sdp.answer(offer, OURS, 1)
    read = sdp._read(written, sdp.MOST_SECTIONS, ("passive",)) if any(_is_kept(section) for section in offer.sections) else None
    if read is not None:
        assert [s.mid for s in read.sections] == [s.mid for s in offer.sections]
        assert {s.mid for s in read.sections if s.receives} == set(declared)
    assert len(written) <= sdp.MOST_BYTES


def _is_kept(section: sdp.Section) -> bool:
    return not section.rejected and section.payload_type is not None


def seeds() -> list[bytes]:
    simulcast = ("a=rid:q send", "a=rid:h send", "a=simulcast:send q;h", f"a=extmap:5 {sdp.RID}", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96")
    layered = text(session("0", "1"), section("0", "audio", ssrc=4), section("1", ssrc=None, extra=simulcast)).replace("96 102", "96 102 97")
    ours = sdp.offer([sdp.Line("0", "audio", "gail", "mic", 9), sdp.Line("1", "video", "gail", "cam", 10, 11)], OURS, 4)
    received = [section(mid, kind, "recvonly", None) for mid, kind in (("0", "audio"), ("1", "video"))]
    answer = text(session("0", "1"), *received).replace("actpass", "active")
    bundled = GOOD.replace("m=video 9", "m=video 0").replace("a=mid:1", "a=bundle-only\r\na=mid:1")
    return [bytes([which]) + made.encode() for made in (GOOD, layered, ours, answer, bundled) for which in range(4)]


WORDS = [b"\r\n", b"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", b"a=rid:q send\r\n", b"a=simulcast:send ", b"a=ssrc:1 x\r\n", b"a=ssrc-group:FID 1 2\r\n"]
WORDS += [b"a=extmap:15 ", b"a=bundle-only\r\n", b"a=inactive\r\n", b"4294967295", b";", b",", b":", b" "]
TARGET = Target("sdp", run, seeds, WORDS)
