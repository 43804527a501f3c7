"""`python -m tests.media.sleeper`, under sleeper.c: the machine sleeps for an hour while a call runs; says which packets then reached the listener.

Nothing of a loop runs here: the media thread alone decides.
"""

from __future__ import annotations

import ctypes
import socket
import time
from collections import Counter

from calls.media import clock
from calls.media.native.path import NativePath

from .both import session
from .plain import AUDIO, rtp
from .test_native_bursts import MICROPHONE, client_of, furnish

PATIENCE = 20.0


def main() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.setblocking(False)
    clients, counters = [client_of(server) for _ in range(2)], Counter[str]()
    path = NativePath(counters, lambda data, address: False, clock.now)
    furnish(path, clients)
    path.allow(int((clock.now() + 60) * 1_000_000))
    path.read(server.fileno(), socket.AF_INET, lambda data, address: None)
    sealing, opening = session("in", ours=False), session("out", ours=False)

    def send(number: int) -> None:
        clients[0].send(sealing.protect(rtp(number, b"\xfc", ssrc=MICROPHONE, payload_type=AUDIO)))

    def received() -> int:
        return int.from_bytes(opening.unprotect(clients[1].recv(2_000))[2:4])

    send(1)
    before = received()
    ctypes.c_int.in_dll(ctypes.CDLL(None), "slept").value = 3_600
    send(2)
    ends = time.monotonic() + PATIENCE
    while not counters["fenced"] and time.monotonic() < ends:
        time.sleep(0.001)
        path.woken()
    path.allow(int((clock.now() + 60) * 1_000_000))
    send(3)
    print(before, counters["fenced"], received())
    path.closing()


if __name__ == "__main__":
    main()
