"""A participant behind the operator's TURN server: a real coturn relays media between a client and the worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aioice import stun
from aioice.turn import create_turn_endpoint

from calls.media import turn
from calls.media.edge import Edge

from .peers import PATIENCE, Connection, Weather
from .test_peer import Pair, rtp
from .turnserver import HOST, SECRET, turn_server


@pytest_asyncio.fixture
async def coturn(tmp_path: Path) -> AsyncIterator[int]:
    async with turn_server(tmp_path) as port:
        yield port


class Relayed(asyncio.DatagramProtocol):
    """A client's socket at the TURN server."""

    def __init__(self, client: Connection) -> None:
        self.client, self.closed = client, False
        self.transport: Any = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.client.datagram_received(data, addr)

    def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(data, address)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True
        self.transport.close()


class RelayedConnection(Connection):
    """A client that sends by TURN only."""

    def __init__(self, port: int, user: tuple[str, str]) -> None:
        super().__init__(Weather(), lambda clear: None, lambda clear: None)
        self.port, self.user = port, user

    async def bind(self) -> None:
        endpoint, relayed = await create_turn_endpoint(lambda: Relayed(self), (HOST, self.port), *self.user)
        relayed.transport, self.transport = endpoint, relayed


async def test_media_pass_by_the_turn_server_with_the_credentials_of_the_service(coturn: int) -> None:
    edge = await Edge.bind(HOST)
    pair = Pair(edge)
    pair.client = RelayedConnection(coturn, turn.credentials(SECRET, "somebody", int(time.time()) + 60))

    assert await pair.connect() == "connected"
    pair.client.send(rtp(5))
    async with asyncio.timeout(PATIENCE):
        while not pair.rtp:
            await asyncio.sleep(0.01)

    assert pair.link.address == pair.client.transport.transport.get_extra_info("sockname")
    await pair.close()
    await edge.close()


@pytest.mark.parametrize(("secret", "seconds"), [(SECRET, -60), ("guess", 60)])
async def test_credentials_that_are_over_or_made_with_another_secret_open_nothing(coturn: int, secret: str, seconds: int) -> None:
    client = RelayedConnection(coturn, turn.credentials(secret, "somebody", int(time.time()) + seconds))

    with pytest.raises(stun.TransactionError):
        await client.bind()
