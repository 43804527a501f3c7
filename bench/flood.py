"""`python -m bench.flood PORT KIND=RATE...`: sends to a UDP port of this machine until its input ends, then tells how much and how long.

Kinds: `junk` (what looks like RTP, RTCP, DTLS and nothing), `stun` (checks for links that do not exist), `hello` (malformed DTLS hellos).
Everything comes from 64 addresses of the loopback network, none of which was ever proven, in turns of a millisecond.
"""

from __future__ import annotations

import contextlib
import json
import random
import select
import socket
import sys
import time
from collections.abc import Iterator
from itertools import cycle

SOURCES = 64
TURN = 0.001  # seconds
SEED = 6


def _datagrams(kind: str, chance: random.Random) -> list[bytes]:
    if kind == "junk":
        heads = [b"\x80\x60", b"\x90\x6f", b"\x80\xc8", b"\x81\xcd", b"\x16\xfe\xfd", b"\xff\xff"]
        return [heads[n % len(heads)] + chance.randbytes(chance.randrange(20, 1200)) for n in range(200)]
    if kind == "hello":
        return [b"\x16\xfe\xfd" + chance.randbytes(chance.randrange(10, 300)) for _ in range(200)]
    return [_check(chance) for _ in range(200)]


def _check(chance: random.Random) -> bytes:
    """A check that is whole but for its password, and names nobody."""
    name = f"{chance.randbytes(4).hex()}:abcd".encode()
    body = b"\x00\x06" + len(name).to_bytes(2) + name + bytes(-len(name) % 4) + b"\x00\x24\x00\x04\x6e\x7f\x1e\xff"
    body += b"\x00\x08\x00\x14" + chance.randbytes(20)
    return b"\x00\x01" + len(body).to_bytes(2) + b"\x21\x12\xa4\x42" + chance.randbytes(12) + body


def _sockets() -> Iterator[socket.socket]:
    for number in range(SOURCES):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((f"127.9.0.{number + 1}", 0))
        one.setblocking(False)
        yield one


def main(port: int, rates: dict[str, float]) -> None:
    chance = random.Random(SEED)  # noqa: S311 - reason: rubbish, no secret
    sources, target = cycle(list(_sockets())), ("127.0.0.1", port)
    waiting = {kind: cycle(_datagrams(kind, chance)) for kind in rates}
    sent = dict.fromkeys(rates, 0)
    began = time.perf_counter()
    while not select.select([sys.stdin], [], [], TURN)[0]:
        passed = time.perf_counter() - began
        for kind, rate in rates.items():
            while sent[kind] < rate * passed:
                with contextlib.suppress(BlockingIOError):
                    next(sources).sendto(next(waiting[kind]), target)
                sent[kind] += 1
    print(json.dumps({"sent": sent, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(int(sys.argv[1]), {kind: float(rate) for kind, _, rate in (word.partition("=") for word in sys.argv[2:])})
