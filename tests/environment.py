"""What the suite runs on, set before Django reads its settings: real servers, databases of its own, a data folder of its own.

`manage.py test` finds or starts the servers and names them; by hand, the usual addresses on this machine are taken.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cleac_site import backends


def free_port() -> int:
    """One that stays free until it is used: the kernel takes those of outgoing connections from 32768 on."""
    for port in random.sample(range(20_000, 32_768), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port of a hundred is free")


def as_tests(superuser: str) -> str:
    """The address by which tests and their site sign in, as a role that row security holds for."""
    found = backends.as_tests(superuser)
    if found is None:
        pytest.exit(f"{backends.TESTS_ROLE} cannot sign in on the server of CLEAC_TEST_DATABASE_URL, or that is no superuser's address", 1)
    return found


def own_part(redis: str) -> str:
    """A database of Redis for each of the processes that share the work: no job of one's site may do what another's promised."""
    parts = urlsplit(redis)
    return parts._replace(path=f"/{int(parts.path.strip('/') or 0) + WORKER}").geturl()


# Which of the processes this is that `-n` starts; without it there is one.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
if WORKER > 1:
    os.nice(10)  # it takes what mostly waits, and takes no core from a call that runs in another
SUPERUSER = os.environ.get("CLEAC_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")  # for what only a superuser may look at
SERVER = as_tests(SUPERUSER)
WEB_PORT = free_port()

os.environ.update(
    CLEAC_ENV="dev",
    CLEAC_DATA=tempfile.mkdtemp(prefix="cleac-test-"),
    CLEAC_PUBLIC_URL=f"http://127.0.0.1:{WEB_PORT}",
    DATABASE_URL=SERVER,
    CLEAC_KEYS_DATABASE_URL=SERVER,
    REDIS_URL=own_part(os.environ.get("CLEAC_TEST_REDIS_URL", "redis://127.0.0.1:6379/9")),
    DJANGO_SETTINGS_MODULE="cleac_site.settings",
    DJANGO_ALLOW_ASYNC_UNSAFE="true",
)
os.environ.update(backends.bytecode(Path(os.environ["CLEAC_DATA"])))  # for what tests start
os.environ["CLEAC_TEST_DATABASE_NAME"] = os.environ.get("CLEAC_TEST_DATABASE_NAME", "test_cleac") + (f"_{WORKER}" if WORKER else "")
