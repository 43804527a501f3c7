"""The way out of the Python path: the fence, the socket, and runs of packets that go to one listener at once.

Packets are made and sealed one behind the other in one room. Where the socket is the path's own, those of one size to one address go out
as one message that the kernel cuts up (UDP_SEGMENT). Where that fails by EIO (no checksum offload) it is never tried again; where it fails by
EINVAL or EMSGSIZE (a way with small packets), not to that end until it moves. Nothing waits in the room once a call is over.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from struct import Struct

from ..addresses import UdpSocket, is_udp
from ..path import Address, End
from ..srtp import LARGEST_SEALED, SRTP_ERRORS, TRAILER, Room, Seal, sealing
from .runs import MOST_OCTETS

_SEGMENT = 103  # UDP_SEGMENT of Linux
_SIZE = Struct("=H")


class Outside:
    """What all ends share on their way out. `send` stands for the socket until there is one, and for TCP always."""

    def __init__(self, counters: Counter[str], send: Callable[[bytes, Address], bool], clock: Callable[[], float]) -> None:
        self.counters, self._send, self._clock = counters, send, clock
        self.room = Room(MOST_OCTETS + LARGEST_SEALED)
        self.view = memoryview(self.room.octets)
        self.socket: UdpSocket | None = None
        self.cuts = sys.platform == "linux"
        self.until_us: int | None = None

    def is_fenced(self, packets: int = 1) -> bool:
        """Asked at the last step, by the clock of that moment: the process may have stood still since the datagram was read."""
        if self.until_us is None or int(self._clock() * 1_000_000) <= self.until_us:
            return False
        self.counters["fenced"] += packets
        return True

    def send(self, data: bytes | memoryview, address: Address) -> bool:
        """One datagram; False when it did not go out."""
        if self.socket is None or not is_udp(address):
            return self._send(bytes(data), address)
        try:
            self.socket.sendto(data, address)
        except OSError as fault:
            self.refused(fault, 1)
            return False
        return True

    def refused(self, fault: OSError, packets: int) -> None:
        """Count what the socket did not take."""
        self.counters["send-full" if isinstance(fault, BlockingIOError) else "socket-error"] += packets


class Way:
    """The way out to one end."""

    def __init__(self, outside: Outside, address: Address | None) -> None:
        self.outside, self.address, self.attached = outside, address, False
        self.seal: Seal = _unattached
        self._cuts = True

    def attach(self, end: End) -> None:
        """Seal with the sessions of this end from now on."""
        self.attached, self.seal = True, sealing(end.sessions[1], self.outside.room)

    def detach(self) -> None:
        """Its sessions are not touched again."""
        self.attached, self.seal = False, _unattached

    def move(self, address: Address | None) -> None:
        self.address, self._cuts = address, True

    def is_shut(self, packets: int = 1) -> bool:
        """May nothing go this way at this moment? Nothing goes to an end that was detached."""
        return self.address is None or not self.attached or self.outside.is_fenced(packets)

    def goes(self, clear: bytes) -> bool:
        """Seal and send one packet; False when it did not go out."""
        if self.is_shut() or self.address is None:
            return False
        outside, size = self.outside, len(clear)
        try:
            outside.view[:size] = clear
            sealed = self.seal((size,), 0)
        except SRTP_ERRORS:
            outside.counters["srtp-unsent"] += 1
            return False
        return outside.send(outside.view[:sealed], self.address)

    def run(self, sizes: Sequence[int], more: int) -> int:
        """Seal and send the packets that stand in the room, each `more` octets longer than told; only the last is shorter than the first.

        Returns how many went out, the first ones.
        """
        outside, packets, address = self.outside, len(sizes), self.address
        if self.is_shut(packets) or address is None:
            return 0
        try:
            end = self.seal(sizes, more)
        except SRTP_ERRORS:
            outside.counters["srtp-unsent"] += packets
            return 0
        if packets == 1:
            return outside.send(outside.view[:end], address)
        if outside.is_fenced(packets):
            return 0
        size = sizes[0] + more + TRAILER
        if outside.socket is None or not (self._cuts and outside.cuts and is_udp(address)):
            return self._singly(end, size, address)
        try:
            outside.socket.sendmsg((outside.view[:end],), ((socket.IPPROTO_UDP, _SEGMENT, _SIZE.pack(size)),), 0, address)
        except OSError as fault:
            return self._after_failure(fault, end, size, address)
        return packets

    def _after_failure(self, fault: OSError, end: int, size: int, address: Address) -> int:
        if fault.errno not in (errno.EIO, errno.EINVAL, errno.EMSGSIZE):
            self.outside.refused(fault, -(-end // size))
            return 0
        self._cuts = False
        self.outside.cuts = self.outside.cuts and fault.errno != errno.EIO
        return self._singly(end, size, address)

    def _singly(self, end: int, size: int, address: Address) -> int:
        for sent, at in enumerate(range(0, end, size)):
            if not self.outside.send(self.outside.view[at : min(at + size, end)], address):
                return sent
        return -(-end // size)


def _unattached(sizes: Sequence[int], more: int) -> int:
    """Where no session is, nothing is sealed."""
    raise ValueError("there is no session")
