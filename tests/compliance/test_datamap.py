"""The data map: each field of each table once, and a fault for each that nobody declared."""

from __future__ import annotations

import csv
import json
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections

from compliance import registry

pytestmark = pytest.mark.django_db(databases=["default", "keys"])  # which tables there are


def told(*words: str) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    out, errors = StringIO(), StringIO()
    try:
        call_command("datamap", *words, stdout=out, stderr=errors)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue(), errors.getvalue()
    return 0, out.getvalue(), errors.getvalue()


def columns() -> set[str]:
    """Every column and many-to-many field of every table in the databases, whoever made it."""
    made = {table for alias in ("default", "keys") for table in connections[alias].introspection.table_names()}
    kept = [model for model in apps.get_models() if model._meta.db_table in made]
    return {f"{m._meta.label}.{f.name}" for m in kept for f in (*m._meta.local_concrete_fields, *m._meta.local_many_to_many)}


def test_every_field_is_in_the_map_once_in_both_forms() -> None:
    as_json = json.loads(told("--format", "json")[1])
    as_csv = list(csv.DictReader(StringIO(told("--format", "csv")[1])))

    assert as_json == as_csv
    assert sorted(row["field"] for row in as_json) == sorted(columns())
    [decided] = [row for row in as_json if row["field"] == "recordings.Artefact.sealed_key"]
    assert (decided["class"], decided["export"], decided["erase"]) == ("credential", "omit", "destroy-key")


def test_the_check_passes_on_this_house() -> None:
    code, said, errors = told("--check")
    assert (code, errors) == (0, "")
    assert said.startswith(f"{len(columns())} fields")


def test_a_field_that_nobody_declared_fails_the_check_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    held: dict[str, Any] = dict(registry._holdings)
    removed = held.pop("tenants.person")
    monkeypatch.setattr(registry, "_holdings", held)

    code, _said, errors = told("--check")

    assert code == 1
    assert {f"not declared: tenants.Person.{name}" for name in removed.fields} == set(errors.splitlines())


def test_a_declaration_of_what_is_gone_and_a_promise_without_a_function_fail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    held = dict(registry._holdings)
    person = held["tenants.person"]
    gone = registry.Field(registry.Data.NONE, registry.Purpose.OPERATION, registry.Retention.LOGS)
    held["tenants.person"] = registry.Holding(person.model, {**person.fields, "shoe_size": gone}, person.export, None)
    monkeypatch.setattr(registry, "_holdings", held)

    code, _said, errors = told("--check")

    assert code == 1
    assert set(errors.splitlines()) == {"declared but not there: tenants.Person.shoe_size", "promised by no function: tenants.Person erase"}
