"""A UDP relay between a client and the worker, which loses packets from a seed, or is narrow."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Address = tuple[str, int]


@dataclass
class Way:
    """One direction. `loss` of all datagrams, from a seed; a `rate` in bit/s lets `queue` seconds of it wait, the rest is lost."""

    loss: float = 0.0
    seed: int = 1
    rate: float | None = None
    queue: float = 0.4
    passed: int = 0
    lost: int = 0
    _free_at: float = 0.0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def send(self, size: int, forward: Callable[[], object]) -> None:
        """Pass a datagram of `size` octets on, now or later, or lose it."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        start = max(now, self._free_at)
        if self._random.random() < self.loss or (self.rate is not None and start - now > self.queue):
            self.lost += 1
            return
        self.passed += 1
        if self.rate is None:
            forward()
            return
        self._free_at = start + size * 8 / self.rate
        loop.call_at(self._free_at, forward)


class _Far(asyncio.DatagramProtocol):
    """The relay's own socket for one address of a client."""

    def __init__(self, relay: Relay, client: Address) -> None:
        self.relay, self.client = relay, client
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.relay.down.send(len(data), lambda: self.relay.to_client(data, self.client))


class Relay(asyncio.DatagramProtocol):
    """Stands at `port` for the worker. `up` leads to the worker, `down` to the client; while it is `silent`, nothing passes."""

    def __init__(self, worker: Address, up: Way, down: Way) -> None:
        self.worker, self.up, self.down = worker, up, down
        self.silent = False
        self.transport: Any = None
        self._far: dict[Address, asyncio.Task[_Far]] = {}

    async def open(self) -> Relay:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if self.silent:
            return
        if addr not in self._far:
            self._far[addr] = asyncio.get_running_loop().create_task(self._reach(addr))
        far = self._far[addr]
        if far.done():  # what comes before there is a way is lost: a client checks again
            self.up.send(len(data), lambda: far.result().transport.sendto(data))

    def to_client(self, data: bytes, client: Address) -> None:
        """What comes from the worker when the relay has closed is lost."""
        if not self.silent and not self.transport.is_closing():
            self.transport.sendto(data, client)

    async def _reach(self, client: Address) -> _Far:
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(lambda: _Far(self, client), remote_addr=self.worker))[1]

    async def renew(self) -> None:
        """From now on the client is seen from other ports; what is sent to the old ones is lost."""
        old, self._far = self._far, {}
        for far in await asyncio.gather(*old.values()):
            far.transport.close()

    async def close(self) -> None:
        self.transport.close()
        await self.renew()
