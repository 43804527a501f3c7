"""From nothing but a Python to the project's own environment in `.venv`. Standard library only, and
the compiler where there is one, for the packet path in C.

`.venv` is made from a lock with hashes and carries the digests of the locks it satisfies, so that a second start costs one comparison.
`CLEAC_NO_BOOTSTRAP=1` switches all of it off, for images that bring their packages with them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from calls.media.native import build

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
RUN_LOCK = ROOT / "requirements-run.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"  # holds everything that the run lock holds
UV_LOCK = ROOT / "requirements-uv.lock"
NEEDS_DEV = frozenset({"test", "fuzz", "faults", "bench"})
NEEDS_NO_SETTINGS = frozenset({"run", "test"})  # they set up the environment that settings are read from
UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeout|Max retries exceeded|name resolution|Name or service not known|nodename nor servname"
    r"|Network is unreachable|dns error|Connection refused|error trying to connect|client error \(Connect\)"
    r"|network connectivity is disabled",
    re.IGNORECASE,
)


class NotSetUp(Exception):
    """The environment could not be made; the text says why and what helps."""


def lock_for(argv: Sequence[str]) -> Path:
    """The lock that a command line needs: tests and measurements the dev lock, everything else the run lock."""
    return DEV_LOCK if argv[1:2] and argv[1] in NEEDS_DEV else RUN_LOCK


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def interpreter(venv: Path) -> Path:
    return venv / "bin" / "python"


def marks(venv: Path) -> set[str]:
    """The digests of the locks that `venv` satisfies; none when an installation never ended."""
    try:
        return set((venv / "cleac-locks").read_text().split())
    except OSError:
        return set()


def mark(venv: Path, satisfied: Sequence[Path]) -> None:
    draft = venv / "cleac-locks.new"
    draft.write_text("".join(f"{digest(lock)}\n" for lock in satisfied))
    draft.replace(venv / "cleac-locks")


def usable(venv: Path) -> bool:
    """Whether its interpreter is still there and still the version whose packages it holds: a system upgrade may have moved it."""
    python = interpreter(venv)
    version = Path(os.path.realpath(python)).name
    return os.access(python, os.X_OK) and (not re.fullmatch(r"python3\.\d+", version) or (venv / "lib" / version).is_dir())


def is_ready(venv: Path, lock: Path) -> bool:
    return usable(venv) and digest(lock) in marks(venv)


def ensure(argv: Sequence[str]) -> None:
    """Make `.venv` fit the command line, then continue inside it: returns only there, or where the bootstrap is switched off."""
    if os.environ.get("CLEAC_NO_BOOTSTRAP") == "1":
        return
    lock = lock_for(argv)
    try:
        if not is_ready(VENV, lock):
            with alone():
                if not is_ready(VENV, lock):
                    install(VENV, lock)
        compile_native(VENV)
    except NotSetUp as error:
        say(str(error))
        sys.exit(1)
    came_from_here = os.environ.pop("CLEAC_BOOTSTRAPPED", "")
    if Path(sys.prefix).resolve() != VENV.resolve() and not came_from_here:
        sys.stdout.flush()
        python = str(interpreter(VENV))
        os.execve(python, [python, str(ROOT / "manage.py"), *argv[1:]], {**os.environ, "CLEAC_BOOTSTRAPPED": "1"})


def say(text: str) -> None:
    sys.stderr.write(f"cleac: {text}\n")
    sys.stderr.flush()


@contextmanager
def alone() -> Iterator[None]:
    """Only one start at a time changes `.venv`; the others wait and find it done."""
    with (ROOT / ".venv.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another start is setting up .venv, waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def install(venv: Path, lock: Path) -> None:
    """Bring `venv` to the state of `lock`, with hashes: by uv, by pip where uv does not work. Raises NotSetUp."""
    say(f"setting up .venv from {lock.name} (once, half a minute with a good connection)")
    (venv / "cleac-locks").unlink(missing_ok=True)
    python = str(interpreter(venv))
    if not usable(venv) or run([python, "-m", "pip", "--version"]).returncode:
        make(venv)
    uv = fetched_uv(venv)
    hashed = ["install", "--quiet", "--require-hashes", "-r", str(lock)]
    done = run([str(uv), "pip", *hashed, "--python", python], uv_environment()) if uv else None
    if done is None or done.returncode:
        say("uv could not do it, pip tries now (this takes minutes)")
        done = run([python, "-m", "pip", *hashed, "--retries", "2"])
        if done.returncode:
            raise NotSetUp(reason_of(done.stderr))
    mark(venv, [RUN_LOCK, DEV_LOCK] if lock == DEV_LOCK else [RUN_LOCK])
    say(".venv is ready")


def compile_native(venv: Path) -> None:
    """The packet path in C, where a compiler is there. Without it the one in Python runs, and `doctor` says so."""
    if not build.library(venv).exists():
        with alone():
            build.ensure(venv)


def make(venv: Path) -> None:
    done = run([sys.executable, "-m", "venv", "--clear", str(venv)])
    if done.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        raise NotSetUp(f"cannot make {venv}: {last_line(done.stdout + done.stderr)} (on Debian and Ubuntu: apt-get install python3-venv)")


def fetched_uv(venv: Path) -> Path | None:
    """The pinned uv in a folder of its own, or None where pip has none for this machine. Raises NotSetUp without a network."""
    folder = venv / f"uv-{digest(UV_LOCK)[:12]}"
    if not (folder / "bin" / "uv").exists():
        pip = [str(interpreter(venv)), "-m", "pip", "install", "--quiet", "--retries", "2", "--require-hashes"]
        done = run([*pip, "--target", str(folder), "-r", str(UV_LOCK)])
        if done.returncode and UNREACHABLE.search(done.stderr):
            raise NotSetUp(reason_of(done.stderr))
    return folder / "bin" / "uv" if (folder / "bin" / "uv").exists() else None


def uv_environment() -> dict[str, str]:
    """pip's settings in uv's words, so that a private index or certificate serves both."""
    found = dict(os.environ)
    for ours, theirs in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_CERT", "SSL_CERT_FILE")):
        if found.get(ours):
            found.setdefault(theirs, found[ours])
    return found


def reason_of(output: str) -> str:
    """What a failed installation tells the user."""
    if UNREACHABLE.search(output):
        return "cannot fetch packages: there is no network, or pip's index does not answer. Connect (or set PIP_INDEX_URL) and start again."
    return f"cannot install the packages: {last_line(output)}"


def last_line(output: str) -> str:
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no reason given")


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def dispatch(argv: list[str]) -> int:
    """Hand the command line to Django. `run` and `test` start without settings, which they are the ones to prepare."""
    if argv[1:2] and argv[1] in NEEDS_NO_SETTINGS:
        import_module(f"cleac_site.management.commands.{argv[1]}").Command().run_from_argv(argv)
        return 0
    management = import_module("django.core.management")
    improper = import_module("django.core.exceptions").ImproperlyConfigured
    database_fault = import_module("django.db").Error
    import_module("cleac_site.data_folder").join_running_service()
    try:
        if argv[1:2] and argv[1] not in known_commands() and not argv[1].startswith("-"):
            say(f"there is no command {argv[1]}: manage.py help lists all")
            return 2
        management.execute_from_command_line(argv)
    except improper as error:
        say(str(error))
        return 2
    except database_fault as error:
        say(f"{argv[1]}: the database cannot be used ({(str(error).strip().splitlines() or [type(error).__name__])[0]})")
        return 1
    return 0


def known_commands() -> set[str]:
    """Django's and those of all installed apps. Raises ImproperlyConfigured."""
    import_module("django").setup()  # before, Django knows its own alone, and remembers that
    return {*import_module("django.core.management").get_commands(), "help"}
