"""What a client sends as SDP is bounded, read defensively, and refused by name."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.media import sdp
from calls.media.candidates import Listening
from tenants.errors import Refused

PRINT = ":".join(["AB"] * 32)
OURS = sdp.Transport(Listening(("192.0.2.1",), 3478), "ufrg", "p" * 24, PRINT, 7)


def session(*mids: str) -> list[str]:
    return ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE " + " ".join(mids)]


def section(mid: str, kind: str = "video", direction: str = "sendonly", ssrc: int | None = 5, extra: tuple[str, ...] = ()) -> list[str]:
    payload_type = {"audio": 111, "video": 96}.get(kind, 96)
    codec = sdp.CODECS.get(kind, "X/1")
    lines = [f"m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type} 102", "c=IN IP4 0.0.0.0", "a=ice-ufrag:abcd", "a=ice-pwd:" + "p" * 24]
    lines += [f"a=fingerprint:sha-256 {PRINT}", "a=setup:actpass", f"a=mid:{mid}", f"a={direction}", "a=rtcp-mux"]
    lines += ["a=rtpmap:102 H264/90000", f"a=rtpmap:{payload_type} {codec}", f"a=extmap:4 {sdp.MID}"]
    return lines + ([f"a=ssrc:{ssrc} cname:x"] if ssrc else []) + list(extra)


def text(*blocks: list[str]) -> str:
    return "\r\n".join(line for block in blocks for line in block) + "\r\n"


GOOD = text(session("0", "1"), section("0", "audio", ssrc=4), section("1"))


def code(offer: object, declared: dict[str, str] | None = None) -> str:
    with pytest.raises(Refused) as refusal:
        sdp.parse_offer(offer, {} if declared is None else declared)
    assert refusal.value.facts == {}
    return refusal.value.code


NAMES = {None, "sdp-too-large", "sdp-malformed", "sdp-unsupported", "sdp-track-unknown"}


def refusal_of(offer: str, declared: dict[str, str]) -> str | None:
    """The code it is refused with, None when it can be answered. Anything else that is raised fails the test."""
    try:
        sdp.answer(sdp.parse_offer(offer, declared), OURS, 1)
    except Refused as refusal:
        return refusal.code
    return None


def test_what_a_call_needs_is_read_and_nothing_else() -> None:
    offer = sdp.parse_offer(GOOD, {"0": "mic", "1": "cam"})

    assert (offer.ufrag, offer.pwd, offer.fingerprints) == ("abcd", "p" * 24, (("sha-256", PRINT),))
    assert [(s.mid, s.kind, s.ssrc, s.payload_type, s.extensions) for s in offer.sections] == [
        ("0", "audio", 4, 111, {sdp.MID: 4}),
        ("1", "video", 5, 96, {sdp.MID: 4}),
    ]
    assert offer.live == {"0": "mic", "1": "cam"}


def test_the_retransmission_ssrc_of_a_browser_is_not_taken_for_media() -> None:
    extra = ("a=ssrc-group:FID 77 78", "a=ssrc:77 cname:x", "a=ssrc:78 cname:x")
    offer = sdp.parse_offer(text(session("0"), section("0", ssrc=None, extra=extra)), {"0": "cam"})
    assert offer.sections[0].ssrc == 77


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        (GOOD + "a=x:" + "y" * sdp.MOST_BYTES, "sdp-too-large"),
        ("é" * (sdp.MOST_BYTES // 2 + 1), "sdp-too-large"),
        (text(session("0"), section("0", extra=tuple(f"a=ssrc:5 k:{n}" for n in range(sdp.MOST_OF_ONE_KIND)))), "sdp-too-large"),
        (text(session("0"), *[[f"a=x{n}:1"] for n in range(sdp.MOST_LINES)]), "sdp-too-large"),
        (text(session(*map(str, range(9))), *[section(str(n), ssrc=n + 1) for n in range(9)]), "sdp-too-large"),
        (None, "sdp-malformed"),
        ("", "sdp-malformed"),
        ("v=1\r\n", "sdp-malformed"),
        (text(session("0")), "sdp-malformed"),
        (text(session("0"), section("0"), ["nonsense"]), "sdp-malformed"),
        (text(session("0", "0"), section("0"), section("0", ssrc=6)), "sdp-malformed"),
        (text(session("0", "1"), section("0"), section("1")), "sdp-malformed"),
        (text(session("0"), section("0")).replace("a=extmap:4", "a=extmap:0"), "sdp-malformed"),
        (text(session("0"), section("0")).replace("a=ssrc:5", "a=ssrc:4294967296"), "sdp-malformed"),
        (text(session("0"), section("0")).replace("AB:AB", "AB:XY"), "sdp-malformed"),
        (text(session("0"), section("0")).replace("a=ice-pwd:" + "p" * 24, "a=ice-pwd:short"), "sdp-malformed"),
        (text(session("0"), section("0", "application")), "sdp-unsupported"),
        (text(session("0"), section("0")).replace("SAVPF", "AVPF"), "sdp-unsupported"),
        (text(session("0"), section("0")).replace("a=rtcp-mux\r\n", ""), "sdp-unsupported"),
        (text(session(), section("0")), "sdp-unsupported"),
        (text(session("0"), section("0")).replace("setup:actpass", "setup:passive"), "sdp-unsupported"),
        (text(session("0"), section("0")).replace("sha-256", "md5"), "sdp-unsupported"),
        (text(session("0"), section("0", extra=("a=ssrc:6 cname:x",))), "sdp-unsupported"),
    ],
)
def test_what_is_too_large_malformed_or_unsupported_is_refused_by_name(offer: object, expected: str) -> None:
    assert code(offer) == expected


@pytest.mark.parametrize("declared", [{"7": "cam"}, {"0": "mic"}, {"0": "hologram"}, {"1": "cam"}])
def test_a_declared_track_that_the_offer_does_not_send_is_refused(declared: dict[str, str]) -> None:
    assert code(text(session("0", "1"), section("0"), section("1", direction="inactive", ssrc=None)), declared) == "sdp-track-unknown"


def test_a_declared_track_needs_our_codec_and_a_way_to_find_its_packets() -> None:
    only_h264 = text(session("0"), section("0")).replace("VP8", "VP9")
    nameless = text(session("0"), section("0", ssrc=None)).replace(f"a=extmap:4 {sdp.MID}\r\n", "")
    assert {code(only_h264, {"0": "cam"}), code(nameless, {"0": "cam"})} == {"sdp-unsupported"}


def test_the_answer_receives_what_was_declared_and_rejects_what_has_no_codec_of_ours() -> None:
    offered = text(session("0", "1", "2"), section("0", "audio", ssrc=4), section("1"), section("2", ssrc=6))
    offered = offered.replace("a=rtpmap:96 VP8/90000\r\na=extmap:4 " + sdp.MID + "\r\na=ssrc:6", "a=ssrc:6")
    answer = sdp.answer(sdp.parse_offer(offered, {"0": "mic"}), OURS, 3)
    lines = answer.split("\r\n")

    assert "a=group:BUNDLE 0 1" in lines
    assert [line for line in lines if line in ("a=recvonly", "a=inactive")] == ["a=recvonly", "a=inactive", "a=inactive"]
    assert "m=video 0 UDP/TLS/RTP/SAVPF 0" in lines
    assert "a=rtcp-fb:111 nack" in lines
    assert "a=setup:passive" in lines
    assert "a=ice-lite" in lines
    assert not any("H264" in line for line in lines)


def test_our_offer_is_one_that_our_own_reader_accepts_with_everything_in_it() -> None:
    lines = [sdp.Line("0", "audio", "gail", "mic", 9), sdp.Line("1", "video", "gail", "screen", 10), sdp.Line("2", "video")]
    offered = sdp.offer(lines, OURS, 4)
    read = sdp.parse_offer(offered, {"0": "mic", "1": "screen"})

    assert [(s.mid, s.direction, s.ssrc) for s in read.sections] == [("0", "sendonly", 9), ("1", "sendonly", 10), ("2", "inactive", None)]
    assert [dict(s.extensions) for s in read.sections] == [sdp.EXTENSIONS[s.kind] for s in read.sections]
    assert "a=rtcp-fb:111 nack" in offered
    assert "a=ssrc:9 cname:gail" in offered
    assert "a=msid:gail-main gail.mic" in offered
    assert "a=msid:gail-screen gail.screen" in offered
    assert f"o=- {OURS.session} 4 " in offered


def test_an_answer_must_mirror_the_offer_and_leave_the_server_passive() -> None:
    good = text(session("0"), section("0", direction="recvonly", ssrc=None)).replace("actpass", "active")
    assert sdp.parse_answer(good, ["0"]).sections[0].receives
    for wrong, mids in ((good, ["1"]), (good, ["0", "1"])):
        with pytest.raises(Refused, match="sdp-malformed"):
            sdp.parse_answer(wrong, mids)
    with pytest.raises(Refused, match="sdp-unsupported"):
        sdp.parse_answer(good.replace("a=setup:active", "a=setup:passive"), ["0"])


def test_bundle_only_sections_of_a_browser_are_accepted() -> None:
    bundled = text(session("0", "1"), section("0", "audio", ssrc=4), section("1", extra=("a=bundle-only",))).replace("m=video 9", "m=video 0")
    assert sdp.parse_offer(bundled, {"1": "cam"}).live == {"1": "cam"}


def test_no_mutation_of_an_offer_raises_anything_but_a_refusal_by_name() -> None:
    chance = random.Random(5)
    lines = GOOD.split("\r\n")
    for _ in range(3000):
        mutated = [line[: chance.randrange(len(line) + 1)] if chance.random() < 0.1 else line for line in lines]
        chance.shuffle(mutated) if chance.random() < 0.2 else mutated.insert(chance.randrange(len(mutated)), chance.choice(lines))
        if chance.random() < 0.5:
            del mutated[chance.randrange(len(mutated))]
        assert refusal_of("\r\n".join(mutated), {"0": "mic", "1": "cam"}) in NAMES


@given(st.text(max_size=400))
def test_no_text_raises_anything_but_a_refusal(anything: str) -> None:
    for attempt in (anything, "v=0\r\n" + anything, GOOD + anything):
        assert refusal_of(attempt, {}) in NAMES


LAYERS = ("a=rid:q send", "a=rid:h send", "a=rid:f send", "a=simulcast:send q;h;f", "a=ssrc:6 cname:x", "a=ssrc:7 cname:x")


def test_layers_are_taken_by_their_rids_whatever_ssrcs_are_named_and_the_answer_receives_each() -> None:
    offer = sdp.parse_offer(text(session("0"), section("0", extra=(*LAYERS, f"a=extmap:5 {sdp.RID}"))), {"0": "cam"})
    answer = sdp.answer(offer, OURS, 1).split("\r\n")

    assert (offer.sections[0].rids, offer.sections[0].ssrc) == (("q", "h", "f"), None)
    assert [line for line in answer if line.startswith(("a=rid", "a=simulcast"))] == [
        "a=rid:q recv",
        "a=rid:h recv",
        "a=rid:f recv",
        "a=simulcast:recv q;h;f",
    ]


def test_layers_that_no_packet_can_name_are_refused() -> None:
    assert code(text(session("0"), section("0", extra=LAYERS)), {"0": "cam"}) == "sdp-unsupported"
