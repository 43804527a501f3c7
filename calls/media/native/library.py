"""The C library: loaded, described to ctypes, and tried before it is trusted.

Its functions are called with the interpreter's lock given up, since they may wait for the media thread. The sealing functions are those that
pylibsrtp brings, by their addresses: no header, no linking. `trial` seals and opens known packets through them.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

from ..peer import known_session
from ..srtp import session_address, srtp_functions
from . import build

# In the order of `enum counter` in source/engine.h.
COUNTERS = (
    "fenced", "srtp-early", "rtp-malformed", "ssrc-undeclared", "srtp-refused", "payload-type-undeclared", "rtp-too-old", "rtp-repeated",
    "rtcp-malformed", "resend-budget", "resent", "srtp-unsent", "srtp-unused", "send-full", "socket-error", "stranger", "oversize", "empty",
    "edge-overflow", "tap-overflow", "track-over-rate", "control-over-rate", "rtcp-unasked",
)  # fmt: skip
LONGEST_MID, LONGEST_NAME = 16, 255  # octets
TRAILER = 148  # octets that sealing adds at most

REPORT_FIELDS = ("ssrc", "fraction_lost", "packets_lost", "highest_sequence", "jitter", "last_report", "since_report")

HOOK = ctypes.CFUNCTYPE(c_int, c_int64, c_void_p, c_int)


class Unusable(Exception):
    """The library is not there or does not do what it must; the text says what is in the way."""


class ShapeOf(ctypes.Structure):
    """`struct shape`."""

    _fields_ = (
        ("key", c_int64),
        *((name, c_int) for name in ("video", "payload_type", "repair_payload_type", "mid_id", "rid_id", "repaired_rid_id", "orientation_id")),
        *((name, c_int) for name in ("level_id", "transport_id", "mid_length", "layers")),
        ("mid", c_char * LONGEST_MID),
    )


class Declared(ctypes.Structure):
    """`struct declared`."""

    _fields_ = (
        ("has_ssrc", c_int),
        ("has_repair", c_int),
        ("rid_length", c_int),
        ("ssrc", c_uint32),
        ("repair_ssrc", c_uint32),
        ("rid", c_char * LONGEST_MID),
    )


class Wanted(ctypes.Structure):
    """`struct wanted`."""

    _fields_ = (
        ("ssrc", c_uint32),
        ("repair_ssrc", c_uint32),
        *((name, c_int) for name in ("has_repair", "mid_length", "name_length", "cname_length")),
        ("mid", c_char_p),
        ("name", c_char_p),
        ("cname", c_char_p),
    )


class ReportOf(ctypes.Structure):
    """`struct report`."""

    _fields_ = tuple((name, c_int32 if name == "packets_lost" else c_uint32) for name in REPORT_FIELDS)


_SIGNATURES = {
    "create": (c_void_p, POINTER(c_void_p), HOOK, c_int64, POINTER(c_int64)),
    "destroy": (None, c_void_p),
    "begin": (c_int, c_void_p, c_int, c_int),
    "stop": (None, c_void_p),
    "set_clock": (None, c_void_p, c_int64),
    "allow": (None, c_void_p, c_int64),
    "end": (c_void_p, c_void_p, c_int64, c_uint32),
    "attach": (None, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
    "detach": (None, c_void_p, c_void_p),
    "hear": (None, c_void_p, c_void_p, c_char_p),
    "unhear": (None, c_void_p, c_char_p),
    "move": (None, c_void_p, c_void_p, c_int, c_char_p),
    "take": (None, c_void_p, c_void_p, c_char_p, c_int, c_int64),
    "send": (c_int, c_void_p, c_void_p, c_char_p, c_int, c_int),
    "forget": (None, c_void_p, c_void_p, c_uint32),
    "refused": (None, c_void_p, c_void_p, c_uint32, c_int),
    "open": (c_void_p, c_void_p, c_void_p, POINTER(ShapeOf), POINTER(Declared)),
    "close": (None, c_void_p, c_void_p),
    "add": (c_void_p, c_void_p, c_void_p, c_void_p, POINTER(Wanted), c_int, c_int64),
    "choose": (None, c_void_p, c_void_p, c_int),
    "remove": (None, c_void_p, c_void_p),
    "tap": (c_void_p, c_void_p, c_void_p, c_int64, c_int, c_int64),
    "choose_tap": (None, c_void_p, c_void_p, c_int),
    "untap": (c_int, c_void_p, c_void_p),
    "look": (c_size_t, c_void_p, POINTER(c_int64), c_size_t),
    "report": (c_int, c_void_p, c_void_p, c_int, c_int64, POINTER(ReportOf)),
    "poll": (None, c_void_p, c_int64),
    "fetch": (c_size_t, c_void_p, POINTER(c_void_p), POINTER(c_uint64), POINTER(c_int)),
    "heard": (None, c_void_p),
    "sealing": (c_void_p, POINTER(c_void_p), c_char_p, c_int),
    "sealing_of_session": (c_void_p, POINTER(c_void_p), c_char_p, c_int, c_char_p),
    "sealing_free": (None, c_void_p),
    "opening": (c_void_p, POINTER(c_void_p), c_char_p, c_int),
    "opening_of_session": (c_void_p, POINTER(c_void_p), c_char_p, c_int, c_char_p),
    "opening_free": (None, c_void_p),
    "seal": (c_int, c_void_p, c_void_p, POINTER(c_int)),
    "opened": (c_int, c_void_p, c_char_p, POINTER(c_int), c_void_p),
    "seal_forget": (c_int, c_void_p, c_uint32),
    "trial": (c_int, POINTER(c_void_p), c_void_p, c_char_p, c_int, POINTER(c_int)),
}


def described(path: Path) -> ctypes.CDLL:
    """The library with the types of its functions. Raises Unusable."""
    try:
        found = ctypes.CDLL(str(path))
        for name, (result, *arguments) in _SIGNATURES.items():
            function = getattr(found, f"cleac_{name}")
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise Unusable(f"it cannot be loaded: {error}") from None
    return found


def functions() -> ctypes.Array[c_void_p]:
    """protect, protect_rtcp, unprotect, unprotect_rtcp and remove_stream, by address."""
    return (c_void_p * 5)(*srtp_functions())


# A packet of each kind under the fixed key of `peer.known_session`, and as it is sealed (RFC 7714).
_CLEAR = (bytes.fromhex("80600001000000640000000a") + b"media", bytes.fromhex("80c900010000000a"))
_SEALED = (
    bytes.fromhex("80600001000000640000000ae5b3e43ffa083738854a559fb8cba8355a60c88c84"),
    bytes.fromhex("80c900010000000a0bb248747b5c9851cd72b704cb84224980000001"),
)


def tried(found: ctypes.CDLL) -> None:
    """Seal and open known packets. Raises Unusable when the answer is another."""
    for control, (clear, sealed) in enumerate(zip(_CLEAR, _SEALED, strict=True)):
        for opening, given, expected in ((False, clear, sealed), (True, sealed, clear)):
            session, length = known_session(receiving=opening), c_int(len(given))
            room = ctypes.create_string_buffer(given, len(given) + TRAILER)
            refused = found.cleac_trial(functions(), session_address(session), room, control + 2 * opening, ctypes.byref(length))
            if refused or room.raw[: length.value] != expected:
                raise Unusable("sealing with it does not give what it must")


@cache
def load(path: Path | None = None) -> ctypes.CDLL:
    """The library of this environment, described and tried. Raises Unusable."""
    path = path or build.library()
    if not path.exists():
        raise Unusable(build.failed(path).partition("\n")[2] or "it has not been compiled")
    found = described(path)
    tried(found)
    return found
