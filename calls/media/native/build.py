"""The packet path in C, compiled into the environment that runs it. Standard library only: the bootstrap calls this before anything else is there.

The file's name carries a digest of the sources, the flags and the machine, so that a change is compiled and nothing stale is ever loaded.
Where no compiler is there, or it fails, the reason is kept beside it, and it is not tried again until something changes.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "source"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-ffp-contract=off", "-fPIC", "-shared", "-pthread")
SECONDS = 120  # no compiler needs so long


def sources() -> list[Path]:
    return sorted(path for path in SOURCE.iterdir() if path.suffix in (".c", ".h"))


def key(flags: tuple[str, ...] = FLAGS) -> str:
    """What the library depends on, in 16 letters."""
    found = hashlib.sha256(repr((flags, platform.machine(), platform.libc_ver()[0])).encode())
    for path in sources():
        found.update(f"{path.name}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def library(prefix: Path | None = None) -> Path:
    """Where the library of these sources belongs in an environment, whether it is there or not."""
    return (prefix or Path(sys.prefix)) / "lib" / f"cleac-media-{key()}.so"


def compiler() -> str | None:
    return shutil.which(os.environ.get("CC", "cc"))


def sanitizer() -> str:
    """The library of AddressSanitizer, which must be loaded before everything else; empty where no compiler here has one."""
    found = compiler()
    if found is None:
        return ""
    try:
        done = subprocess.run([found, "-print-file-name=libasan.so"], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    path = Path(done.stdout.strip())  # its bare name where there is none
    return str(path.resolve()) if path.is_absolute() and path.exists() else ""


def compile_into(target: Path, flags: tuple[str, ...] = FLAGS) -> str:
    """Compile; returns what is in the way, nothing when it is done. The library appears as a whole or not at all."""
    found = compiler()
    if found is None:
        return "there is no C compiler"
    if sys.platform != "linux":
        return "it is made for Linux"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        draft = Path(folder) / target.name
        command = [found, *flags, "-o", str(draft), *(str(path) for path in sources() if path.suffix == ".c")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"the C compiler could not be run: {type(error).__name__}"
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line]
            return f"the C compiler failed: {(lines or ['no reason given'])[0].strip()}"
        draft.replace(target)
    return ""


def ensure(prefix: Path | None = None) -> str:
    """Have the library in this environment; returns what is in the way, nothing when it is there."""
    target = library(prefix)
    if target.exists():
        return ""
    tried = f"{compiler()}\n"
    try:
        if (known := failed(target)).startswith(tried):
            return known.removeprefix(tried)
        reason = compile_into(target)
        for old in target.parent.glob("cleac-media-*"):  # of former sources; a process that has one open keeps it
            if old != target:
                old.unlink(missing_ok=True)
        if reason:
            target.with_suffix(".failed").write_text(tried + reason)
    except OSError as error:
        return f"it cannot be written to {target.parent}: {error.strerror}"
    return reason


def failed(target: Path) -> str:
    """The compiler that failed to make this library, and on the next line why; empty where none was tried."""
    try:
        return target.with_suffix(".failed").read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    problem = ensure()
    print(problem or f"compiled {library()}")
    sys.exit(1 if problem else 0)
