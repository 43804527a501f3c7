"""Looks for media in clear wherever the running site can have put a byte: files, open files, rows, write-ahead log.

The needles are pieces of packets that a test has decrypted. Each is looked for as it is, in hexadecimal and in base64.
"""

from __future__ import annotations

import base64
import heapq
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.environment import SUPERUSER
from tests.stack import Stack, address_of_tests

from .stored import Stretch

DATABASES = {"default": "", "keys": "_keys"}  # alias -> what its name ends in
LENGTH = 32  # bytes of a needle: nothing else has them by chance
EACH = 3  # needles of one source of one person


def needles(found: Iterable[Stretch]) -> list[bytes]:
    """The middle of the largest packets of these: coded pictures or sound, no header."""
    payloads = heapq.nlargest(EACH, (one.packet.payload for stretch in found for one in stretch.arrived), key=len)
    assert len(payloads) == EACH
    assert all(len(payload) >= 2 * LENGTH for payload in payloads)
    return [payload[len(payload) // 2 :][:LENGTH] for payload in payloads]


def needles_of_each(found: Iterable[Stretch]) -> list[bytes]:
    """`needles` of every source of every person in these."""
    sources: dict[tuple[str, str], list[Stretch]] = {}
    for stretch in found:
        sources.setdefault((stretch.name, stretch.source), []).append(stretch)
    return [needle for stretches in sources.values() for needle in needles(stretches)]


def written_forms(needle: bytes) -> list[bytes]:
    """As it is, in hexadecimal, and what it looks like within base64 at each of the three places where it can begin."""
    coded = [base64.b64encode(bytes(skip) + needle)[4:-4] for skip in range(3)]
    return [needle, needle.hex().encode(), *coded]


def places(wanted: list[bytes], stack: Stack, since: float) -> list[str]:
    """Everywhere that one of them was found. `since`: when the recording had not begun, in seconds since 1970."""
    assert wanted
    rows = [f"{alias}: {table}" for alias in DATABASES for table in in_database(wanted, alias)]
    return [*in_files(wanted, stack, since), *rows, *in_write_ahead_log(wanted, since)]


def planted_is_found(stack: Stack, since: float) -> None:
    """What is planted in each place and form is found there, and nowhere else."""
    needle = os.urandom(LENGTH)
    assert places([needle], stack, since) == []
    for folder in (stack.logs.parent, Path(tempfile.gettempdir())):
        for form in written_forms(needle):
            with tempfile.NamedTemporaryFile(dir=folder) as file:
                file.write(b"before" + form + b"after")
                file.flush()
                assert in_files([needle], stack, since) == [file.name]
    for alias in DATABASES:
        for form in written_forms(needle):
            with opened(alias) as database:
                database.execute("CREATE TABLE planted (content bytea)" if form == needle else "CREATE TABLE planted (content text)")
                database.execute("INSERT INTO planted VALUES (%s)", [form if form == needle else f"before{form.decode()}after"])
                assert in_tables([needle], database) == ["public.planted"]
                database.rollback()
    with opened("default") as database:
        for _ in range(3):  # one of them may lie across two pages
            database.execute("SELECT pg_logical_emit_message(true, 'planted', %s::bytea)", [needle])
    assert len(in_write_ahead_log([needle], since)) == 1


def in_files(wanted: Iterable[bytes], stack: Stack, since: float) -> list[str]:
    """Every file that holds one of them: in the data folder, in the folder for temporary files as far as it was written since, or held
    open by a process of the site, deleted or not."""
    forms = [form for needle in wanted for form in written_forms(needle)]
    found = {*_files(stack.logs.parent), *_files(Path(tempfile.gettempdir()), since), *_open_files(stack)}
    return sorted(str(path) for path in found if _holds(path, forms))


def opened(alias: str) -> psycopg.Connection[Any]:
    """A database of the running site, as a superuser: the site's own role sees one tenant at a time, and no files of the server."""
    return psycopg.connect(address_of_tests(DATABASES[alias], SUPERUSER))


def in_database(wanted: Iterable[bytes], alias: str) -> list[str]:
    """Every table of a database that has one of them in a row, also of other tenants."""
    with opened(alias) as database:
        return in_tables(wanted, database)


def in_tables(wanted: Iterable[bytes], database: psycopg.Connection[Any]) -> list[str]:
    """As `in_database`, in a transaction that is open already."""
    patterns = [f"%{form.decode()}%" for needle in wanted for form in written_forms(needle)[1:]]  # bytes are shown in hexadecimal
    database.execute("SET LOCAL row_security = off")  # from here on a query that would be filtered fails
    names = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    found = []
    for (table,) in database.execute(names).fetchall():
        row = database.execute(f"SELECT count(*) FROM {table} AS one WHERE one::text LIKE ANY (%s)", [patterns]).fetchone()
        found += [table] * bool(row and row[0])
    return found


def in_write_ahead_log(wanted: Iterable[bytes], since: float) -> list[str]:
    """Every segment of PostgreSQL's log, written since then, that holds one of them: rows that are gone from their table are still here."""
    forms = [form for needle in wanted for form in written_forms(needle)]
    found = []
    with opened("default") as database:
        for (name,) in database.execute("SELECT name FROM pg_ls_waldir() WHERE modification >= to_timestamp(%s)", [int(since)]).fetchall():
            row = database.execute("SELECT pg_read_binary_file('pg_wal/' || %s)", [name]).fetchone()
            segment = bytes(row[0]) if row else b""
            found += [name] * any(form in segment for form in forms)
    return found


def _files(folder: Path, since: float = 0.0) -> Iterator[Path]:
    for at, _, names in os.walk(folder, onerror=None):
        for name in names:
            path = Path(at, name)
            with suppress(OSError):
                if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since:
                    yield path


def _open_files(stack: Stack) -> Iterator[Path]:
    """What the site's processes hold open, by way of the kernel's table, so that a deleted file is seen too."""
    for process in stack.processes.values():
        folder = Path(f"/proc/{process.pid}/fd")
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if path.is_file())


def _holds(path: Path, forms: list[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except OSError:  # gone since it was listed
        return False
    return any(form in content for form in forms)
