"""Between two tests nothing is left: rows of tenants, what nobody may change, and what somebody was writing in that moment."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, connections
from psycopg import sql

from tenants import scope
from tenants.models import Person
from tests.calls import scenes
from tests.emptied import TABLES
from tests.environment import SUPERUSER
from tests.site.test_run import PATIENCE, until

pytestmark = pytest.mark.django_db(transaction=True)
KEPT = {"django_content_type", "auth_permission", "django_site"}  # Django writes these anew at once


def superuser() -> psycopg.Connection[Any]:
    return psycopg.connect(SUPERUSER.rsplit("/", 1)[0] + "/" + str(connection.settings_dict["NAME"]), autocommit=True)


def rows() -> dict[str, int]:
    """How many each table has, past row security; only those that have any."""
    with superuser() as asking:
        names = [name for (name,) in asking.execute(TABLES).fetchall()]
        counted = {name: asking.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone() for name in names}
    return {name: found[0] for name, found in counted.items() if found and found[0] and name not in KEPT}


def test_tables_that_refer_to_each_other_and_that_nobody_may_change_are_emptied(cast: Any) -> None:
    with scenes.acme(cast):
        scenes.meeting(cast)
    assert {"tenants_tenant", "tenants_person", "calls_meeting", "compliance_logentry"} <= rows().keys()

    call_command("flush", interactive=False, verbosity=0)

    assert rows() == {}


def test_what_is_being_written_is_waited_for_and_goes_too(cast: Any) -> None:
    """The writer commits once somebody waits for its locks, which only the emptying can be."""
    written = threading.Event()

    def write() -> None:
        with scope.entered(cast.acme):
            Person.objects.create(tenant=cast.acme, name="Late")
            written.set()
            with superuser() as asking:
                waits = "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database WHERE datname = current_database() AND NOT granted"
                until(lambda: asking.execute(waits).fetchone() is not None, "the emptying waits")
        connections.close_all()

    writer = threading.Thread(target=write)
    writer.start()
    assert written.wait(PATIENCE)

    call_command("flush", interactive=False, verbosity=0)
    writer.join(PATIENCE)

    assert rows() == {}
