"""What waits for the media thread, and datagrams that it left to the edge and that wait for their turn in the loop."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Iterator

AT_ONCE = 64  # datagrams for the edge in one turn of the loop, of proven addresses and of strangers each, so that timers and pipes get theirs
MOST_WAITING = 1 << 20  # octets of either that wait here for such a turn
READ_WITHIN = 0.05  # seconds for the thread to read what lies in the socket


def until_read(descriptor: int) -> None:
    """Return when the thread has read everything that lies in this socket, or after `READ_WITHIN`."""
    waiting, ends = select.poll(), time.monotonic() + READ_WITHIN
    waiting.register(descriptor, select.POLLIN)
    while waiting.poll(0) and time.monotonic() < ends:
        time.sleep(0.0005)


class Waiting:
    """Datagrams for the edge that wait for their turn; beyond `MOST_WAITING` octets what comes is lost."""

    def __init__(self) -> None:
        self._bodies: deque[bytes] = deque()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._bodies)

    def put(self, body: bytes) -> bool:
        """False: there is no room."""
        if self._octets + len(body) > MOST_WAITING:
            return False
        self._bodies.append(body)
        self._octets += len(body)
        return True

    def taken(self) -> Iterator[bytes]:
        """Up to `AT_ONCE` of them, the oldest first."""
        for _ in range(min(AT_ONCE, len(self._bodies))):
            body = self._bodies.popleft()
            self._octets -= len(body)
            yield body
