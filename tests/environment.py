"""What the suite runs on, set before Django reads its settings: real servers, databases of its own, a data folder of its own.

`manage.py test` finds or starts the servers and names them; by hand, the usual addresses on this machine are taken.
"""

from __future__ import annotations

import os
import socket
import tempfile


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SERVER = os.environ.get("CLEAC_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
WEB_PORT = free_port()

os.environ.update(
    CLEAC_ENV="dev",
    CLEAC_DATA=tempfile.mkdtemp(prefix="cleac-test-"),
    CLEAC_PUBLIC_URL=f"http://127.0.0.1:{WEB_PORT}",
    DATABASE_URL=SERVER,
    CLEAC_KEYS_DATABASE_URL=SERVER,
    REDIS_URL=os.environ.get("CLEAC_TEST_REDIS_URL", "redis://127.0.0.1:6379/9"),
    DJANGO_SETTINGS_MODULE="cleac_site.settings",
    DJANGO_ALLOW_ASYNC_UNSAFE="true",
)
os.environ.setdefault("CLEAC_TEST_DATABASE_NAME", "test_cleac")
