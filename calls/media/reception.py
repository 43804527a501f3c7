"""The worker's control address: who connects shows a token, and its kind says what the connection is for (D8).

What must never happen here: a stranger is answered or keeps a place; one connection's fault reaches another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from tenants.errors import Refused

from . import wire
from .background import Background
from .probes import Probes

FIRST_FRAME_PATIENCE = 5.0  # seconds a new connection has for its token
STRANGERS = 128  # connections without a token at one time


class Reception:
    """Takes connections. `noted` is told the call of each note; `serve` has a participant's pipe until it ends.

    Counters, of `background`: `turned away`, `notes`, `probes`, and one for each code by which something was refused.
    """

    def __init__(
        self,
        key: bytes,
        background: Background,
        probes: Probes,
        noted: Callable[[str], None],
        serve: Callable[[wire.Claims, wire.Connection], Awaitable[None]],
    ) -> None:
        self.address = ""
        self.full = False  # nobody is taken any more
        self._key, self._background, self._probes = key, background, probes
        self._noted, self._participant = noted, serve
        self._strangers = 0
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int, advertise: str) -> str:
        """Open the address and return the one by which other processes reach it: at `advertise`, or at `host`. Raises OSError."""
        self._server = await asyncio.start_server(self._connected, host, port)
        reached = advertise or host
        shown = f"[{reached}]" if ":" in reached else reached
        self.address = f"{shown}:{self._server.sockets[0].getsockname()[1]}"
        return self.address

    def close(self) -> None:
        """Nothing is listened to any more, and trials end."""
        self._probes.close()
        if self._server:
            self._server.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.full or self._strangers >= STRANGERS:
            self._background.counters["turned away"] += 1
            writer.transport.abort()
            return
        self._background.spawn(self._serve(wire.Connection(reader, writer)), "connection")

    async def _serve(self, connection: wire.Connection) -> None:
        try:
            with self._background.faults():
                claims = await self._introduced(connection)
                if claims.typ == wire.CONTROL:
                    await self._read_notes(connection)
                elif claims.typ == wire.PROBE:
                    await self._probe(connection)
                else:
                    await self._participant(claims, connection)
        finally:
            connection.close()

    async def _introduced(self, connection: wire.Connection) -> wire.Claims:
        self._strangers += 1
        try:
            async with asyncio.timeout(FIRST_FRAME_PATIENCE):
                first = await connection.receive(wire.FIRST_FRAME_LIMIT)
        except TimeoutError:
            raise Refused("wire-no-token", 403) from None
        finally:
            self._strangers -= 1
        if first is None or set(first) != {"token"}:
            raise Refused("wire-no-token", 403)
        return wire.verify(self._key, first["token"], address=self.address, now=time.time())

    async def _read_notes(self, connection: wire.Connection) -> None:
        async for note in connection.messages():
            if set(note) != {"look_again"} or not _is_id(note["look_again"]):
                raise Refused("wire-unknown-note")
            self._background.counters["notes"] += 1
            self._noted(note["look_again"])

    async def _probe(self, connection: wire.Connection) -> None:
        """One offer, one answer; the trial goes on without this connection."""
        async with asyncio.timeout(FIRST_FRAME_PATIENCE):
            asked = await connection.receive()
        try:
            connection.send({"sdp": self._probes.open((asked or {}).get("sdp"))})
            self._background.counters["probes"] += 1
        except Refused as refused:
            self._background.counters[refused.code] += 1
            connection.send({"refused": refused.code})


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False
