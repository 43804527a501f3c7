"""The data folder of one run: its parts, who has it, and how a command meets the service that runs on it. Standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

NEEDED_SPACE = 16 * 1024 * 1024
FOLDERS = ("secrets", "spool", "objects", "logs")
PROBES = 10  # a command that only looks whether somebody runs holds the folder for a moment


class Refused(Exception):
    """This start is refused; the text is one line that names the option to change."""


def opened(data: Path) -> Path:
    """The data folder with its parts, proven writable. Raises Refused."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = data.resolve()
        for name in FOLDERS:
            (data / name).mkdir(mode=0o700, exist_ok=True)
        probe = data / f"space.{os.getpid()}"
        try:
            with probe.open("wb") as handle:
                handle.write(bytes(NEEDED_SPACE))
                handle.flush()
                os.fsync(handle.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise Refused(f"cannot write 16 MiB into {data} ({error.strerror}): make room or choose another folder with --data") from error
    return data


@contextlib.contextmanager
def held(data: Path) -> Iterator[None]:
    """The folder is ours until the end. Raises Refused when another run has it."""
    with (data / "run.lock").open("a+") as handle:
        for _ in range(PROBES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.02)
        else:
            raise Refused(f"{data} is in use by another run: stop that one or choose another folder with --data")
        yield


def running_path(data: Path) -> Path:
    return data / "run.json"


def write_running(data: Path, environment: dict[str, str]) -> None:
    """Where the running service can be met; it holds a password, so mode 600 like everything here."""
    names = ("REDIS_URL", "CLEAC_PUBLIC_URL", "CLEAC_MEDIA_UDP_PORT", "CLEAC_MEDIA_PUBLIC_IP")
    found = {name: environment[name] for name in names if name in environment}
    draft = running_path(data).with_suffix(".new")
    draft.write_text(json.dumps({"pid": os.getpid(), "environment": found}))
    draft.replace(running_path(data))


def join_running_service() -> None:
    """Let a command talk to the service that runs on its data folder, if one does. What the operator has set stays."""
    data = Path(os.environ.get("CLEAC_DATA", "var"))
    try:
        with held(data):
            return
    except OSError:
        return
    except Refused:
        with contextlib.suppress(OSError):
            for name, value in json.loads(running_path(data).read_text())["environment"].items():
                os.environ.setdefault(name, value)
