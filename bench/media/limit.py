"""`python -m bench.media.limit`: forwarded packets per CPU-second in a tight C loop, in the shape of the capacity load (S5)."""

from __future__ import annotations

import ctypes
import os
import socket
import statistics

from pylibsrtp import Policy, Session

from .build import library
from .load import address_of, function
from .loads import LOADS

MOST_LISTENERS = 64
ROUNDS = 400
TURNS = 5
KEY_OCTETS = 28  # AES-128-GCM: 16 of the key, 12 of the salt (RFC 7714 section 12)


class _Limit(ctypes.Structure):
    """`struct limit`."""

    _fields_ = (
        ("protect", ctypes.c_void_p),
        ("sessions", ctypes.c_void_p * MOST_LISTENERS),
        ("receiving", ctypes.c_int32 * MOST_LISTENERS),
        ("ports", ctypes.c_uint16 * MOST_LISTENERS),
        ("sending", ctypes.c_int32),
        *((name, ctypes.c_uint32) for name in ("listeners", "burst", "size", "rounds")),
    )


def _session() -> Session:
    return Session(Policy(key=os.urandom(KEY_OCTETS), ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM))


def _turn() -> float:
    load = LOADS["S5"]
    sessions = [_session() for _ in range(load.listeners)]
    sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(load.listeners)]
    limit = _Limit(
        protect=function("srtp_protect"), sending=sending.fileno(), listeners=load.listeners, burst=load.burst, size=load.size, rounds=ROUNDS
    )
    for place, (session, own) in enumerate(zip(sessions, receiving, strict=True)):
        own.bind(("127.0.0.1", 0))
        own.setblocking(False)
        limit.sessions[place] = address_of(session)
        limit.receiving[place] = own.fileno()
        limit.ports[place] = socket.htons(own.getsockname()[1])
    built = ctypes.CDLL(str(library("limit")))
    built.limit_run.restype = ctypes.c_double
    found = float(built.limit_run(ctypes.byref(limit)))
    for one in (sending, *receiving):
        one.close()
    return found


def main() -> None:
    print(statistics.median(_turn() for _ in range(TURNS)))


if __name__ == "__main__":
    main()
