"""`manage.py log verify`: whether each tenant's log is still what was written."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error as DatabaseFault
from rich.console import Console
from rich.table import Table

from compliance import log
from tenants import queries, scope
from tenants.models import Tenant

FAULT, WRONG_USE = 1, 2


@dataclass(frozen=True)
class Verified:
    """One tenant's log: rows, size and root (hex) as its head has them, and every fault. `root` is None for an altered head."""

    tenant: str
    entries: int
    size: int
    root: str | None
    findings: list[log.Finding]


def verified(tenant: Tenant) -> Verified:
    """Recompute one tenant's log inside its scope. Nothing is written, and no writer waits."""
    with scope.reading(tenant):
        standing = log.standing(tenant)
        findings = log.verify(tenant)
    return Verified(tenant.slug, standing.entries, standing.size, standing.root.hex() if standing.root is not None else None, findings)


class Command(BaseCommand):
    help = "Recompute every commitment and the whole tree of each tenant's log. Exit 0 when all are sound, 1 for any fault, 2 for wrong use."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="verify")
        verify = actions.add_parser("verify", help="recompute every commitment and the whole tree, and name each fault")
        verify.add_argument("--tenant", metavar="SLUG", help="this tenant's log only (default: every tenant's)")
        verify.add_argument("--json", action="store_true", help="a list of {tenant, entries, size, root, findings: [{code, index, count}]}")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = [verified(tenant) for tenant in self._asked(options["tenant"])]
        except DatabaseFault as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self._fail(f"the database cannot be used ({said})", FAULT)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(one) for one in found], indent=2))
        else:
            self._print(found)
        if any(one.findings for one in found):
            sys.exit(FAULT)

    def _asked(self, slug: str | None) -> Iterable[Tenant]:
        if slug is None:
            return [tenant for tenant, _members in queries.tenants()]
        tenant = queries.tenant_by_slug(slug)
        if tenant is None:
            self._fail(f"there is no tenant {slug!r}; `manage.py tenant list` shows them all", WRONG_USE)
        return [tenant]

    def _fail(self, words: str, code: int) -> NoReturn:
        self.stderr.write(f"log: {words}")
        sys.exit(code)

    def _print(self, found: list[Verified]) -> None:
        logs = Table("tenant", "entries", "size", "findings", "root", box=None, pad_edge=False)
        faults = Table("tenant", "fault", "index", "count", box=None, pad_edge=False)
        for one in found:
            logs.add_row(one.tenant, str(one.entries), str(one.size), str(len(one.findings)), one.root or "none: the head was altered")
            for finding in one.findings:
                faults.add_row(one.tenant, finding.code, "" if finding.index is None else str(finding.index), str(finding.count))
        console = Console(width=140, color_system=None)
        with console.capture() as text:
            console.print(logs)
            if faults.row_count:
                console.print()
                console.print(faults)
        self.stdout.write(text.get())
