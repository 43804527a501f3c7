"""A Redis of a test's own, which it may end and start again."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from cleac_site import valkey

PATIENCE = 60.0


class OwnRedis:
    """A private Valkey that answers at `url` while it runs."""

    def __init__(self, folder: Path) -> None:
        server = valkey.prepare(folder)
        assert server is not None
        self.url, self._command = server.url, server.command
        self.start()

    def start(self) -> None:
        """Start it, at the same address as before."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not valkey.answers(self.url):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def hang(self) -> None:
        """It takes connections, as its kernel does, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """It goes on where it hung."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Gone when this returns. Does nothing the second time."""
        self._process.kill()
        self._process.wait(PATIENCE)
