"""What the demo remembers between two calls: `secrets/demo.json` in the data folder, mode 600, in dev only.

Links and API keys are kept in the database as hashes, so whoever wants to be told the same ones twice must have them written down.
A database that does not know what is written here is believed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Staged:
    """One meeting of the demo. `recording` is named once its media is sent to the end; `links` are the guests' secrets by name."""

    meeting: str = ""
    recording: str = ""
    links: dict[str, str] = field(default_factory=dict)


@dataclass
class Notes:
    """`keys`: API keys by slug."""

    keys: dict[str, str] = field(default_factory=dict)
    recorded: Staged = field(default_factory=Staged)
    open: Staged = field(default_factory=Staged)


def path(data: Path) -> Path:
    return data / "secrets" / "demo.json"


def read(data: Path) -> Notes:
    """What is written down; nothing where nothing is, or where it cannot be understood."""
    try:
        found = json.loads(path(data).read_text())
        return Notes(dict(found["keys"]), Staged(**found["recorded"]), Staged(**found["open"]))
    except (OSError, ValueError, LookupError, TypeError):
        return Notes()


def write(data: Path, notes: Notes) -> None:
    """The reader finds the whole of it or what was there before."""
    draft = path(data).with_suffix(".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(asdict(notes)))
    draft.replace(path(data))


@contextmanager
def alone(data: Path, name: str) -> Iterator[None]:
    """One at a time on this folder; whoever comes second waits and finds the work done."""
    folder = data / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
