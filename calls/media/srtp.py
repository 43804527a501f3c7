"""SRTP sessions as they are used all the time: packets are sealed where they stand, and nothing is made anew for one of them.

Beside `peer` the only place that knows pylibsrtp; private names used here, and held by the contract test of `peer`: `_binding`, `Session._srtp`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pylibsrtp
from pylibsrtp import _binding as _srtp

SRTP_ERRORS = (pylibsrtp.Error, ValueError)
LARGEST_CLEAR, LARGEST_SEALED = 1356, 1500  # octets, as pylibsrtp has it

TRAILER = 16  # octets that the AEAD profiles add to a packet (RFC 7714), the only ones that are agreed to

Seal = Callable[[Sequence[int], int], int]
Open = Callable[[bytes], bytes]


def srtp_functions() -> list[int]:
    """Where protect, protect_rtcp, unprotect, unprotect_rtcp and remove_stream of the bundled libsrtp stand in memory."""
    names = ("srtp_protect", "srtp_protect_rtcp", "srtp_unprotect", "srtp_unprotect_rtcp", "srtp_remove_stream")
    return [int(_srtp.ffi.cast("uintptr_t", _srtp.ffi.addressof(_srtp.lib, name))) for name in names]


def srtp_file() -> str:
    """The library that holds the bundled libsrtp and the OpenSSL that it uses."""
    return str(_srtp.__file__)


def session_address(session: Any) -> int:
    """The libsrtp session (`srtp_t`) behind one of pylibsrtp's, which must outlive every use of the address."""
    return int(_srtp.ffi.cast("uintptr_t", session._srtp[0]))


class Room:
    """Octets in which packets are made and sealed, one behind the other."""

    def __init__(self, size: int) -> None:
        self.octets = bytearray(size)
        self.start = _srtp.ffi.from_buffer("char[]", self.octets)


def sealing(session: Any, room: Room) -> Seal:
    """As `session.protect`, for packets that stand in the room with `TRAILER` octets behind each.

    `(sizes, more)` seals as many as there are sizes, each `more` octets longer than told, and gives the end of the last. Raises SRTP_ERRORS.
    Not to be called once the session may be gone.
    """
    if not isinstance(session, pylibsrtp.Session):
        return lambda sizes, more: _sealed_elsewhere(session, room.octets, sizes, more)
    context, protect, start, length = session._srtp[0], _srtp.lib.srtp_protect, room.start, _srtp.ffi.new("int *")

    def seal(sizes: Sequence[int], more: int) -> int:
        at = 0
        for size in sizes:
            size += more
            if size > LARGEST_CLEAR:
                raise ValueError("packet is too long")
            length[0] = size
            if error := protect(context, start + at, length):
                raise pylibsrtp.Error(f"libsrtp refused to seal ({error})")
            at += size + TRAILER
        return at

    return seal


def _sealed_elsewhere(session: Any, octets: bytearray, sizes: Sequence[int], more: int) -> int:
    at = end = 0
    for size in sizes:
        sealed: bytes = session.protect(bytes(octets[at : at + size + more]))
        end = at + len(sealed)
        octets[at:end] = sealed
        at += size + more + TRAILER
    return end


def opening(session: Any) -> Open:
    """As `session.unprotect`. Raises SRTP_ERRORS; not to be called once the session may be gone."""
    if not isinstance(session, pylibsrtp.Session):
        unprotect: Open = session.unprotect
        return unprotect
    context, unseal, length = session._srtp[0], _srtp.lib.srtp_unprotect, _srtp.ffi.new("int *")
    room = _srtp.ffi.new("char[]", LARGEST_SEALED)
    octets = _srtp.ffi.buffer(room)

    def opened(sealed: bytes) -> bytes:
        size = len(sealed)
        if size > LARGEST_SEALED:
            raise ValueError("packet is too long")
        octets[0:size] = sealed
        length[0] = size
        if error := unseal(context, room, length):
            raise pylibsrtp.Error(f"libsrtp refused to open ({error})")
        clear: bytes = octets[0 : length[0]]
        return clear

    return opened
