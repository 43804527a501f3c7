"""`manage.py prove`: is everything stored covered by a yes that the log proves? Exit 0 clean, 1 not, 2 wrong use."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from compliance.proof import Proof, prove
from tenants import queries


class Command(BaseCommand):
    help = "Compare what lies in the store with decisions replayed from the log, rows against objects both ways."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="the slug of one tenant; without it, all")
        parser.add_argument("--json", action="store_true", help="print one JSON object of five numbers; findings go to the error stream")
        parser.add_argument("--deep", action="store_true", help="open every record too, and count")

    def handle(self, *args: Any, **options: Any) -> None:
        everybody = [tenant for tenant, _members in queries.tenants()]
        chosen = [tenant for tenant in everybody if options["tenant"] in (None, tenant.slug)]
        if not chosen and options["tenant"] is not None:
            raise CommandError(f"no tenant {options['tenant']}", returncode=2)
        proof = prove(chosen, everybody=everybody, deep=options["deep"])
        if options["json"]:
            self.stdout.write(json.dumps(proof.as_json()))
            self.stderr.write("".join(f"{line}\n" for line in named(proof)), ending="")
        else:
            self.stdout.write(worded(proof))
        sys.exit(0 if proof.clean else 1)


def worded(proof: Proof) -> str:
    """One line for each number, one for each finding, and the verdict."""
    told = proof.as_json()
    lines = [f"{name.replace('_', ' ')}: {told[name]}" for name in ("stored_seconds", "orphan_seconds", "orphan_objects", "undeclared_fields")]
    lines.append(f"log: {'sound' if proof.log_ok else 'NOT SOUND'}")
    return "\n".join([*lines, *(f"  {line}" for line in named(proof)), "clean" if proof.clean else "NOT CLEAN"])


def named(proof: Proof) -> list[str]:
    """One line for each finding: its code, and what it is about."""
    lines = []
    for finding in proof.findings:
        facts = {"tenant": finding.tenant, "object": finding.object, "epoch": finding.epoch, "index": finding.index}
        about = " ".join(f"{name}={value}" for name, value in facts.items() if value not in ("", None))
        lines.append(f"{finding.code} {about}" + (f" {finding.seconds:.3f} s" if finding.seconds else ""))
    return lines
