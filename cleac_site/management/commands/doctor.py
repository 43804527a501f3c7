"""`manage.py doctor`: can this installation do its work, and if not, what is in the way?"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import Error as DatabaseFault
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from calls.media import forms, kernel_filter
from cleac_site.checks import DATABASE_ROLE
from cleac_site.data_folder import Refused
from cleac_site.ports import HOST, media_ports
from tenants import queries
from tenants.row_security import role_walks_past

OK, WARN, FAIL = "ok", "warn", "fail"
COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}
OLDEST = {  # versions below these have known faults that reach us
    "django": "5.2.19",
    "daphne": "4.2.2",
    "channels": "4.3.2",
    "celery": "5.5",
    "redis": "5.0",
    "pyopenssl": "26.0",
    "aiortc": "1.16",
    "aioice": "0.13",
}
TOLERATED_DRIFT = 1.0  # seconds between another clock and ours
TICK = 0.05  # seconds over which wall clock and monotonic clock are compared


@dataclass(frozen=True)
class Finding:
    check: str
    state: str
    detail: str


def numbers(text: str) -> tuple[int, ...]:
    """`5.2.19rc1` -> (5, 2, 19, 1): good enough to compare releases."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def versions() -> Iterator[Finding]:
    yield Finding("python", OK if sys.version_info >= (3, 11) else FAIL, platform.python_version())
    for name, oldest in OLDEST.items():
        found = version(name)
        good = numbers(found) >= numbers(oldest)
        yield Finding(name, OK if good else FAIL, found if good else f"{found} is older than {oldest}, which it must be at least")


def databases() -> Iterator[Finding]:
    for alias, name in (("default", "database"), ("keys", "keys database")):
        config = connections[alias].settings_dict
        if connections[alias].vendor == "sqlite" and not Path(config["NAME"]).exists():
            yield Finding(name, WARN, f"none yet in {settings.CLEAC.data}: `manage.py run` makes it")
            continue
        try:
            executor = MigrationExecutor(connections[alias])
            missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
            lacks = f", {missing} migrations missing" if missing else ""
            yield Finding(name, WARN if missing else OK, f"{connections[alias].display_name} answers{lacks}")
            if alias == "default":
                yield database_role()
                yield from database_clock()
        except DatabaseFault as error:
            yield Finding(name, FAIL, f"no answer: {str(error).strip().splitlines()[0]}")


def database_role() -> Finding:
    """Tenants are kept apart by row security as well, where the database has it and our role is subject to it."""
    if connections["default"].vendor != "postgresql":
        return Finding("database role", OK, "one file, no roles")
    role = role_walks_past(connections["default"])
    if role:
        return Finding("database role", WARN if settings.DEV else FAIL, f"row security does not hold for {role}. {DATABASE_ROLE}")
    return Finding("database role", OK, "row security holds")


def database_clock() -> Iterator[Finding]:
    """Consent is dated by the database, so its clock and ours must tell the same story."""
    sqlite = connections["default"].vendor == "sqlite"
    question = "SELECT (julianday('now') - 2440587.5) * 86400.0" if sqlite else "SELECT extract(epoch FROM clock_timestamp())"
    with connections["default"].cursor() as cursor:
        asked = time.time()
        cursor.execute(question)
        yield against_ours("database clock", float(cursor.fetchone()[0]), asked, time.time())


def against_ours(check: str, theirs: float, asked: float, answered: float) -> Finding:
    """Another clock, read between two readings of ours; the time that the answer took is not held against it."""
    drift = theirs - min(max(theirs, asked), answered)
    return Finding(check, OK if abs(drift) <= TOLERATED_DRIFT else FAIL, f"{drift:+.3f} s against ours")


def clock() -> Iterator[Finding]:
    wall, steady = time.time(), time.monotonic()
    time.sleep(TICK)
    slip = abs((time.time() - wall) - (time.monotonic() - steady))
    plausible = slip < TICK and timezone.now().year >= 2026
    yield Finding("clock", OK if plausible else FAIL, f"{timezone.now():%Y-%m-%dT%H:%M:%SZ}, steady to {slip * 1000:.1f} ms")


def redis_server() -> Iterator[Finding]:
    if not settings.CLEAC.redis_url:
        yield Finding("redis server", OK, "REDIS_URL is not set: `manage.py run` starts a private Valkey")
        return
    server: Any = redis.Redis.from_url(settings.CLEAC.redis_url, socket_timeout=5)
    try:
        found = server.info("server")
        asked = time.time()
        seconds, microseconds = server.time()
        answered = time.time()
    except redis.RedisError as error:
        yield Finding("redis server", FAIL, f"no answer: {error}")
        return
    name = found.get("server_name", "redis").capitalize()
    yield Finding("redis server", OK, f"{name} {found.get('valkey_version', found['redis_version'])} answers")
    yield against_ours("redis clock", seconds + microseconds / 1_000_000, asked, answered)


def ports() -> Iterator[Finding]:
    """A taken port is no fault: most often it is our own service that has it."""
    address = urlsplit(settings.CLEAC.public_url)
    yield http_port(8000 if address.port is None else address.port)
    try:
        found = media_ports()
    except Refused as refusal:
        yield Finding("media udp port", WARN, f"{refusal}; fine if it is this service that has it")
        return
    if not found:
        yield Finding("media udp port", FAIL, "CLEAC_MEDIA_UDP_PORT is no port")
        return
    chosen = os.environ.get("CLEAC_MEDIA_UDP_PORT", "0") != "0"
    named = ", ".join(str(number) for number in found)
    yield Finding("media udp port", OK, f"{named} {'is' if len(found) == 1 else 'are'} free" if chosen else f"any free one, now {named}")


def http_port(number: int) -> Finding:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
        except OSError as error:
            return Finding("http port", WARN, f"{number}: {error.strerror}; fine if it is this service that has it")
        return Finding("http port", OK, f"{number} is free" if number else f"any free one, now {probe.getsockname()[1]}")


def storage() -> Iterator[Finding]:
    """Write, read back and delete where recordings go, and look that it is gone."""
    folder = settings.CLEAC.data / "objects"
    content, path = secrets.token_bytes(64 * 1024), folder / f"doctor-{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(content)
        same = path.read_bytes() == content
        path.unlink()
    except OSError as error:
        yield Finding("storage", FAIL, f"{folder}: {error.strerror}")
        return
    good = same and not path.exists()
    detail = "written, read, deleted" if good else "does not keep, or does not forget, what it is told"
    yield Finding("storage", OK if good else FAIL, f"{folder}: {detail}")


def file_clock() -> Iterator[Finding]:
    """Logs and stored objects are aged by the time that the file system gives them; on a network drive that is another machine's."""
    path = settings.CLEAC.data / f"clock-{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        asked = time.time()
        path.write_bytes(b"now")
        written_at, answered = path.stat().st_mtime, time.time()
        path.unlink()
    except OSError as error:
        yield Finding("file clock", FAIL, f"{settings.CLEAC.data}: {error.strerror}")
        return
    yield against_ours("file clock", written_at, asked, answered)


def native() -> Iterator[Finding]:
    """Several times as many packets for the same processor time; without it everything works all the same."""
    reason, wanted = forms.in_the_way(), settings.CLEAC.media_path
    if not reason:
        yield Finding("native media path", OK, "present" if wanted != "python" else "present, but CLEAC_MEDIA_PATH is python")
    else:
        yield Finding("native media path", FAIL if wanted == "native" else OK if wanted == "python" else WARN, f"no, pure Python: {reason}")


def media_filter() -> Iterator[Finding]:
    """Without it a flood at the media port is dropped by the worker itself, which costs it processor time."""
    possible = kernel_filter.permitted()
    yield Finding(
        "media kernel filter", OK if possible else WARN, "may be set" if possible else "is refused by this kernel; the worker drops floods itself"
    )


def keys() -> Iterator[Finding]:
    """How old the keys are that seal the tenants' recordings. There is no rotation yet, so no age is a fault."""
    alias = connections["keys"]
    if alias.vendor == "sqlite" and not Path(alias.settings_dict["NAME"]).exists():
        yield Finding("keys' age", OK, "none yet")
        return
    try:
        found = queries.tenant_keys_age()
    except DatabaseFault as error:
        yield Finding("keys' age", WARN, f"cannot be read: {(str(error).strip().splitlines() or [type(error).__name__])[0]}")
        return
    if found is None:
        yield Finding("keys' age", OK, "none yet")
        return
    oldest, newest = ((timezone.now() - made).days for made in (found.oldest, found.newest))
    yield Finding("keys' age", OK, f"{found.number} of tenants, the oldest {oldest} days, the newest {newest} days")


def mail() -> Iterator[Finding]:
    if settings.EMAIL_BACKEND.endswith("smtp.EmailBackend"):
        yield Finding("mail", OK, f"SMTP, {settings.EMAIL_HOST}:{settings.EMAIL_PORT}")
    else:
        yield Finding("mail", OK, "printed, nobody receives it; set EMAIL_URL to send")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    versions,
    databases,
    redis_server,
    clock,
    file_clock,
    ports,
    storage,
    native,
    media_filter,
    keys,
    mail,
)


class Command(BaseCommand):
    help = "Versions, back ends, clocks, ports, storage, native media path, keys, mail. Exit 1 when something fails."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="a JSON list of {check, state, detail}")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = [finding for check in CHECKS for finding in check()]
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            table = Table("check", "state", "detail", box=None, pad_edge=False)
            for finding in findings:
                table.add_row(finding.check, f"[{COLOURS[finding.state]}]{finding.state}[/]", finding.detail)
            console = Console()
            with console.capture() as text:
                console.print(table)
            self.stdout.write(text.get())
        if any(finding.state == FAIL for finding in findings):
            sys.exit(1)
