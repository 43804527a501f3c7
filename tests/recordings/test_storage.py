"""The store of one machine: what is synced is on the disk, and only what is there can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recordings.storage import FileStore, new_name


def test_a_journal_and_the_folder_that_names_it_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its folder a file that is on the disk could be lost with its name."""
    store, name = FileStore(tmp_path), new_name()
    with store.create(name) as file:
        file.write(b"sealed")
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_ino), real(handle)))

    store.sync(name)

    spool = tmp_path / "spool"
    assert synced == [(spool / f"{name}.journal").stat().st_ino, spool.stat().st_ino]


def test_a_journal_that_is_not_here_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileStore(tmp_path).sync(new_name())


@pytest.mark.parametrize("name", ["../x", "", "A" * 32, "0" * 31])
def test_what_is_no_name_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        FileStore(tmp_path).sync(name)
