"""ICE over TCP for clients without UDP: passive side (RFC 6544), each datagram behind its length in two octets (RFC 4571).

A connection is one more address of the edge. What must never happen here, and what holds it:
- Connections that say nothing use up the worker: one that did not become a link's address within 10 s is closed; of those that wait at
  most 128 are kept, and the newest pushes out the oldest; each source has a limited number, and so has the worker.
- A slow reader makes memory grow: what its connection has not taken is bounded, and beyond it packets are lost to it, as over UDP.
- A stream of rubbish is searched for sense: the first frame that cannot be ours, and before the proof any that is not STUN, ends it.
- A flood of frames takes the loop's time, since one read brings many: who sends faster than anybody need is not read for a while (its own
  TCP makes it wait), strangers bring a few checks in one turn, and each source opens only so many connections a second.
- Media that waited go out, or come in, after the fence closed: the sockets are ours, not a transport's, so nothing is written that was
  not looked at in that turn; `lapse` drops what waits, and `take_up` reads what lies there while nothing may pass yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from . import addresses
from .budgets import Budgets
from .clock import now
from .path import Address

PROOF_SECONDS = 10.0  # from the connection to the first authentic answer of its client
MOST = 1024
MOST_WAITING = 128
MOST_OF_A_SOURCE = 64  # an office behind one address; a participant has two
OPENED_RATE, OPENED_BURST = 20.0, 64.0  # connections a second of one source
LARGEST_FRAME, SMALLEST_FRAME, SMALLEST_CHECK = 1500, 8, 20
RECEIVE_BYTES = 16 * 1024  # per connection and turn of the loop
STRANGERS_BYTES = 2 * 1024  # the same before the proof
PACE, STRANGERS_PACE = (4000.0, 8000.0), (50.0, 100.0)  # frames a second, and at once: a camera, a screen and a voice are half of it
UNSENT_BYTES = 128 * 1024  # per connection, in our memory; a key frame fits
KERNEL_BYTES = 128 * 1024  # per connection, until the client has acknowledged it: more would only be delay
NOT_YET_SENT_BYTES = 16 * 1024  # of these, what the kernel has not sent once: it goes on sending while this process stands still
BACKLOG = 128
ACCEPT_AGAIN = 1.0  # seconds, when there is no descriptor left for a connection

_NOT_YET_SENT = 0x894B  # SIOCOUTQNSD of Linux: octets in the kernel that were never sent
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: an end without what waits to be sent


def _is_media(frame: bytes | bytearray | memoryview) -> bool:
    """Is this frame, length included, RTP or RTCP (RFC 7983)?"""
    return len(frame) > 2 and 128 <= frame[2] <= 191


class Stream:
    """One connection. It holds at most one incomplete frame, in a buffer of fixed size, and what its client has not taken."""

    def __init__(self, streams: Streams, opened: socket.socket, address: Address) -> None:
        self._streams, self._socket, self.address = streams, opened, address
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(RECEIVE_BYTES)
        self._filled = 0
        self._frames: deque[bytearray] = deque()
        self._begun = 0  # octets of the first frame that are sent
        self.unsent = 0
        self.proven = self.closed = False
        self.deadline: asyncio.TimerHandle | None = None
        self._credit, self._counted_at = STRANGERS_PACE[1], now()  # in frames
        self._pause: asyncio.TimerHandle | None = None
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
            if sys.platform == "linux":
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_YET_SENT_BYTES)

    def begin(self) -> None:
        """Read from now on."""
        self._pause = None
        if not self.closed:
            self._loop.add_reader(self._socket, self.readable)

    def prove(self) -> None:
        """The client is known, and may send as fast as a participant does."""
        self.proven, self._credit = True, PACE[1]
        if self._pause is not None:
            self._pause.cancel()
            self.begin()

    # Incoming.
    def readable(self) -> int:
        """Take what has come, at most what the buffer holds. Returns the number of octets."""
        if self.closed:
            return 0
        try:
            length = self._socket.recv_into(memoryview(self._buffer)[self._filled :], 0 if self.proven else STRANGERS_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            length = 0
        if not length:
            self._streams.gone(self)
            return 0
        self._filled += length
        self._keep_pace(self._split())
        return length

    def _split(self) -> int:
        """Give every whole frame to the edge; returns how many."""
        position = frames = 0
        while self._filled - position >= 2 and not self.closed:
            length = int.from_bytes(self._buffer[position : position + 2])
            smallest = SMALLEST_FRAME if self.proven else SMALLEST_CHECK
            if not smallest <= length <= LARGEST_FRAME or (self._filled - position > 2 and not self._may_begin(self._buffer[position + 2])):
                self._streams.refuse(self, "tcp-malformed")
                return frames
            if self._filled - position - 2 < length:
                break
            self._streams.received(bytes(self._buffer[position + 2 : position + 2 + length]), self.address)
            position += 2 + length
            frames += 1
        self._buffer[: self._filled - position] = self._buffer[position : self._filled]
        self._filled -= position
        return frames

    def _keep_pace(self, frames: int) -> None:
        """So many came. Whoever is ahead of its pace is read again when that has caught up."""
        rate, burst = PACE if self.proven else STRANGERS_PACE
        at = now()
        self._credit = max(min(burst, self._credit + (at - self._counted_at) * rate) - frames, -burst)
        self._counted_at = at
        if self._credit < 0 and self._pause is None and not self.closed:
            self._streams.counters["tcp-paused"] += 1
            self._loop.remove_reader(self._socket)
            self._pause = self._loop.call_later(-self._credit / rate, self.begin)

    def _may_begin(self, first: int) -> bool:
        """STUN always; anything else only once the address is a link's."""
        return self.proven or first < 4

    def take_up(self) -> None:
        """Read, now, what lies in the kernel at this moment."""
        left = self._in_kernel(termios.FIONREAD)
        while left > 0 and (taken := self.readable()):
            left -= taken

    # Outgoing.
    def send(self, data: bytes) -> bool:
        """Send one frame, or queue it; False when the client has not taken what came before."""
        if self.closed or self.unsent + len(data) + 2 > UNSENT_BYTES:
            return False
        self._frames.append(bytearray(len(data).to_bytes(2) + data))
        self.unsent += len(data) + 2
        if len(self._frames) == 1:
            self.flush()
        return True

    def flush(self) -> None:
        """Send what the kernel takes of what waits."""
        if self._streams.is_fenced():
            self._drop_media()
        while self._frames and not self.closed:
            first = self._frames[0]
            try:
                sent = self._socket.send(memoryview(first)[self._begun :])
            except BlockingIOError:
                self._loop.add_writer(self._socket, self.flush)
                return
            except OSError:
                self._streams.gone(self)
                return
            self.unsent -= sent
            self._begun += sent
            if self._begun == len(first):
                self._frames.popleft()
                self._begun = 0
        if not self.closed:
            self._loop.remove_writer(self._socket)

    def lapse(self, *, over: bool) -> bool:
        """The fence has closed: no media that wait go out any more. False when the kernel holds some, which only the connection's end stops.

        `over`: the fence is about to open again, so what was sent and not acknowledged since is held too. Before, it is on its way.
        """
        self._drop_media()
        return not self._in_kernel(termios.TIOCOUTQ if over else _NOT_YET_SENT)

    def _drop_media(self) -> None:
        """What is begun goes on as zeros, which no client takes for media, so that the next frame is found."""
        first = self._frames.popleft() if self._begun else None
        kept = deque(frame for frame in self._frames if not _is_media(frame))
        self._streams.counters["fenced"] += len(self._frames) - len(kept)
        if first is not None:
            if _is_media(first):
                first[self._begun :] = bytes(len(first) - self._begun)
                self._streams.counters["fenced"] += 1
            kept.appendleft(first)
        self._frames, self.unsent = kept, sum(map(len, kept)) - self._begun

    def _in_kernel(self, request: int) -> int:
        """Octets that the kernel holds for us, by an ioctl; 0 where it does not tell."""
        if self.closed:
            return 0
        try:
            return int(struct.unpack("i", fcntl.ioctl(self._socket, request, bytes(4)))[0])
        except OSError:
            return 0

    # The end.
    def close(self) -> None:
        """End the connection, without what waits here; what the kernel has taken it sends. Harmless twice."""
        if self.closed:
            return
        self.closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._frames.clear()
        self.unsent = self._begun = 0

    def reset(self) -> None:
        """End the connection, without what the kernel has still to send."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.close()


class Streams:
    """All TCP connections of one edge. `received` is given every frame; `lost` is told of every connection that ended.

    `is_fenced` says whether media may go out at this moment.
    """

    def __init__(
        self,
        counters: Counter[str],
        received: Callable[[bytes, Address], None],
        lost: Callable[[Address], None],
        is_fenced: Callable[[], bool] = lambda: False,
    ) -> None:
        self.counters, self.received, self._lost, self.is_fenced = counters, received, lost, is_fenced
        self._listening: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None
        self._streams: dict[Address, Stream] = {}
        self._waiting: dict[Address, Stream] = {}
        self._sources: Counter[str] = Counter()
        self._opening = Budgets(now)

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def listening(self) -> bool:
        return self._listening is not None

    async def listen(self, family: int, address: Any) -> None:
        """Open the port. Raises OSError."""
        opened = addresses.bound(family, socket.SOCK_STREAM, address)
        try:
            opened.listen(BACKLOG)
        except OSError:
            opened.close()
            raise
        self._listening = opened
        self._accept_more()

    def _accept_more(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().add_reader(self._listening, self._acceptable)

    def _acceptable(self) -> None:
        for _ in range(BACKLOG):
            if self._listening is None:
                return
            try:
                opened, peer = self._listening.accept()
            except (BlockingIOError, ConnectionError):  # gone before it was accepted
                return
            except OSError:
                self.counters["tcp-not-accepted"] += 1
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listening)
                self._again = loop.call_later(ACCEPT_AGAIN, self._accept_more)
                return
            opened.setblocking(False)
            self._opened(Stream(self, opened, addresses.of_stream(*peer[:2])))

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
            stream.prove()
            self._stop_clock(stream)

    def doubt(self, address: Address) -> None:
        """This connection is nobody's any more: it is closed unless it is proven again in time."""
        stream = self._streams.get(address)
        if stream is not None and stream.proven:
            stream.proven = False
            self._wait(stream)

    def lapse(self, *, over: bool) -> None:
        """The fence has closed, or is about to open again: media that wait never go out, and a connection that holds some ends at once."""
        for stream in list(self._streams.values()):
            if not stream.lapse(over=over):
                stream.reset()
                self.refuse(stream, "tcp-fenced")

    def take_up(self) -> None:
        """Read, now, whatever has come by any connection."""
        for stream in list(self._streams.values()):
            stream.take_up()

    def close(self) -> None:
        """End every connection, with what waits to be sent as far as the kernel takes it, and take no new ones."""
        if self._again is not None:
            self._again.cancel()
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        for stream in list(self._streams.values()):
            self._stop_clock(stream)
            stream.flush()
            self.gone(stream)

    # What becomes of a stream.
    def _opened(self, stream: Stream) -> None:
        source = addresses.source(stream.address)
        full = len(self._streams) >= MOST or self._sources[source] >= MOST_OF_A_SOURCE or stream.address in self._streams
        if full or not self._opening.take(source, OPENED_RATE, OPENED_BURST):
            self.refuse(stream, "tcp-turned-away")
            return
        self._streams[stream.address] = stream
        self._sources[source] += 1
        stream.begin()
        self._wait(stream)
        if len(self._waiting) > MOST_WAITING:
            self.refuse(next(iter(self._waiting.values())), "tcp-unproven")

    def gone(self, stream: Stream) -> None:
        """The connection has ended; its link hears of it in a turn of its own, because this one may be in the middle of sending to it."""
        stream.close()
        asyncio.get_running_loop().call_soon(self._ended, stream)

    def _ended(self, stream: Stream) -> None:
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
        self.gone(stream)

    def _wait(self, stream: Stream) -> None:
        self._waiting[stream.address] = stream
        stream.deadline = asyncio.get_running_loop().call_later(PROOF_SECONDS, self.refuse, stream, "tcp-unproven")

    def _stop_clock(self, stream: Stream) -> None:
        if stream.deadline is not None:
            stream.deadline.cancel()
            stream.deadline = None
