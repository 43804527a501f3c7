"""`manage.py bench NAME`: the figures that Cleac claims, one command each."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cleac_site.pages import measured

NAMES = ("start", "join", "access", "withdrawal", "recovery", "media", "room", "attack")
SECONDS, OF_A_WINDOW = 30.0, {"media": 2.5}  # where nobody says how long
OF_MEDIA = ("loads", "contenders", "repetitions")


class Command(BaseCommand):
    help = "Measure something; prints a table, and writes JSON where asked."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", choices=NAMES)
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
        parser.add_argument("--seconds", type=float, metavar="S", help="how long to measure, where that is a choice; media: each window")
        parser.add_argument("--loads", type=_names, metavar="S1,S2", help="media: only these loads")
        parser.add_argument("--contenders", type=_names, metavar="python,pion", help="media: only these servers")
        parser.add_argument("--repetitions", type=int, metavar="N", help="media: how often each is measured (3)")
        parser.add_argument("--write", action="store_true", default=None, help="put the figures into README.md and, but for media, on the front page")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = {name: options[name] for name in OF_MEDIA if options[name] is not None}
        if chosen and options["name"] != "media":
            raise CommandError("--loads, --contenders and --repetitions are for `bench media`", returncode=2)
        if options["write"] and options["name"] not in ("media", *measured.BENCHES):
            raise CommandError(f"--write is for `bench {'|'.join(('media', *measured.BENCHES))}`", returncode=2)
        if options["write"] and options["name"] == "media":
            chosen["write"] = True
        seconds = OF_A_WINDOW.get(options["name"], SECONDS) if options["seconds"] is None else options["seconds"]
        report_module = importlib.import_module("bench.report")
        report = report_module.Report(options["name"])
        try:
            importlib.import_module(f"bench.{options['name']}").measure(report, seconds, **chosen)
        except report_module.WrongUse as wrong:
            raise CommandError(str(wrong), returncode=2) from None
        report.show()
        if options["write"] and options["name"] != "media":
            importlib.import_module("bench.readme").keep(report)
        if options["json"]:
            report.write(options["json"])
        if report.missed:
            raise CommandError(f"{len(report.missed)} targets were missed", returncode=1)


def _names(text: str) -> list[str]:
    return text.split(",")
