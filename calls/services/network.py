"""The network test: a browser's offer goes to a media worker, and the worker's answer comes back. Nothing is written down."""

from __future__ import annotations

import socket
import time

from django.conf import settings

from tenants.errors import Refused

from .. import placement
from ..media import wire

PATIENCE = 3.0  # seconds for the worker's answer


def try_way(*, sdp: str) -> str:
    """The worker's answer to an offer. It names every address and protocol of the worker; which of them is tried is the page's business.

    Raises Refused: "no-media-worker" 503, "probes-full" 503, and what `media.sdp` refuses in an offer.
    """
    address = placement.any_worker()
    try:
        answer = _asked(address, sdp)
    except OSError:
        raise Refused("no-media-worker", 503) from None
    told, refused = answer.get("sdp"), answer.get("refused")
    if not isinstance(told, str):
        code = refused if isinstance(refused, str) else "no-media-worker"
        raise Refused(code, 400 if code.startswith("sdp-") else 503)
    return told


def _asked(address: str, sdp: str) -> dict[str, object]:
    """The worker's one frame. Raises OSError where none comes in time, Refused for one that is none."""
    deadline = time.monotonic() + PATIENCE
    token = wire.probe_token(settings.CLEAC.pipe_key.get_secret_value().encode(), address=address, now=time.time())
    with socket.create_connection(wire.parse_address(address), PATIENCE) as line:
        line.sendall(wire.pack({"token": token}) + wire.pack({"sdp": sdp}))
        size = int.from_bytes(_read(line, 4, deadline), "big")
        if size > wire.FRAME_LIMIT:
            raise Refused("wire-too-large", 503)
        return wire.unpack(_read(line, size, deadline))


def _read(line: socket.socket, size: int, deadline: float) -> bytes:
    found = b""
    while len(found) < size:
        line.settimeout(max(0.001, deadline - time.monotonic()))
        part = line.recv(size - len(found))
        if not part:
            raise ConnectionResetError
        found += part
    return found
