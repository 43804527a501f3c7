"""A real TURN server, coturn, on this machine only."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from cleac_site import backends

PATIENCE = 30.0
SECRET = "shared-with-coturn"  # noqa: S105 - reason: of a server that lives for one test
HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind((HOST, 0))
        return int(opened.getsockname()[1])


@contextlib.asynccontextmanager
async def turn_server(folder: Path) -> AsyncIterator[int]:
    """The port of a TURN server that takes what `turn.credentials` makes; `folder` holds its files."""
    port = free_port()
    options = ["-n", "--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=test", f"--listening-ip={HOST}", f"--relay-ip={HOST}"]
    options += [f"--listening-port={port}", "--allow-loopback-peers", "--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout"]
    options += [f"--pidfile={folder / 'pid'}", f"--userdb={folder / 'users'}"]
    quiet = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(backends.turnserver().address, *options, stdout=quiet, stderr=quiet, cwd=folder)
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.close()
                break
            assert server.returncode is None
            await asyncio.sleep(0.05)
    try:
        yield port
    finally:
        server.terminate()
        await server.wait()
