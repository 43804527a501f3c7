"""`manage.py retention run`: destroy what has been kept for as long as it may be. Exit 0 done, 1 something failed, 2 wrong use."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from compliance import retention
from tenants import queries
from tenants.permissions import Actor


class Command(BaseCommand):
    help = "What has been kept for as long as people agreed: count it, or destroy it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["run"], help="destroy what is due")
        parser.add_argument("--dry-run", action="store_true", help="only say what is due")
        parser.add_argument("--tenant", help="the slug of one tenant; without it, all")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        everybody = [tenant for tenant, _members in queries.tenants()]
        chosen = [tenant for tenant in everybody if options["tenant"] in (None, tenant.slug)]
        if not chosen and options["tenant"] is not None:
            raise CommandError(f"no tenant {options['tenant']}", returncode=2)
        by, at, dry = Actor.operator("retention"), timezone.now(), options["dry_run"]
        reports = [retention.run(tenant=tenant, by=by, at=at, dry=dry) for tenant in chosen]
        if options["json"]:
            self.stdout.write(json.dumps({"dry_run": dry, "tenants": [report.as_json() for report in reports]}))
        else:
            self.stdout.write("\n".join(worded(report, dry=dry) for report in reports) or "no tenant")
        sys.exit(1 if any(report.failed for report in reports) else 0)


def worded(report: retention.Report, *, dry: bool) -> str:
    """One tenant's lines: what is due by purpose, and what became of it."""
    told = report.as_json()
    lines = [f"{report.tenant}:"] + [f"  due {purpose}: {count}" for purpose, count in told["due"].items()]
    if not told["due"]:
        lines.append("  nothing is due")
    if not dry:
        lines += [f"  purged {name}: {count}" for name, count in told["purged"].items() if count]
    return "\n".join(lines + [f"  {name}: {told[name]}" for name in ("held", "failed") if told[name]])
