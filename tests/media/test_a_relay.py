"""A participant behind the operator's TURN server: a real coturn relays media between a client and the worker."""

from __future__ import annotations

import asyncio
import contextlib
import socket
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
from cleac_site import backends

from .peers import PATIENCE, Connection, Weather
from .test_peer import Pair, rtp

SECRET = "shared-with-coturn"
HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind((HOST, 0))
        return int(opened.getsockname()[1])


@pytest_asyncio.fixture
async def coturn(tmp_path: Path) -> AsyncIterator[int]:
    """The port of a TURN server that takes what `turn.credentials` makes."""
    port = free_port()
    options = ["-n", "--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=test", f"--listening-ip={HOST}", f"--relay-ip={HOST}"]
    options += [f"--listening-port={port}", "--allow-loopback-peers", "--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout"]
    options += [f"--pidfile={tmp_path / 'pid'}", f"--userdb={tmp_path / 'users'}"]
    quiet = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(backends.turnserver().address, *options, stdout=quiet, stderr=quiet, cwd=tmp_path)
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.close()
                break
            assert server.returncode is None
            await asyncio.sleep(0.05)
    yield port
    server.terminate()
    await server.wait()


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
