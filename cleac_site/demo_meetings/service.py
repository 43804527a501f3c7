"""The service that the demo is made on: the one that runs on this data folder, else one that is started for the while and ended after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cleac_site import data_folder, ports, watchdog
from cleac_site.bootstrap import ROOT

PATIENCE = 120.0  # seconds until a service that starts counts as not starting
ENDING = 120.0  # seconds that a drain may take
# Of a service that is ours for a while: another address than the one that people use, so that nobody is kept from starting theirs.
OF_ITS_OWN = ("CLEAC_PUBLIC_URL", "CLEAC_MEDIA_UDP_PORT", "CLEAC_MEDIA_PUBLIC_IP")


class NotStarted(Exception):
    """There is no service to make the demo on; the reason was told by whoever was to start."""


def make(data: Path) -> int:
    """Run the maker against the service of this folder; its exit code. What it says goes to stderr. Raises NotStarted."""
    with running(data) as environment:
        command = [sys.executable, "-m", "cleac_site.demo_meetings"]
        options: dict[str, Any] = {"cwd": ROOT, "env": environment, "stdout": sys.stderr, "preexec_fn": watchdog.die_with_parent}
        return subprocess.run(command, start_new_session=True, **options, check=False).returncode


@contextmanager
def running(data: Path) -> Iterator[Mapping[str, str]]:
    """The environment in which a process meets the service. Raises NotStarted."""
    base = {**os.environ, "CLEAC_DATA": str(data), "CLEAC_NO_BOOTSTRAP": "1"}
    if is_held(data):
        yield base | _met(data, None)
        return
    own = {name: value for name, value in base.items() if name not in OF_ITS_OWN}
    command = [sys.executable, "manage.py", "run", "--port", "0", "--no-demo", "--data", str(data)]
    options: dict[str, Any] = {"cwd": ROOT, "env": own, "stdout": subprocess.DEVNULL, "preexec_fn": watchdog.die_with_parent}
    process = subprocess.Popen(command, start_new_session=True, **options)  # Ctrl-C reaches us alone, and we end it in order
    try:
        yield own | _met(data, process)
    finally:
        process.terminate()
        process.wait(ENDING)


def is_held(data: Path) -> bool:
    """Does a service run on this folder, or start, or end?"""
    try:
        with data_folder.held(data):
            return False
    except data_folder.Refused:
        return True
    except OSError:
        return False


def _met(data: Path, process: subprocess.Popen[bytes] | None) -> dict[str, str]:
    """Where the service can be met, once its pages answer: a file of an earlier one that was killed names nobody who does."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and (process is None or process.poll() is None) and (process is not None or is_held(data)):
        try:
            found = json.loads(data_folder.running_path(data).read_text())
        except (OSError, ValueError):
            found = None
        if found and (process is None or found["pid"] == process.pid):
            environment: dict[str, str] = found["environment"]
            address = urlsplit(environment["CLEAC_PUBLIC_URL"])
            if address.hostname != ports.HOST or ports.answers(address.port or 80, address.netloc):
                return environment
        time.sleep(0.1)
    raise NotStarted
