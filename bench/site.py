"""`manage.py run` in a folder of its own, as a newcomer starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = ("CLEAC_", "DATABASE_URL", "REDIS_URL", "EMAIL_URL")


@dataclass(frozen=True)
class Site:
    """A running service: its address, what it printed, how long it took to answer in seconds, and its data folder."""

    url: str
    printed: str
    seconds: float
    data: Path

    def sign_in(self, name: str) -> str:
        """The demo sign-in link of one of the cast."""
        found = re.search(rf"{name}\s.*?(http\S+)", self.printed)
        if found is None:
            raise RuntimeError(f"no sign-in link for {name} was printed")
        return found[1]


@contextmanager
def running(data: Path, **settings: str) -> Iterator[Site]:
    """Started with these settings, answering, and ended by handle; without the demo's meetings, which would be measured too."""
    command = [sys.executable, "manage.py", "run", "--port", "0", "--data", str(data)]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=_clean() | settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield _wait(process, began, data)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _clean() -> dict[str, str]:
    """The environment without the operator's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)}
    return {**kept, "CLEAC_DEMO_MEETINGS": "false"}


def _wait(process: subprocess.Popen[str], began: float, data: Path) -> Site:
    printed, seconds = "", 0.0
    assert process.stdout is not None
    for line in process.stdout:
        printed += line
        if "Cleac is up" in line:
            seconds = time.perf_counter() - began
        if "Ctrl-C" in line:
            found = re.search(r"Cleac is up: (\S+)", printed)
            if found is not None:
                return Site(found[1], printed, seconds, data)
    raise RuntimeError(f"run ended before it answered:\n{printed}")
