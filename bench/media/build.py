"""The C programs of this bench, built with the machine's own compiler into the work folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE = 120.0  # seconds for one compilation


class NotInstalled(Exception):
    """Something of this machine that a contender or the load needs is not there. The words say what."""


def work_folder() -> Path:
    """Where built programs and the peers' configurations stay between runs."""
    folder = Path(os.environ.get("CLEAC_DATA", "var")).resolve() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compiler() -> str:
    """The C compiler. Raises NotInstalled."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise NotInstalled("a C compiler")
    return found


def library(name: str, *flags: str) -> Path:
    """`name`.c of this folder, or all of the folder `name` in it, as a shared library, built anew when a source is newer. Raises NotInstalled."""
    folder = HERE / name
    return shared(folder if folder.is_dir() else HERE / f"{name}.c", work_folder() / f"{name}.so", *flags)


def shared(source: Path, built: Path, *flags: str) -> Path:
    """Of one source or a folder of them. Another program may build the same at this moment: the file appears whole, or not."""
    sources = sorted(source.glob("*.[ch]")) if source.is_dir() else [source]
    if not built.exists() or built.stat().st_mtime < max(each.stat().st_mtime for each in sources):
        made = built.with_suffix(f".{os.getpid()}")
        programs = [str(each) for each in sources if each.suffix == ".c"]
        command = [compiler(), "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(made), *programs, *flags]
        subprocess.run(command, check=True, timeout=PATIENCE)
        made.replace(built)
    return built
