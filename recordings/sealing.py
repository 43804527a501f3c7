"""How bytes are sealed: one derived key for each file, one counter for each record, and a claim that both are bound to. No Django.

What must never happen here, and what holds it:
- One nonce under one key for two different texts, which gives both away (NIST SP 800-38D section 8): every file draws its own
  salt, so its key is its own, and a `Sealer` takes a counter once and only upwards.
- Bytes that open under another claim: tenant, recording, participant, source, epoch and consent entry go into the derivation.
- One ciphertext that opens under two keys, which AES-GCM by itself allows: the commitment of the key is stored and compared first.

Python cannot overwrite a `bytes` object; a key is forgotten by dropping every reference to it.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ALGORITHM: Final = "HKDF-SHA-512+AES-256-GCM"
KEY_SIZE = SALT_SIZE = 32
TAG_SIZE = 16
MARK_SIZE = 16

_CONTEXT_DOMAIN = b"cleac/context/1"
_FILE_DOMAIN = b"cleac/sealed-file/1"
_COUNTERS = 1 << 96


class Tampered(Exception):
    """Sealed bytes are not what was written: altered, missing, out of order, or offered under another key or claim."""


@dataclass(frozen=True, slots=True)
class Context:
    """The claim that a file is bound to. Ids are UUIDs or their usual text; `entry_hash` is the consent entry's hash in the log."""

    tenant: UUID | str
    recording: UUID | str
    participant: UUID | str
    source: str
    epoch: UUID | str
    entry_hash: bytes

    def digest(self) -> bytes:
        """32 bytes that stand for the claim: SHA-256 over the parts, each behind its length, so that no two claims run together."""
        parts = [str(part).encode() for part in (self.tenant, self.recording, self.participant, self.source, self.epoch)]
        return sha256(b"".join(len(part).to_bytes(4) + part for part in (_CONTEXT_DOMAIN, *parts, self.entry_hash))).digest()


def new_key() -> bytes:
    """A fresh data key, 32 random bytes."""
    return os.urandom(KEY_SIZE)


class Sealer:
    """Seals and opens the records of one file. `commitment` (32 bytes) is public: it says which key opens the file.

    Raises ValueError for a data key or a salt that is not 32 bytes long.
    """

    def __init__(self, data_key: bytes, salt: bytes, context: Context) -> None:
        if len(data_key) != KEY_SIZE or len(salt) != SALT_SIZE:
            raise ValueError("a data key and a salt have 32 bytes each")
        info = _FILE_DOMAIN + ALGORITHM.encode() + context.digest()
        derived = HKDF(SHA512(), 3 * KEY_SIZE, salt, info).derive(data_key)
        self.commitment = derived[KEY_SIZE : 2 * KEY_SIZE]
        self._mark_key = derived[2 * KEY_SIZE :]
        self._aead = AESGCM(derived[:KEY_SIZE])
        self._next = 0

    @property
    def next_counter(self) -> int:
        """The lowest counter that is still unused."""
        return self._next

    def seal(self, counter: int, aad: bytes, clear: bytes) -> bytes:
        """Ciphertext and 16-byte tag. Raises ValueError for a counter that is not above every one used before."""
        if not self._next <= counter < _COUNTERS:
            raise ValueError("a counter is used once and only upwards")
        self._next = counter + 1
        return self._aead.encrypt(counter.to_bytes(12), clear, aad)

    def open(self, counter: int, aad: bytes, sealed: bytes) -> bytes:
        """The clear bytes. Raises `Tampered` when counter, additional data or ciphertext are not those of `seal`."""
        try:
            return self._aead.decrypt(counter.to_bytes(12), sealed, aad)
        except (InvalidTag, OverflowError):
            raise Tampered("a record does not open") from None

    def mark(self, clear: bytes) -> bytes:
        """16 bytes that nobody without the data key can make for `clear` (HMAC-SHA-256, shortened, under a key of its own)."""
        return hmac.digest(self._mark_key, clear, "sha256")[:MARK_SIZE]
