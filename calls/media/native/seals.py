"""Who seals RTP and opens it: `source/sealing.c` and `source/opening.c` where they were tried and found equal to libsrtp, otherwise libsrtp.

A session has one of them for its whole life, so that what is known of used numbers is never lost while its key is in use.
"""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Callable
from ctypes import byref, c_int, c_void_p
from functools import cache
from typing import Any, ClassVar, Self

from ..peer import KNOWN_MASTERS, known_session
from ..srtp import SRTP_ERRORS, srtp_file
from . import library

# Of OpenSSL, in the order of `struct openssl` in source/cipher.h.
FUNCTIONS = (
    "EVP_CIPHER_CTX_new", "EVP_CIPHER_CTX_free", "EVP_CipherInit_ex", "EVP_CipherUpdate", "EVP_CipherFinal_ex", "EVP_CIPHER_CTX_ctrl",
    "EVP_aes_128_gcm", "EVP_aes_256_gcm", "EVP_aes_128_ctr", "EVP_aes_256_ctr",
)  # fmt: skip
KEY_LENGTHS = (16, 32)

# RFC 7714 sections 16.1.1 and 16.2.1: one packet under session keys that count up from 0.
SALT = b"Quid pro quo"
CLEAR = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
SEALED = (
    bytes.fromhex(
        "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce"
    ),
    bytes.fromhex(
        "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13"
    ),
)
NOBODY = bytes.fromhex("806000010000000000000000") + b"trial"  # under SSRC 0, which no copy has (`peer.Link.fresh_ssrc`)

_log = logging.getLogger(__name__)
_halves: weakref.WeakKeyDictionary[Any, int | None] = weakref.WeakKeyDictionary()  # of sessions, which go one way each


class _Half:
    """One half of a seal apart from any session, for trials and tests; freed with this object. Raises Unusable when it cannot be made."""

    kind: ClassVar[str]

    def __init__(self, make: str, *arguments: Any, given: Any = None) -> None:
        self._library = library.load()
        found: int | None = getattr(self._library, make)(given or functions(), *arguments)
        if found is None:
            raise library.Unusable(f"there is no {self.kind} under this key")
        self.handle = found
        weakref.finalize(self, getattr(self._library, f"cleac_{self.kind}_free"), found)

    @classmethod
    def under(cls, master: bytes, given: Any = None) -> Self:
        """As a connection has it, of a master key and its salt together. `given` are the functions, where they are not OpenSSL's."""
        return cls(f"cleac_{cls.kind}", master, len(master), given=given)

    @classmethod
    def of_session(cls, key: bytes, salt: bytes, given: Any = None) -> Self:
        """Of the keys of a session themselves."""
        return cls(f"cleac_{cls.kind}_of_session", key, len(key), salt, given=given)


class Sealing(_Half):
    """What seals."""

    kind = "sealing"

    def seal(self, clear: bytes) -> bytes | None:
        """The sealed packet; None where it is refused."""
        room, length = ctypes.create_string_buffer(clear, len(clear) + library.TRAILER), c_int(len(clear))
        return None if self._library.cleac_seal(self.handle, room, byref(length)) else room.raw[: length.value]

    def forget(self, ssrc: int) -> bool:
        """Nothing is sealed under `ssrc` any more; whether anything was."""
        return bool(self._library.cleac_seal_forget(self.handle, ssrc))


class Opening(_Half):
    """What opens."""

    kind = "opening"

    def open(self, sealed: bytes) -> bytes | None:
        """The packet in clear; None where it is refused."""
        room, length = ctypes.create_string_buffer(max(1, len(sealed))), c_int(len(sealed))
        return None if self._library.cleac_opened(self.handle, sealed, byref(length), room) else room.raw[: length.value]


@cache
def functions(file: str = "") -> ctypes.Array[c_void_p]:
    """What seals, by address, of the library in this file (by default the one of libsrtp). Raises Unusable where it does not give it out."""
    try:
        found = ctypes.CDLL(file or srtp_file())
        return (c_void_p * len(FUNCTIONS))(*(ctypes.cast(getattr(found, name), c_void_p) for name in FUNCTIONS))
    except (OSError, AttributeError) as error:
        raise library.Unusable(f"OpenSSL's functions are not there: {error}") from None


def tried(given: Any) -> None:
    """Seal and open with these functions what RFC 7714 seals, and have libsrtp open and seal the same under keys of connections.

    Raises Unusable where one of these fails, or where what was changed is opened.
    """
    for length, sealed in zip(KEY_LENGTHS, SEALED, strict=True):
        key = bytes(range(length))
        if Sealing.of_session(key, SALT, given).seal(CLEAR) != sealed:
            raise library.Unusable("sealing does not give what RFC 7714 gives")
        opening = Opening.of_session(key, SALT, given)
        if [opening.open(one) for one in (_changed(sealed), sealed, sealed)] != [None, CLEAR, None]:
            raise library.Unusable("opening does not take what RFC 7714 gives, once and unchanged")
    for master in KNOWN_MASTERS:
        ours = Sealing.under(master, given).seal(CLEAR)
        try:
            opened = known_session(receiving=True, master=master).unprotect(ours or b"")
            theirs = known_session(receiving=False, master=master).protect(CLEAR)
        except SRTP_ERRORS:
            opened = theirs = b""
        if opened != CLEAR or Opening.under(master, given).open(theirs) != CLEAR:
            raise library.Unusable("libsrtp and OpenSSL do not open what the other sealed")


def _changed(sealed: bytes) -> bytes:
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


@cache
def usable(file: str = "") -> bool:
    """Whether this process seals and opens by itself, with the functions in this file."""
    try:
        tried(functions(file))
    except library.Unusable as reason:
        _log.warning("libsrtp seals and opens media, which takes longer: %s", reason)
        return False
    return True


def sealing(session: Any, master: bytes | None) -> int | None:
    """What seals for this sending session, the same whenever it is asked for; None: the session itself."""
    return _half(session, master, Sealing, _seals_alike)


def opening(session: Any, master: bytes | None) -> int | None:
    """What opens for this receiving session, the same whenever it is asked for; None: the session itself."""
    return _half(session, master, Opening, _opens_alike)


def _half(session: Any, master: bytes | None, half: type[_Half], is_equal: Callable[[Any, bytes], bool]) -> int | None:
    if master is None:
        return None
    if session not in _halves:
        _halves[session] = _made(session, master, half.kind) if usable() and _is_key(session, master, is_equal) else None
    return _halves[session]


def _made(session: Any, master: bytes, kind: str) -> int | None:
    found = library.load()
    made: int | None = getattr(found, f"cleac_{kind}")(functions(), master, len(master))
    if made is not None:
        weakref.finalize(session, getattr(found, f"cleac_{kind}_free"), made).atexit = False  # a media thread may still be at it then
    return made


def _is_key(session: Any, master: bytes, is_equal: Callable[[Any, bytes], bool]) -> bool:
    """Whether the session has this key: one packet that nobody is sent, under a number that nobody has."""
    try:
        equal = is_equal(session, master)
    except library.Unusable:
        return False
    except SRTP_ERRORS:
        equal = False
    if not equal:
        _log.warning("libsrtp has a connection to itself, because its key is not the one that was named")
    return equal


def _seals_alike(session: Any, master: bytes) -> bool:
    theirs: bytes = session.protect(NOBODY)
    session.remove_stream(0)
    return Sealing.under(master).seal(NOBODY) == theirs


def _opens_alike(session: Any, master: bytes) -> bool:
    ours = Sealing.under(master).seal(NOBODY)
    opened: bytes = session.unprotect(ours or b"")
    session.remove_stream(0)
    return opened == NOBODY
