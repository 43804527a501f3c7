"""ICE over TCP for clients without UDP: passive side (RFC 6544), each datagram behind its length in two octets (RFC 4571).

A connection is one more address of the edge. What must never happen here, and what holds it:
- Connections that say nothing use up the worker: one that did not become a link's address within 10 s is closed; of those that wait at
  most 128 are kept, and the newest pushes out the oldest; each source has a limited number, and so has the worker.
- A slow reader makes memory grow: what its connection has not taken is bounded, and beyond it packets are lost to it, as over UDP.
- A stream of rubbish is searched for sense: the first frame that cannot be ours, and before the proof any that is not STUN, ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from . import addresses
from .path import Address

PROOF_SECONDS = 10.0  # from the connection to the first authentic answer of its client
MOST = 1024
MOST_WAITING = 128
MOST_OF_A_SOURCE = 64  # an office behind one address; a participant has two
LARGEST_FRAME, SMALLEST_FRAME = 1500, 8
RECEIVE_BYTES = 16 * 1024  # per connection and turn of the loop
UNSENT_BYTES = 128 * 1024  # per connection, in our memory; a key frame fits
KERNEL_BYTES = 128 * 1024  # per connection: more would only be delay
BACKLOG = 128


class Stream(asyncio.BufferedProtocol):
    """One connection. It holds at most one incomplete frame, in a buffer of fixed size."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._buffer = bytearray(RECEIVE_BYTES)
        self._filled = 0
        self.transport: Any = None
        self.address: Address = ("", 0)
        self.proven = False
        self.deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername")
        if peer is None:  # gone before it was accepted
            self.transport.abort()
            return
        self.address = addresses.of_stream(*peer[:2])
        opened = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        self._streams.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.ended(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        position = 0
        while self._filled - position >= 2 and not self.transport.is_closing():
            length = int.from_bytes(self._buffer[position : position + 2])
            if not SMALLEST_FRAME <= length <= LARGEST_FRAME or (self._filled - position > 2 and not self._may_begin(self._buffer[position + 2])):
                self._streams.refuse(self, "tcp-malformed")
                return
            if self._filled - position - 2 < length:
                break
            self._streams.received(bytes(self._buffer[position + 2 : position + 2 + length]), self.address)
            position += 2 + length
        self._buffer[: self._filled - position] = self._buffer[position : self._filled]
        self._filled -= position

    def _may_begin(self, first: int) -> bool:
        """STUN always; anything else only once the address is a link's."""
        return self.proven or first < 4

    def send(self, data: bytes) -> bool:
        """Queue one frame; False when the client has not taken what came before."""
        if self.transport.is_closing() or self.transport.get_write_buffer_size() + len(data) > UNSENT_BYTES:
            return False
        self.transport.write(len(data).to_bytes(2) + data)
        return True


class Streams:
    """All TCP connections of one edge. `received` is given every frame; `lost` is told of every connection that ended."""

    def __init__(self, counters: Counter[str], received: Callable[[bytes, Address], None], lost: Callable[[Address], None]) -> None:
        self.counters, self.received, self._lost = counters, received, lost
        self._server: asyncio.Server | None = None
        self._streams: dict[Address, Stream] = {}
        self._waiting: dict[Address, Stream] = {}
        self._sources: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def listening(self) -> bool:
        return self._server is not None

    async def listen(self, family: int, address: Any) -> None:
        """Open the port. Raises OSError."""
        opened = addresses.bound(family, socket.SOCK_STREAM, address)
        self._server = await asyncio.get_running_loop().create_server(lambda: Stream(self), sock=opened, backlog=BACKLOG)

    def send(self, data: bytes, address: Address) -> bool:
        """Send one datagram by the connection from `address`; False when there is none or it is full."""
        stream = self._streams.get(address)
        if stream is not None and stream.send(data):
            return True
        self.counters["send-full" if stream is not None else "tcp-gone"] += 1
        return False

    def prove(self, address: Address) -> None:
        """The client behind this connection is known: it may stay, and send anything."""
        stream = self._waiting.pop(address, None)
        if stream is not None:
            stream.proven = True
            self._stop_clock(stream)

    def doubt(self, address: Address) -> None:
        """This connection is nobody's any more: it is closed unless it is proven again in time."""
        stream = self._streams.get(address)
        if stream is not None and stream.proven:
            stream.proven = False
            self._wait(stream)

    def close(self) -> None:
        """End every connection, with what waits to be sent, and take no new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for stream in list(self._streams.values()):
            self._stop_clock(stream)
            stream.transport.close()

    # What a stream tells.
    def opened(self, stream: Stream) -> None:
        source = addresses.source(stream.address)
        if self._server is None or len(self._streams) >= MOST or self._sources[source] >= MOST_OF_A_SOURCE or stream.address in self._streams:
            self.refuse(stream, "tcp-turned-away")
            return
        self._streams[stream.address] = stream
        self._sources[source] += 1
        self._wait(stream)
        if len(self._waiting) > MOST_WAITING:
            self.refuse(next(iter(self._waiting.values())), "tcp-unproven")

    def ended(self, stream: Stream) -> None:
        self._stop_clock(stream)
        if self._streams.get(stream.address) is not stream:
            return
        del self._streams[stream.address]
        self._waiting.pop(stream.address, None)
        source = addresses.source(stream.address)
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        self._lost(stream.address)

    def refuse(self, stream: Stream, reason: str) -> None:
        """Count and end it at once; nothing is said."""
        self.counters[reason] += 1
        if self._waiting.get(stream.address) is stream:
            del self._waiting[stream.address]
        stream.transport.abort()

    def _wait(self, stream: Stream) -> None:
        self._waiting[stream.address] = stream
        stream.deadline = asyncio.get_running_loop().call_later(PROOF_SECONDS, self.refuse, stream, "tcp-unproven")

    def _stop_clock(self, stream: Stream) -> None:
        if stream.deadline is not None:
            stream.deadline.cancel()
            stream.deadline = None
