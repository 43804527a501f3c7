"""`manage.py datamap`: every model field with what is held, why, how long, and what a request does with it. Exit 1 when one is not declared."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from compliance import registry

COLUMNS = ("field", "class", "purpose", "retention", "export", "erase", "ground")


class Command(BaseCommand):
    help = "Every model field with data class, purpose, retention class, export and erase action."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="print nothing but what is missing")
        parser.add_argument("--format", choices=("json", "csv"), default="csv")

    def handle(self, *args: Any, **options: Any) -> None:
        missing = faults()
        if not options["check"]:
            self._print(list(rows()), options["format"])
        for line in missing:
            self.stderr.write(line)
        if options["check"] and not missing:
            self.stdout.write(f"{sum(1 for _row in rows())} fields, all declared")
        if missing:
            sys.exit(1)

    def _print(self, found: list[dict[str, str]], form: str) -> None:
        if form == "json":
            self.stdout.write(json.dumps(found, indent=2))
            return
        writer = csv.DictWriter(self.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def rows() -> Iterator[dict[str, str]]:
    """One row for each declared field, in the order in which the apps were loaded."""
    for holding in registry.holdings():
        for name, field in holding.fields.items():
            values = (f"{holding.model}.{name}", field.data, field.purpose, field.retention, field.export, field.erase, field.ground)
            yield dict(zip(COLUMNS, map(str, values), strict=True))


def faults() -> list[str]:
    """What keeps the map from being whole, one line each."""
    return [
        *(f"not declared: {name}" for name in registry.undeclared()),
        *(f"declared but not there: {name}" for name in registry.unknown()),
        *(f"promised by no function: {name}" for name in registry.unanswered()),
    ]
