"""Row security holds for every table, except for those named here (D9); and each policy is the one that its model asks for today."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import connection, connections

from tenants.row_security import POLICY, Wall, wall_of, wall_of_pairs

pytestmark = pytest.mark.django_db(databases=["default", "keys"])

OUTSIDE = {
    "tenants_tenant": "is what a name, key, link or session leads to",
    "tenants_user": "signs in before a tenant is chosen, and may work in several",
    "tenants_membership": "says which tenants a user may choose",
    "tenants_apikey": "a key's secret names its tenant",
    "tenants_linksecret": "a link's secret names its tenant",
    "tenants_guestsession": "a cookie names its tenant",
    "tenants_signinfailures": "counts before anybody is known; keyed hashes and numbers only",
    "tenants_outboxrow": "the sweep finds what is due for all; ids and times only",
    "calls_placement": "a worker finds its calls; ids and times only",
    "calls_worker": "belongs to the installation",
}
LIBRARIES = {
    *("django_content_type", "django_migrations", "django_session", "django_site"),
    *("auth_group", "auth_group_permissions", "auth_permission"),
    *("account_emailaddress", "account_emailconfirmation"),
}
# Asked for by id, for a tenant that was decided on the other side; no scope is opened on that connection, which could name one to it.
KEYS = {"tenants_tenantkey", "tenants_sealedkey", "django_migrations"}


def tables(alias: str) -> dict[str, tuple[bool, bool]]:
    """Every table of a database: is row security on, and is it forced?"""
    query = "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    with connections[alias].cursor() as cursor:
        cursor.execute(query)
        return {name: (on, forced) for name, on, forced in cursor.fetchall()}


def policies() -> dict[str, list[tuple[Any, ...]]]:
    """Table -> its policies: name, for which statements, for whom, whether it adds or narrows, its two conditions."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename, policyname, cmd, roles::text, permissive, qual, with_check FROM pg_policies")
        for table, *policy in cursor.fetchall():
            found.setdefault(table, []).append(tuple(policy))
    return found


def walls() -> dict[str, Wall]:
    """Table -> the wall that its model asks for today: models with a tenant, and their many-to-many tables."""
    models = [model for model in apps.get_models() if any(field.name == "tenant" for field in model._meta.get_fields())]
    inside = [model for model in models if model._meta.db_table not in OUTSIDE]
    pairs = [wall_of_pairs(model, field.name) for model in inside for field in model._meta.local_many_to_many]
    return {wall.table: wall for wall in [*map(wall_of, inside), *pairs]}


def test_every_table_is_behind_row_security_or_named_as_outside() -> None:
    found = tables("default")

    assert {name for name, (on, _) in found.items() if not on} == OUTSIDE.keys() | LIBRARIES
    assert {name for name, (on, forced) in found.items() if on and forced} == walls().keys()


def test_the_database_of_keys_holds_keys_and_nothing_else() -> None:
    assert tables("keys").keys() == KEYS


def test_each_table_has_one_policy_for_every_statement_and_everybody() -> None:
    shapes = {table: [policy[:4] for policy in found] for table, found in policies().items()}

    assert shapes == dict.fromkeys(walls(), [(POLICY, "ALL", "{public}", "PERMISSIVE")])


def test_each_policy_is_the_one_that_its_model_asks_for_today() -> None:
    """A reference that a later migration adds is not held inside the tenant until that migration says `walled` again."""
    before = policies()
    with connection.cursor() as cursor:
        for wall in walls().values():
            for statement in wall.built():
                cursor.execute(statement)

    assert policies() == before
