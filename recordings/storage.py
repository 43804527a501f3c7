"""The port to stored bytes: journals while they are written (spool), and finished objects. Everything in here is ciphertext.

A name is 32 random hexadecimal digits and says nothing; whatever else is offered as a name is refused before it becomes a path.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from django.conf import settings

NAME = re.compile(r"[0-9a-f]{32}")
SUFFIX = ".journal"


@dataclass(frozen=True)
class Listed:
    """One thing that lies in the store, whether or not we put it there: its name as it stands, and whether it lies among finished objects."""

    name: str
    finished: bool
    path: Path

    def open(self) -> BinaryIO:
        """To read it. Raises FileNotFoundError when it has gone since, OSError for what is no file."""
        return self.path.open("rb")


class Store(Protocol):
    """Where journals and objects are kept. Every method raises ValueError for what is no name, and OSError for what goes wrong."""

    def create(self, name: str) -> BinaryIO:
        """A new journal, unbuffered, to write and to cut back. Raises FileExistsError."""

    def open(self, name: str) -> BinaryIO:
        """A journal to read. Raises FileNotFoundError."""

    def sync(self, name: str) -> None:
        """Return when everything written to the journal is on the disk. Raises FileNotFoundError."""

    def create_object(self, name: str) -> BinaryIO:
        """A finished object, unbuffered, to write; what a broken try left under this name is replaced."""

    def open_object(self, name: str) -> BinaryIO:
        """A finished object to read. Raises FileNotFoundError."""

    def sync_object(self, name: str) -> None:
        """As `sync`, for a finished object."""

    def quiet_for(self, name: str) -> float | None:
        """Seconds since the journal was last written; None when it is not here."""

    def delete(self, name: str) -> None:
        """Remove journal and object of this name, as far as they are there."""

    def names(self) -> Iterator[str]:
        """Every name that has a journal or an object here."""

    def listing(self) -> Iterator[Listed]:
        """Everything that lies here, for proof: also what has no name of ours."""


def new_name() -> str:
    """A name that nobody can guess and nothing else has."""
    return secrets.token_hex(16)


class FileStore:
    """Two folders of one machine, readable by this user alone."""

    def __init__(self, root: Path) -> None:
        self._spool, self._objects = root / "spool", root / "objects"

    def create(self, name: str) -> BinaryIO:
        path = self._journal(name)
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        return os.fdopen(handle, "w+b", buffering=0)

    def open(self, name: str) -> BinaryIO:
        return self._journal(name).open("rb")

    def sync(self, name: str) -> None:
        _sync(self._journal(name), self._spool)

    def create_object(self, name: str) -> BinaryIO:
        path = self._object(name)
        self._objects.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        return os.fdopen(handle, "w+b", buffering=0)

    def open_object(self, name: str) -> BinaryIO:
        return self._object(name).open("rb")

    def sync_object(self, name: str) -> None:
        _sync(self._object(name), self._objects)

    def quiet_for(self, name: str) -> float | None:
        try:
            return max(0.0, time.time() - self._journal(name).stat().st_mtime)
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        self._journal(name).unlink(missing_ok=True)
        self._object(name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        yield from (one.name for one in self.listing() if NAME.fullmatch(one.name))

    def listing(self) -> Iterator[Listed]:
        for folder, finished in ((self._spool, False), (self._objects, True)):
            if folder.is_dir():
                for path in sorted(folder.iterdir()):
                    yield Listed(_name_of(path, "" if finished else SUFFIX), finished, path)

    def _journal(self, name: str) -> Path:
        return self._spool / f"{_checked(name)}{SUFFIX}"

    def _object(self, name: str) -> Path:
        return self._objects / _checked(name)


def _name_of(path: Path, suffix: str) -> str:
    """The name under which a file lies here; of one that we did not put there its path, which is the name of nothing of ours."""
    name = path.name.removesuffix(suffix)
    return name if path.name == name + suffix and NAME.fullmatch(name) else f"{path.parent.name}/{path.name}"


def _sync(*paths: Path) -> None:
    """Wait for a file, and for the folder that names it."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError("not a name of ours")
    return name


def store() -> Store:
    """The store that this deployment is set up with."""
    return FileStore(settings.CLEAC.data)
