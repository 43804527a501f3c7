"""`manage.py bench NAME`: the figures that Cleac claims, one command each."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

NAMES = ("start", "join", "access", "withdrawal")


class Command(BaseCommand):
    help = "Measure something; prints a table, and writes JSON where asked."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", choices=NAMES)
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
        parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="how long to measure, where that is a choice")

    def handle(self, *args: Any, **options: Any) -> None:
        report_module = importlib.import_module("bench.report")
        report = report_module.Report(options["name"])
        importlib.import_module(f"bench.{options['name']}").measure(report, options["seconds"])
        report.show()
        if options["json"]:
            report.write(options["json"])
