"""Starts the same processes as `manage.py run` on the test databases, and ends them by handle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cleac_site import roles, watchdog

from .environment import SERVER

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 180.0  # seconds until a process counts as not starting


@dataclass
class Stack:
    url: str
    processes: dict[str, subprocess.Popen[bytes]]
    logs: Path


def address_of_tests(suffix: str = "", server: str = SERVER) -> str:
    """The address of the test database that pytest-django made on the server."""
    return server.rsplit("/", 1)[0] + "/" + os.environ["CLEAC_TEST_DATABASE_NAME"] + suffix


def child_environment() -> dict[str, str]:
    """Of every process that is started."""
    return {
        **os.environ,
        "CLEAC_NO_BOOTSTRAP": "1",
        "DATABASE_URL": address_of_tests(),
        "CLEAC_KEYS_DATABASE_URL": address_of_tests("_keys"),
    }


def commands(port: int) -> dict[str, list[str]]:
    """Every door of the house: name -> command line."""
    python = sys.executable
    return {
        "media": [python, "-m", "cleac_site.mediaworker"],
        "jobs": [python, "-m", "celery", "-A", "cleac_site.celery", "worker", "--beat", "--pool", "solo", "-l", "warning"],
        "web": [python, "-m", "daphne", *roles.SERVING, "-b", "127.0.0.1", "-p", str(port), roles.SITE],
    }


@contextmanager
def started(port: int) -> Iterator[Stack]:
    """All processes up and answering; on leaving, each is ended and its log shown if it had a traceback."""
    logs = Path(os.environ["CLEAC_DATA"]) / "logs"
    logs.mkdir(exist_ok=True)
    stack = Stack(f"http://127.0.0.1:{port}", {}, logs)
    try:
        for name, command in commands(port).items():
            with (logs / f"{name}.log").open("wb") as log:
                options = {"cwd": ROOT, "env": child_environment(), "stdout": log, "stderr": log, "preexec_fn": watchdog.die_with_parent}
                stack.processes[name] = subprocess.Popen(command, **options)
        wait_until_answering(stack)
        yield stack
    finally:
        for process in reversed(stack.processes.values()):
            process.terminate()
        for process in stack.processes.values():
            process.wait(30)


class Deployment:
    """One stack that many tests share: started by the first that asks for it, ended when the tests on it are over."""

    def __init__(self, port: int, tidy: Callable[[], None]) -> None:
        """`tidy` is called when all processes have ended: what they wrote last goes too."""
        self.port, self.tidy, self.opened = port, tidy, ExitStack()
        self.stack: Stack | None = None

    def running(self) -> Stack:
        if self.stack is None:
            self.opened.callback(self.tidy)
            self.stack = self.opened.enter_context(started(self.port))
        return self.stack

    def end(self) -> None:
        self.stack = None
        self.opened.close()


def wait_until_answering(stack: Stack) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        dead = [name for name, process in stack.processes.items() if process.poll() is not None]
        if dead or time.monotonic() > deadline:
            shown = "\n".join((stack.logs / f"{name}.log").read_text()[-3000:] for name in dead or stack.processes)
            raise RuntimeError(f"not answering: {dead or 'web'}\n{shown}")
        try:
            with urllib.request.urlopen(stack.url + "/healthz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)


def wait_until(what: str, true: Callable[[], bool]) -> None:
    """Until this is true; the generous limit says what did not happen."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.1)
