"""Door 1 as `manage.py run` opens it: settings and checks, migrations, the demo cast, then daphne.

One process does it all because loading Django takes most of a start. Whether it may start, and how, goes into the report file:
`{"refused": "one line"}` or `{"links": [...], "film": bool, "parts": [[name, what], ...]}`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from . import roles

REFUSED = 2


class Unsafe(Exception):
    """The start is refused; the text is one line for the operator."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the listening socket, open since the supervisor started")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--demo", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cleac_site.settings")
    try:
        django.setup()
        report = prepared(demo=options.demo)
    except (ImproperlyConfigured, Unsafe) as error:
        write(options.report, {"refused": " ".join(str(error).split())})
        return REFUSED
    write(options.report, report)
    serve(options.fd)
    return 0


def write(path: Path, report: dict[str, Any]) -> None:
    """The reader finds the whole report or none; the links in it sign people in, so nobody else may read it."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(report))
    draft.replace(path)


def prepared(*, demo: bool) -> dict[str, Any]:
    """Check, migrate, make the cast. Raises Unsafe or ImproperlyConfigured."""
    from django.conf import settings  # noqa: PLC0415 - reason: needs configured settings
    from django.db import DatabaseError, connections  # noqa: PLC0415 - reason: as above

    from . import demo as cast  # noqa: PLC0415 - reason: as above

    refuse_errors()
    for alias in connections:
        try:
            migrate(alias)
        except DatabaseError as error:
            name = "DATABASE_URL" if alias == "default" else "CLEAC_KEYS_DATABASE_URL"
            raise Unsafe(f"{name}: {last_line(error)}") from error
    refuse_silent_redis(settings.CLEAC.redis_url)
    links = [vars(link) for link in cast.ensure_cast()] if demo and settings.DEV else []
    connections.close_all()
    return {"links": links, "film": bool(links) and settings.CLEAC.demo_meetings, "parts": parts()}


def refuse_errors() -> None:
    """Raises Unsafe for the first error; warnings go into the log."""
    tags = [checks.Tags.security, checks.Tags.compatibility, checks.Tags.database]
    for message in checks.run_checks(tags=tags, databases=["default"]):
        words = f"{message.id}: {message.msg} {message.hint or ''}"
        if message.is_serious():
            raise Unsafe(words)
        print(words, file=sys.stderr, flush=True)


def refuse_silent_redis(url: str) -> None:
    """Raises Unsafe when nobody answers at REDIS_URL: without it no page hears of anything and no job runs."""
    import redis  # noqa: PLC0415 - reason: loaded only where a start gets this far

    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as server:
            server.ping()
    except (redis.RedisError, OSError) as error:
        raise Unsafe(f"REDIS_URL: {last_line(error)}") from error


def migrate(alias: str) -> None:
    """Apply what is missing. Looking first spares a second start the signals that `migrate` sends in any case."""
    from django.core.management import call_command  # noqa: PLC0415 - reason: needs configured settings
    from django.db import connections  # noqa: PLC0415 - reason: as above
    from django.db.migrations.executor import MigrationExecutor  # noqa: PLC0415 - reason: as above

    executor = MigrationExecutor(connections[alias])
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", database=alias, verbosity=0, interactive=False, skip_checks=True)


def last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


def parts() -> list[tuple[str, str]]:
    """The back ends in use, in words and without their passwords."""
    from django.conf import settings  # noqa: PLC0415 - reason: needs configured settings

    cleac = settings.CLEAC
    sends = settings.EMAIL_BACKEND.endswith("smtp.EmailBackend")
    return [
        ("Database", in_words(cleac.database_url)),
        ("Keys", in_words(cleac.keys_database_url)),
        ("Redis", in_words(cleac.redis_url)),
        ("Files", str(cleac.data)),
        ("Mail", f"SMTP, {settings.EMAIL_HOST}:{settings.EMAIL_PORT}" if sends else "printed into logs/*.log"),
    ]


def in_words(url: str) -> str:
    """`postgresql://user:secret@host:5432/name` -> `PostgreSQL, host:5432/name`."""
    named = {"sqlite": "SQLite", "postgres": "PostgreSQL", "postgresql": "PostgreSQL", "redis": "Redis", "rediss": "Redis over TLS"}
    address = urlsplit(url)
    where = address.path.removeprefix("/") if address.scheme == "sqlite" else address.netloc.rsplit("@", 1)[-1] + address.path
    return f"{named.get(address.scheme, address.scheme)}, {where}"


def serve(descriptor: int) -> None:
    """Run daphne on the open socket until SIGTERM."""
    from daphne.cli import CommandLineInterface  # type: ignore[import-untyped]  # noqa: PLC0415 - reason: untyped; takes the loop

    CommandLineInterface().run(["--fd", str(descriptor), *roles.SERVING, roles.SITE])


if __name__ == "__main__":
    sys.exit(main())
