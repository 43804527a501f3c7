"""What source/opening.c takes and refuses is what libsrtp takes and refuses, packet by packet."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import random
import weakref
from collections import Counter
from typing import Any

import pylibsrtp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.media.native import build, library, seals
from calls.media.native.path import NativePath
from calls.media.path import Address, Event, Masters
from calls.media.peer import AEAD_PROFILES, KNOWN_MASTERS

from .plain import rtp
from .wires import Clock

MASTERS = st.sampled_from((28, 44)).flatmap(lambda length: st.binary(min_size=length, max_size=length))
SSRCS = (0, 7, 0xFFFF_FFFF)
STEPS = st.one_of(
    st.integers(-3, 3),
    st.integers(-1_100, 1_100),
    st.integers(-0x8001, 0x8001),
    st.sampled_from((-0x8000, 0x8000, -1_024, -1_023, 1_023, 1_024, 0x1_0000, -0x1_0000)),
)
FATES = st.sampled_from(("as it is", "twice", "forged", "short"))
MOVES = st.lists(st.tuples(st.sampled_from(SSRCS), STEPS, FATES, st.integers(0, 3)), min_size=1, max_size=60)


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    assert build.ensure() == ""


def half(master: bytes, kind: int) -> pylibsrtp.Session:
    """libsrtp's half, with the window that connections have."""
    profile = next(one for one in AEAD_PROFILES if one.key_length + one.salt_length == len(master))
    policy = pylibsrtp.Policy(master, kind, 0, profile.libsrtp_profile)
    policy.allow_repeat_tx, policy.window_size = True, 1024
    return pylibsrtp.Session(policy)


def receiver(master: bytes) -> pylibsrtp.Session:
    return half(master, pylibsrtp.Policy.SSRC_ANY_INBOUND)


def opened_by(session: pylibsrtp.Session, sealed: bytes) -> bytes | None:
    try:
        clear: bytes = session.unprotect(sealed)
    except pylibsrtp.Error:
        return None
    return clear


class Sender:
    """Seals under any index, as another implementation might: each packet by a half of its own that was led up to it."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    def sealed(self, ssrc: int, index: int, clear: bytes) -> bytes:
        own = seals.Sealing.under(self._master)
        for step in range(0x4001, index, 0x4001):
            assert own.seal(rtp(step, b"x", ssrc=ssrc)) is not None
        found = own.seal(clear)
        assert found is not None
        return found


def body(seed: object) -> bytes:
    """Some octets that only the seed decides on, and how many; at times none."""
    digest = hashlib.sha256(repr(seed).encode()).digest()
    return hashlib.shake_256(digest).digest(int.from_bytes(digest[:2]) % 1_200) if digest[2] % 8 else b""


def packet(index: int, ssrc: int, shape: int) -> bytes:
    """Without anything, with extensions, with contributing sources, with both."""
    clear = rtp(index, b"", ssrc=ssrc, extensions={5: b"mid", 9: b"\1\2"} if shape & 1 else {})[:-4]
    first = clear[0] & 0xDF
    sources = b"abcdefgh" if shape & 2 else b""
    return bytes([first | len(sources) // 4]) + clear[1:12] + sources + clear[12:] + body((index, ssrc))


@given(MASTERS, st.sampled_from((0, 1, 500, 32_767, 32_768, 32_769, 65_535)), MOVES)
def test_what_is_taken_and_what_is_refused_is_the_same_as_with_libsrtp_in_any_order_of_numbers(
    master: bytes, first: int, moves: list[tuple[int, int, str, int]]
) -> None:
    """Numbers jump, wrap and come again under rollover counters that the receiver must guess; some packets are forged or cut short."""
    ours, theirs, sender, at = seals.Opening.under(master), receiver(master), Sender(master), dict.fromkeys(SSRCS, first)
    for ssrc, step, fate, shape in moves:
        at[ssrc] = max(0, at[ssrc] + step)
        sealed = sender.sealed(ssrc, at[ssrc], packet(at[ssrc], ssrc, shape))
        if fate == "forged":
            place = at[ssrc] * 7 % len(sealed)
            sealed = sealed[:place] + bytes([sealed[place] ^ 1 << shape]) + sealed[place + 1 :]
        if fate == "short":
            sealed = sealed[: at[ssrc] * 7 % len(sealed)]
        for _ in range(2 if fate == "twice" else 1):
            assert ours.open(sealed) == opened_by(theirs, sealed)


@pytest.mark.parametrize("master", KNOWN_MASTERS, ids=("aes-128", "aes-256"))
def test_numbers_that_wrap_three_times_are_opened_as_libsrtp_opens_them_late_and_repeated_ones_too(master: bytes) -> None:
    ours, theirs, sending, chance = seals.Opening.under(master), receiver(master), seals.Sealing.under(master), random.Random(3)
    past: list[bytes] = []
    for index in range(65_000, 3 * 65_536 + 500, 31):
        sealed = sending.seal(rtp(index, b"payload"))
        assert sealed is not None
        past = [*past[-60:], sealed]
        for one in (sealed, chance.choice(past), past[0]):
            if chance.random() < 0.7:
                assert ours.open(one) == opened_by(theirs, one)


@given(MASTERS, st.binary(max_size=60))
def test_octets_that_are_no_packet_are_refused_as_libsrtp_refuses_them(master: bytes, junk: bytes) -> None:
    assert seals.Opening.under(master).open(junk) is None
    assert opened_by(receiver(master), junk) is None


@pytest.mark.parametrize(("length", "sealed"), list(zip(seals.KEY_LENGTHS, seals.SEALED, strict=True)))
def test_the_packets_of_rfc_7714_sections_16_1_2_and_16_2_2_are_opened_once_and_no_octet_of_them_may_differ(length: int, sealed: bytes) -> None:
    opening = seals.Opening.of_session(bytes(range(length)), seals.SALT)
    for at in range(len(sealed)):
        assert opening.open(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is None
    assert opening.open(sealed) == seals.CLEAR
    assert opening.open(sealed) is None


def test_what_was_forged_moves_no_window_and_makes_nothing_known() -> None:
    """A forged number far ahead would otherwise make the genuine ones too old."""
    opening, sending = seals.Opening.under(KNOWN_MASTERS[0]), seals.Sealing.under(KNOWN_MASTERS[0])
    genuine = [sending.seal(rtp(number, b"media")) for number in (1, 2, 3)]
    far = sending.seal(rtp(30_000, b"media"))
    assert far is not None
    assert opening.open(far[:-1] + bytes([far[-1] ^ 1])) is None
    assert [opening.open(one or b"") for one in genuine] == [rtp(number, b"media") for number in (1, 2, 3)]


def test_of_more_sources_than_there_was_room_for_each_keeps_its_own_numbers() -> None:
    opening, sending = seals.Opening.under(KNOWN_MASTERS[0]), seals.Sealing.under(KNOWN_MASTERS[0])
    sealed = [sending.seal(rtp(9, b"media", ssrc=ssrc)) or b"" for ssrc in range(300)]
    assert [opening.open(one) for one in sealed] == [rtp(9, b"media", ssrc=ssrc) for ssrc in range(300)]
    assert [opening.open(one) for one in sealed] == [None] * 300


class Publisher:
    """An end that only sends."""

    def __init__(self, number: int, sessions: tuple[Any, Any], key: bytes | None) -> None:
        self.number, self.rtcp_ssrc, self.sessions = number, 9_001, sessions
        self.masters: Masters = (key, None)
        self.address: Address | None = ("192.0.2.1", 5)

    def on_event(self, event: Event) -> None:
        """Nothing is asked of it here."""


def sessions(master: bytes) -> tuple[pylibsrtp.Session, pylibsrtp.Session]:
    return receiver(master), half(master, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)


def test_an_end_that_comes_again_with_its_session_opens_no_packet_a_second_time() -> None:
    pair, sealed = sessions(KNOWN_MASTERS[0]), seals.Sealing.under(KNOWN_MASTERS[0]).seal(rtp(5, b"media")) or b""
    handles = set()
    for number in (1, 2):
        path = NativePath(Counter(), lambda data, address: True, Clock())
        path.attach(Publisher(number, pair, KNOWN_MASTERS[0]))
        handles.add(seals.opening(pair[0], KNOWN_MASTERS[0]))
    (handle,) = handles
    room, taken = ctypes.create_string_buffer(len(sealed)), []
    for _ in range(2):
        taken.append(library.load().cleac_opened(handle, sealed, ctypes.byref(ctypes.c_int(len(sealed))), room))
    assert taken == [0, -1]


@pytest.mark.parametrize("named", [None, bytes(28), bytes(44), b"short"], ids=("no key", "another key", "another length", "no length"))
def test_a_connection_whose_key_is_not_known_is_opened_by_libsrtp(named: bytes | None) -> None:
    pair = sessions(KNOWN_MASTERS[0])
    assert seals.opening(pair[0], named) is None
    assert opened_by(pair[0], seals.Sealing.under(KNOWN_MASTERS[0]).seal(rtp(5, b"media")) or b"") == rtp(5, b"media")


def test_an_opening_ends_with_its_session() -> None:
    pair = sessions(KNOWN_MASTERS[0])
    first = seals.opening(pair[0], KNOWN_MASTERS[0])
    assert first is not None
    assert seals.opening(pair[0], KNOWN_MASTERS[0]) == first
    gone = weakref.ref(pair[0])
    assert gone in seals._halves.keyrefs()
    del pair
    gc.collect()
    assert gone() is None
    assert gone not in seals._halves.keyrefs()


def test_functions_that_take_any_tag_are_not_used() -> None:
    given = seals.functions()
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    at = seals.FUNCTIONS.index("EVP_CipherFinal_ex")
    genuine = kind(given[at])

    def takes_all(context: int, out: int, length: int) -> int:
        genuine(context, out, length)
        return 1

    lenient, changed = kind(takes_all), (ctypes.c_void_p * len(given))(*given)
    changed[at] = ctypes.cast(lenient, ctypes.c_void_p).value
    with pytest.raises(library.Unusable, match="unchanged"):
        seals.tried(changed)
