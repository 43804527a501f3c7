"""How tables are emptied between two tests: of those that hold rows each row is deleted.

TRUNCATE, which Django's `flush` sends, makes new files for every table and index, full or empty, and waits for the disk: a quarter of a second
and more for each test. What is left afterwards is the same: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from .environment import SUPERUSER

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'django_migrations' ORDER BY 1"


@contextmanager
def by_what_they_hold() -> Iterator[None]:
    """Until the end of this, `flush` empties PostgreSQL's tables by `empty`."""
    from django.db.backends.postgresql.operations import DatabaseOperations  # noqa: PLC0415 - reason: needs configured settings

    opened: dict[str, psycopg.Connection[Any]] = {}

    def execute(operations: DatabaseOperations, commands: list[str]) -> None:
        name = str(operations.connection.settings_dict["NAME"])
        if name not in opened:
            opened[name] = psycopg.connect(SUPERUSER.rsplit("/", 1)[0] + "/" + name, autocommit=True)
        if commands:
            empty(opened[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "execute_sql_flush", execute)
        yield
    for connection in opened.values():
        connection.close()


def empty(connection: psycopg.Connection[Any]) -> None:
    """Delete every row, as a superuser: neither row security, triggers nor references have a part in it.

    Whoever is writing is waited for, and nobody else begins to until all is gone, so that no row is left whose parent went. Raises psycopg.Error.
    """
    tables = [sql.Identifier(name) for (name,) in connection.execute(TABLES)]
    held = sql.SQL(" UNION ALL ").join(sql.SQL("(SELECT {} FROM {} LIMIT 1)").format(sql.Literal(index), table) for index, table in enumerate(tables))
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.SQL(", ").join(tables)))
        for (index,) in connection.execute(held).fetchall():
            connection.execute(sql.SQL("DELETE FROM {}").format(tables[index]))
