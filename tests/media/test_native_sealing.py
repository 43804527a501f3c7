"""What source/sealing.c seals is what libsrtp seals, octet by octet, and it never seals two packets under one number."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import weakref
from collections import Counter

import pylibsrtp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.media.native import build, library, seals
from calls.media.native.path import NativePath
from calls.media.path import Address, Event
from calls.media.peer import AEAD_PROFILES, KNOWN_MASTERS
from calls.media.srtp import srtp_file

from .plain import rtp
from .wires import Clock

MASTERS = st.sampled_from((28, 44)).flatmap(lambda length: st.binary(min_size=length, max_size=length))
SSRCS = (0, 7, 0xFFFF_FFFF)
STEPS = st.one_of(
    st.integers(-3, 3), st.integers(-1_100, 1_100), st.integers(-0x8001, 0x8001), st.sampled_from((-0x8000, 0x8000, -1_024, -1_023, 1_023, 1_024))
)
NUMBERS = st.lists(st.tuples(st.sampled_from(SSRCS), STEPS, st.booleans()), min_size=1, max_size=60)


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    assert build.ensure() == ""


def sender(master: bytes, *, repeats: bool) -> pylibsrtp.Session:
    """libsrtp's sending half, with the window that connections have."""
    profile = next(one for one in AEAD_PROFILES if one.key_length + one.salt_length == len(master))
    policy = pylibsrtp.Policy(master, pylibsrtp.Policy.SSRC_ANY_OUTBOUND, 0, profile.libsrtp_profile)
    policy.allow_repeat_tx, policy.window_size = repeats, 1024
    return pylibsrtp.Session(policy)


def sealed_by(session: pylibsrtp.Session, clear: bytes) -> bytes | None:
    try:
        sealed: bytes = session.protect(clear)
    except pylibsrtp.Error:
        return None
    return sealed


def filler(seed: object, most: int = 1_200) -> bytes:
    """Some octets that only the seed decides on, and how many."""
    digest = hashlib.sha256(repr(seed).encode()).digest()
    return hashlib.shake_256(digest).digest(1 + int.from_bytes(digest[:2]) % most)


@given(MASTERS, st.integers(0, 0xFFFF), NUMBERS)
def test_what_is_sealed_and_what_is_refused_is_the_same_as_with_libsrtp_when_no_packet_comes_twice(
    master: bytes, first: int, moves: list[tuple[int, int, bool]]
) -> None:
    """Every packet differs, so a number that comes again brings another packet."""
    ours, theirs, at = seals.Sealing.under(master), sender(master, repeats=False), dict.fromkeys(SSRCS, first)
    for turn, (ssrc, step, extended) in enumerate(moves):
        at[ssrc] = (at[ssrc] + step) & 0xFFFF
        clear = rtp(at[ssrc], filler(turn), ssrc=ssrc, timestamp=turn, extensions={5: b"mid", 9: b"\1\2"} if extended else {})
        assert ours.seal(clear) == sealed_by(theirs, clear)


@given(MASTERS, st.integers(0, 0xFFFF), NUMBERS)
def test_the_same_packet_again_gives_the_same_octets_as_with_libsrtp_where_repeats_are_allowed(
    master: bytes, first: int, moves: list[tuple[int, int, bool]]
) -> None:
    """What a packet holds depends on its SSRC and number alone, so a number that comes again brings the same packet."""
    ours, theirs, at = seals.Sealing.under(master), sender(master, repeats=True), dict.fromkeys(SSRCS, first)
    for ssrc, step, _ in moves:
        at[ssrc] = (at[ssrc] + step) & 0xFFFF
        clear = rtp(at[ssrc], filler((ssrc, at[ssrc])), ssrc=ssrc, extensions={5: b"mid"})
        assert ours.seal(clear) == sealed_by(theirs, clear)
        assert ours.seal(clear) == sealed_by(theirs, clear)


@pytest.mark.parametrize("master", KNOWN_MASTERS, ids=("aes-128", "aes-256"))
def test_numbers_that_wrap_three_times_are_sealed_as_libsrtp_seals_them_and_late_ones_with_the_counter_they_belong_to(master: bytes) -> None:
    ours, theirs = seals.Sealing.under(master), sender(master, repeats=True)
    for index in range(65_000, 3 * 65_536 + 500, 97):
        for late in (0, 96, 900):
            clear = rtp(index - late, filler(index - late, 40))
            sealed = ours.seal(clear)
            assert sealed is not None
            assert sealed == sealed_by(theirs, clear)


@given(MASTERS, st.binary(max_size=60))
def test_octets_that_are_no_packet_are_refused_where_libsrtp_refuses_them(master: bytes, junk: bytes) -> None:
    assert seals.Sealing.under(master).seal(junk) == sealed_by(sender(master, repeats=True), junk)


@pytest.mark.parametrize(("length", "sealed"), list(zip(seals.KEY_LENGTHS, seals.SEALED, strict=True)))
def test_the_packets_of_rfc_7714_sections_16_1_1_and_16_2_1_come_out_as_printed_there(length: int, sealed: bytes) -> None:
    assert seals.Sealing.of_session(bytes(range(length)), seals.SALT).seal(seals.CLEAR) == sealed


@pytest.mark.parametrize("master", KNOWN_MASTERS, ids=("aes-128", "aes-256"))
def test_another_packet_under_a_used_number_is_refused_and_the_same_one_is_not(master: bytes) -> None:
    ours = seals.Sealing.under(master)
    first = ours.seal(rtp(9, b"the one"))
    assert first is not None
    for other in (rtp(9, b"the two"), rtp(9, b"the one", marker=True), rtp(9, b"the one", timestamp=91), rtp(9, b"")):
        assert ours.seal(other) is None
    assert ours.seal(rtp(9, b"the one")) == first
    assert ours.seal(rtp(9, b"the two", ssrc=6)) is not None


def test_a_number_further_back_than_is_remembered_is_refused_though_the_packet_is_the_same() -> None:
    ours = seals.Sealing.under(KNOWN_MASTERS[0])
    first = ours.seal(rtp(1, b"one"))
    assert ours.seal(rtp(1_024, b"another")) is not None
    assert ours.seal(rtp(1, b"one")) == first
    assert ours.seal(rtp(1_025, b"one more")) is not None
    assert ours.seal(rtp(1, b"one")) is None


def test_an_ssrc_that_was_forgotten_is_never_sealed_under_again_and_others_are() -> None:
    ours = seals.Sealing.under(KNOWN_MASTERS[0])
    for ssrc in range(100, 200):
        assert ours.seal(rtp(1, b"one", ssrc=ssrc)) is not None
    assert [ours.forget(ssrc) for ssrc in (150, 150, 99)] == [True, False, False]
    assert [ours.seal(rtp(2, b"two", ssrc=ssrc)) is None for ssrc in (149, 150, 151, 99)] == [False, True, False, False]


class Listener:
    """An end that is only sent to."""

    def __init__(self, number: int, sessions: tuple[pylibsrtp.Session, pylibsrtp.Session], key: bytes | None) -> None:
        self.number, self.rtcp_ssrc, self.sessions, self.masters = number, 9_001, sessions, (None, key)
        self.address: Address | None = ("192.0.2.1", 5)

    def on_event(self, event: Event) -> None:
        """Nothing is asked of it here."""


class Sent:
    """A path without a socket, and what it sent."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.datagrams: list[bytes] = []
        self.path = NativePath(self.counters, self._send, Clock())

    def _send(self, data: bytes, address: Address) -> bool:
        self.datagrams.append(data)
        return True


def sessions(master: bytes) -> tuple[pylibsrtp.Session, pylibsrtp.Session]:
    return sender(master, repeats=True), sender(master, repeats=True)


def test_a_packet_that_must_not_go_out_is_counted_and_not_sent() -> None:
    sent, end = Sent(), Listener(1, sessions(KNOWN_MASTERS[0]), KNOWN_MASTERS[0])
    sent.path.attach(end)

    assert sent.path.send_rtp(end, rtp(3, b"one"))
    assert not sent.path.send_rtp(end, rtp(3, b"two"))

    assert sent.datagrams == [sender(KNOWN_MASTERS[0], repeats=True).protect(rtp(3, b"one"))]
    assert sent.counters["srtp-unsent"] == 1


def test_an_end_that_comes_again_with_its_session_goes_on_where_it_was() -> None:
    sent, pair = Sent(), sessions(KNOWN_MASTERS[0])
    for number, payload, goes in ((1, b"one", True), (2, b"two", False), (3, b"one", True)):
        end = Listener(number, pair, KNOWN_MASTERS[0])
        sent.path.attach(end)
        assert sent.path.send_rtp(end, rtp(3, payload)) is goes
        sent.path.detach(end)


@pytest.mark.parametrize("named", [None, bytes(28), bytes(44), b"short"], ids=("no key", "another key", "another length", "no length"))
def test_a_connection_whose_key_is_not_known_is_sealed_by_libsrtp(named: bytes | None) -> None:
    sent, end = Sent(), Listener(1, sessions(KNOWN_MASTERS[0]), named)
    assert seals.sealing(end.sessions[1], named) is None
    sent.path.attach(end)

    assert sent.path.send_rtp(end, rtp(3, b"one"))

    assert sent.datagrams == [sender(KNOWN_MASTERS[0], repeats=True).protect(rtp(3, b"one"))]


def test_a_sealing_ends_with_its_session() -> None:
    pair = sessions(KNOWN_MASTERS[0])
    first = seals.sealing(pair[1], KNOWN_MASTERS[0])
    assert first is not None
    assert seals.sealing(pair[1], KNOWN_MASTERS[0]) == first
    gone = weakref.ref(pair[1])
    assert gone in seals._halves.keyrefs()
    del pair
    gc.collect()
    assert gone() is None
    assert gone not in seals._halves.keyrefs()


def test_a_library_without_the_functions_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """The one that is there and has none of them is our own."""
    assert seals.usable()
    assert not seals.usable(str(build.library()))
    assert "takes longer" in caplog.text


@pytest.mark.parametrize(
    ("ours", "another"),
    [
        ("EVP_aes_256_gcm", "EVP_chacha20_poly1305"),
        ("EVP_aes_128_gcm", "EVP_aria_128_gcm"),
        ("EVP_aes_128_ctr", "EVP_aria_128_ctr"),
        ("EVP_aes_256_ctr", "EVP_chacha20"),
    ],
)
def test_functions_that_seal_otherwise_are_not_used(ours: str, another: str) -> None:
    """Ciphers with the same lengths of key and IV."""
    given = seals.functions()
    seals.tried(given)
    changed = (ctypes.c_void_p * len(given))(*given)
    changed[seals.FUNCTIONS.index(ours)] = ctypes.cast(getattr(ctypes.CDLL(srtp_file()), another), ctypes.c_void_p).value
    with pytest.raises(library.Unusable):
        seals.tried(changed)
