"""Sealed bytes open under their own key, claim, counter and additional data, and under no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from recordings.sealing import Context, Sealer, Tampered, new_key

GAIL_CAM = Context("acme", "recording-1", "gail", "cam", "epoch-1", bytes(range(32)))
KEY, SALT = b"k" * 32, b"s" * 32


def test_what_was_sealed_opens_again() -> None:
    sealed = Sealer(KEY, SALT, GAIL_CAM).seal(7, b"head", b"clear")

    assert Sealer(KEY, SALT, GAIL_CAM).open(7, b"head", sealed) == b"clear"
    assert b"clear" not in sealed


def test_the_form_is_the_documented_one() -> None:
    """Built here from the standard parts, as somebody else would from `docs/formats.md`."""
    info = b"cleac/sealed-file/1" + b"HKDF-SHA-512+AES-256-GCM" + GAIL_CAM.digest()
    derived = HKDF(SHA512(), 96, SALT, info).derive(KEY)
    sealer = Sealer(KEY, SALT, GAIL_CAM)

    assert sealer.commitment == derived[32:64]
    assert sealer.seal(258, b"head", b"clear") == AESGCM(derived[:32]).encrypt(bytes(10) + b"\x01\x02", b"clear", b"head")


def test_a_counter_is_used_once_and_only_upwards() -> None:
    sealer = Sealer(KEY, SALT, GAIL_CAM)
    sealer.seal(5, b"", b"first")

    for used in (5, 4, 0, -1, 1 << 96):
        with pytest.raises(ValueError, match="only upwards"):
            sealer.seal(used, b"", b"second")
    assert sealer.next_counter == 6


@pytest.mark.parametrize(
    ("counter", "aad", "place"),
    [(1, b"head", None), (0, b"HEAD", None), (0, b"head", 0), (0, b"head", -1)],
    ids=["another counter", "another head", "altered ciphertext", "altered tag"],
)
def test_anything_altered_is_tampered(counter: int, aad: bytes, place: int | None) -> None:
    sealed = bytearray(Sealer(KEY, SALT, GAIL_CAM).seal(0, b"head", b"clear"))
    if place is not None:
        sealed[place] ^= 1

    with pytest.raises(Tampered):
        Sealer(KEY, SALT, GAIL_CAM).open(counter, aad, bytes(sealed))


@pytest.mark.parametrize("part", ["tenant", "recording", "participant", "source", "epoch", "entry_hash"])
def test_every_part_of_the_claim_binds(part: str) -> None:
    other = replace(GAIL_CAM, **{part: b"x" * 32 if part == "entry_hash" else "another"})
    sealed = Sealer(KEY, SALT, GAIL_CAM).seal(0, b"", b"clear")

    assert Sealer(KEY, SALT, other).commitment != Sealer(KEY, SALT, GAIL_CAM).commitment
    with pytest.raises(Tampered):
        Sealer(KEY, SALT, other).open(0, b"", sealed)


_parts = st.tuples(*[st.text(max_size=4)] * 5, st.binary(max_size=4))


@given(_parts, _parts)
def test_two_claims_have_one_digest_only_when_they_are_the_same(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    assert (Context(*one).digest() == Context(*two).digest()) == (one == two)


def test_keys_are_fresh_and_of_one_size() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert {len(new_key()) for _ in range(3)} == {32}


@pytest.mark.parametrize(("key", "salt"), [(b"short", SALT), (KEY, b"short")])
def test_a_short_key_or_salt_is_refused(key: bytes, salt: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(key, salt, GAIL_CAM)
