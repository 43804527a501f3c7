"""`manage.py retention run`: destroy what has been kept for as long as it may be; `shorten`: keep a kind of thing for fewer days.

Exit 0 done, 1 something failed, 2 wrong use.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from compliance import retention, terms
from tenants import queries, scope
from tenants.errors import Refused
from tenants.models import Tenant
from tenants.permissions import Actor

REFUSALS = {
    "too-long": "a tenant may keep less than the baseline, never more",
    "too-short": "a thing is kept for a day at least",
    "in-the-past": "a rule cannot begin in the past",
}


class Command(BaseCommand):
    help = "What has been kept for as long as people agreed: count it, or destroy it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["run", "shorten"], help="destroy what is due; or have a tenant keep something for fewer days")
        parser.add_argument("--dry-run", action="store_true", help="only say what is due")
        parser.add_argument("--tenant", help="the slug of one tenant; without it, all")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--kind", choices=sorted(terms.BASELINE), help="shorten: what is kept for fewer days")
        parser.add_argument("--days", type=int, help="shorten: for how many days")
        parser.add_argument("--from", dest="first", type=date.fromisoformat, metavar="DAY", help="shorten: from which day on (default: now)")

    def handle(self, *args: Any, **options: Any) -> None:
        everybody = [tenant for tenant, _members in queries.tenants()]
        chosen = [tenant for tenant in everybody if options["tenant"] in (None, tenant.slug)]
        if not chosen and options["tenant"] is not None:
            raise CommandError(f"no tenant {options['tenant']}", returncode=2)
        if options["action"] == "shorten":
            self._shorten(chosen, options)
            return
        by, at, dry = Actor.operator("retention"), timezone.now(), options["dry_run"]
        reports = [retention.run(tenant=tenant, by=by, at=at, dry=dry) for tenant in chosen]
        if options["json"]:
            self.stdout.write(json.dumps({"dry_run": dry, "tenants": [report.as_json() for report in reports]}))
        else:
            self.stdout.write("\n".join(worded(report, dry=dry) for report in reports) or "no tenant")
        sys.exit(1 if any(report.failed for report in reports) else 0)

    def _shorten(self, chosen: list[Tenant], options: dict[str, Any]) -> None:
        at, by = timezone.now(), Actor.operator("retention")
        if options["tenant"] is None or options["kind"] is None or options["days"] is None:
            raise CommandError("shorten needs --tenant, --kind and --days", returncode=2)
        first = at if options["first"] is None else datetime.combine(options["first"], time(), UTC)
        try:
            with scope.entered(chosen[0]):
                retention.shorten(kind=options["kind"], days=options["days"], in_force_from=first, by=by, at=at)
        except Refused as refused:
            raise CommandError(REFUSALS.get(refused.code, refused.code), returncode=2) from None
        self.stdout.write(f"{chosen[0].slug}: {options['kind']} {options['days']} days from {first:%Y-%m-%d %H:%M} UTC on")


def worded(report: retention.Report, *, dry: bool) -> str:
    """One tenant's lines: what is due by purpose, and what became of it."""
    told = report.as_json()
    lines = [f"{report.tenant}:"] + [f"  due {purpose}: {count}" for purpose, count in told["due"].items()]
    if not told["due"]:
        lines.append("  nothing is due")
    if not dry:
        lines += [f"  purged {name}: {count}" for name, count in told["purged"].items() if count]
    return "\n".join(lines + [f"  {name}: {told[name]}" for name in ("held", "failed") if told[name]])
