"""Frames and tokens between web processes and a media worker, both ends (docs/protocol.md, "Between the processes").

A frame is four bytes of length, big-endian, and that many bytes of UTF-8 JSON: one object, no name twice. The first frame of a
connection is `{"token": ...}`. A token is base64url(JSON claims) + "." + base64url(HMAC-SHA256), RFC 2104 and RFC 4648 section 5
without padding; there is one algorithm and nothing in a token can choose another. Whatever breaks these rules is refused with a
code that begins with `wire-`, and its connection is closed: after a bad frame nobody knows where the next one begins.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import math
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn
from uuid import UUID

from tenants.errors import Refused

FRAME_LIMIT = 256 * 1024  # bytes of JSON in one frame
FIRST_FRAME_LIMIT = 4 * 1024  # a token and nothing else: what a stranger may make us read
BUFFER_LIMIT = 1024 * 1024  # bytes written and not yet taken by the other end; beyond, it is too slow to be kept
LIFETIME = 20  # seconds that a new token is good for
LONGEST = 30  # seconds ahead that an expiry may lie; the difference to LIFETIME is for clocks that disagree
KEY_SIZE = 32  # bytes a key has at least
CONNECT_PATIENCE = 1.0  # seconds; a machine that is gone does not answer at all, and its calls are wanted elsewhere
PARTICIPANT = "participant"
CONTROL = "control"
ALIVE = "alive"  # kind of the worker's sign of life on a participant's pipe: the first frame, and twice a second
PROBE = "probe"

_CONTEXT = b"cleac/pipe/v1\x00"


def pack(message: Mapping[str, Any]) -> bytes:
    """One frame. Raises Refused("wire-too-large") for a message over FRAME_LIMIT, ValueError for one that JSON cannot say."""
    body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(body) > FRAME_LIMIT:
        raise Refused("wire-too-large", size=len(body))
    return len(body).to_bytes(4, "big") + body


def unpack(body: bytes) -> dict[str, Any]:
    """The object in a frame's body. Raises Refused: `wire-not-json`, `wire-not-an-object`, `wire-duplicate-key`."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise Refused("wire-not-json") from None
    if not isinstance(value, dict):
        raise Refused("wire-not-an-object")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("wire-duplicate-key")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # RFC 8259 section 6 knows no NaN and no Infinity


def _finite(text: str) -> float:
    found = float(text)
    if math.isinf(found):
        raise ValueError("a number that is too large for what we can say again")
    return found


async def read_frame(reader: asyncio.StreamReader, limit: int = FRAME_LIMIT) -> dict[str, Any] | None:
    """The next frame's object, or None when the other end closed between two frames.

    Raises Refused: `wire-too-large` before a byte of the body is read, `wire-cut-short`, and what `unpack` raises.
    """
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > limit:
            raise Refused("wire-too-large", size=size)
        return unpack(await reader.readexactly(size))
    except asyncio.IncompleteReadError as cut:
        if cut.partial or cut.expected != 4:
            raise Refused("wire-cut-short") from None
        return None
    except OSError:
        return None  # reset by the other end: it has gone, in whatever manner


@dataclass(frozen=True)
class Claims:
    """What a token says. `aud` is the control address of the worker it is meant for, `exp` seconds since 1970.

    Only a participant's token names tenant, call, participant, the fence of the placement and the participant's epoch.
    """

    typ: str
    aud: str
    exp: int
    tenant: str = ""
    call: str = ""
    participant: str = ""
    fence: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        """Raise Refused("wire-token-malformed") unless every claim has its type and exactly the claims of `typ` are there."""
        texts = all(isinstance(text, str) for text in (self.typ, self.aud, self.tenant, self.call, self.participant))
        numbers = all(type(number) is int and number >= 0 for number in (self.exp, self.fence, self.epoch))
        ids = (self.tenant, self.call, self.participant)
        if not texts or not numbers:
            raise Refused("wire-token-malformed")
        whole = self.typ == PARTICIPANT and all(map(_is_id, ids)) and self.fence > 0
        bare = self.typ in (CONTROL, PROBE) and not any((*ids, self.fence, self.epoch))
        if not whole and not bare:
            raise Refused("wire-token-malformed")


_NAMES = frozenset(field.name for field in fields(Claims))


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def control_token(key: bytes, *, address: str, now: float) -> str:
    """Lets a process of ours send notes to the worker at `address`."""
    return sign(key, Claims(CONTROL, address, int(now) + LIFETIME))


def probe_token(key: bytes, *, address: str, now: float) -> str:
    """Lets a process of ours ask the worker at `address` for one trial connection (`probes`)."""
    return sign(key, Claims(PROBE, address, int(now) + LIFETIME))


def participant_token(key: bytes, *, address: str, tenant: object, call: object, participant: object, fence: int, epoch: int, now: float) -> str:
    """Lets a web process open one participant's pipe to the worker at `address`. Ids may be UUIDs or their strings."""
    return sign(key, Claims(PARTICIPANT, address, int(now) + LIFETIME, str(tenant), str(call), str(participant), fence, epoch))


def sign(key: bytes, claims: Claims) -> str:
    """The token of some claims."""
    body = _encoded(json.dumps({name: getattr(claims, name) for name in sorted(_NAMES)}, separators=(",", ":")).encode())
    return f"{body}.{_signature(key, body)}"


def verify(key: bytes, token: object, *, address: str, now: float) -> Claims:
    """The claims of a token that we signed for the worker at `address` and that is in force.

    Raises Refused with status 403: `wire-token-forged` before anything in it is believed or parsed, then `wire-token-malformed`,
    `wire-token-audience`, `wire-token-expired`, `wire-token-too-long`.
    """
    body, _, signature = token.partition(".") if isinstance(token, str) else ("", "", "")
    # The signature is compared as text: base64 has several spellings of the same bytes, and only one is ours.
    if not hmac.compare_digest(_signature(key, body).encode(), signature.encode(errors="replace")):
        raise Refused("wire-token-forged", 403)
    said = unpack(_decoded(body))
    if set(said) != _NAMES:
        raise Refused("wire-token-malformed", 403)
    claims = Claims(**said)
    if claims.aud != address:
        raise Refused("wire-token-audience", 403)
    if claims.exp <= now:
        raise Refused("wire-token-expired", 403)
    if claims.exp > now + LONGEST:
        raise Refused("wire-token-too-long", 403)
    return claims


def _signature(key: bytes, body: str) -> str:
    if len(key) < KEY_SIZE:
        raise ValueError(f"the pipe key has at least {KEY_SIZE} bytes")
    return _encoded(hmac.digest(key, _CONTEXT + body.encode(errors="replace"), hashlib.sha256))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Refused("wire-token-malformed", 403) from None


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port". Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not host:
        raise ValueError("an address has a host and a port")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Connection:
    """One framed connection, at either end. `send` never waits: an end that does not take its frames is cut off."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._notice_silence()

    def send(self, message: Mapping[str, Any]) -> bool:
        """Queue one frame. False when the connection is closed, or is being cut off because too much waits already."""
        if self._writer.is_closing():
            return False
        self._writer.write(pack(message))
        if self._writer.transport.get_write_buffer_size() > BUFFER_LIMIT:
            self._writer.transport.abort()
            return False
        return True

    async def receive(self, limit: int = FRAME_LIMIT) -> dict[str, Any] | None:
        """As `read_frame`."""
        return await read_frame(self._reader, limit)

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Every frame until the other end closes. Raises as `read_frame`."""
        while (message := await self.receive()) is not None:
            yield message

    def close(self) -> None:
        """Send what is queued, then close; may be called twice."""
        self._writer.close()

    def _notice_silence(self) -> None:
        """A machine that vanished says no goodbye: the kernel asks after 10 s of silence and gives up 15 s later."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


async def connect(address: str, token: str) -> Connection:
    """A connection to the worker at `address` with its token sent. Raises Refused("no-media-worker", 503) when nobody answers."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(*parse_address(address)), CONNECT_PATIENCE)
    except (OSError, TimeoutError):
        raise Refused("no-media-worker", 503) from None
    connection = Connection(reader, writer)
    connection.send({"token": token})
    return connection
