"""Notes to the worker that carries a call: "look again", and nothing else (D8).

A note hurries what happens anyway: the worker reads every call again every two seconds. So whatever goes wrong here is counted
and otherwise ignored, and nobody waits: all of one note, with a new connection if it needs one, takes at most `PATIENCE` seconds.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from functools import partial
from threading import Lock
from uuid import UUID

from django.conf import settings
from django.db import transaction

from . import placement
from .media import wire

PATIENCE = 0.8  # seconds for one note
SILENCE = 2.0  # seconds for which a worker that did not answer gets no notes; by then it has read the call itself

counters: Counter[str] = Counter()  # notes of this process: "sent", "lost", "nowhere"


class _Line:
    """This process's connection to one worker."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lock = Lock()
        self.open: socket.socket | None = None
        self.silent_until = 0.0

    def send(self, note: bytes, deadline: float) -> None:
        """Raises OSError when the note could not be sent in time."""
        if not self.lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        try:
            if time.monotonic() < self.silent_until:
                raise TimeoutError
            self._send(note, deadline)
        except OSError:
            self.hang_up()
            self.silent_until = time.monotonic() + SILENCE
            raise
        finally:
            self.lock.release()

    def _send(self, note: bytes, deadline: float) -> None:
        if self.open is not None and _has_ended(self.open):
            self.hang_up()
        if self.open is None:
            self.open = socket.create_connection(wire.parse_address(self.address), _left(deadline))
            self.open.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            token = wire.control_token(settings.CLEAC.pipe_key.get_secret_value().encode(), address=self.address, now=time.time())
            note = wire.pack({"token": token}) + note
        self.open.settimeout(_left(deadline))
        self.open.sendall(note)

    def hang_up(self) -> None:
        if self.open is not None:
            self.open.close()
            self.open = None


_lines: dict[str, _Line] = {}


def look_again(call_id: UUID | str) -> None:
    """Once this transaction is committed, ask the worker that carries the call to read it again. Never raises for a lost note."""
    transaction.on_commit(partial(_tell, str(call_id)))


def _tell(call_id: str) -> None:
    deadline = time.monotonic() + PATIENCE
    address = placement.where(call_id)
    if address is None:
        counters["nowhere"] += 1
        return
    try:
        _lines.setdefault(address, _Line(address)).send(wire.pack({"look_again": call_id}), deadline)
    except OSError:
        counters["lost"] += 1
    else:
        counters["sent"] += 1


def hang_up() -> None:
    """Close this process's connections."""
    for line in list(_lines.values()):
        line.hang_up()
    _lines.clear()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _has_ended(line: socket.socket) -> bool:
    """Workers never answer on this connection: whatever can be read there is its end."""
    line.setblocking(False)
    try:
        line.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


# A child of a fork must not share its parent's connections, nor wait for a lock that a thread of the parent holds.
os.register_at_fork(after_in_child=_lines.clear)
