"""`manage.py fuzz NAME`: the long form of what the suite runs small. Exit 1 on any violation, whose input it names; run again, it goes on."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

NAMES = ("stun", "sdp", "rtp", "rtcp", "extensions", "depacketiser", "json", "journal", "playback")


class Command(BaseCommand):
    help = "Give mutated input to a reader of what others send or store; its corpus stays in the data folder."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", choices=(*NAMES, "all"), help="one reader, or each for an equal part of the time")
        parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long (default 60)")

    def handle(self, *args: Any, **options: Any) -> None:
        campaign = importlib.import_module("tests.fuzz.campaign").campaign
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
        names = NAMES if options["name"] == "all" else (options["name"],)
        folder = Path(os.environ.get("CLEAC_DATA", "var")).resolve() / "fuzz"
        found = [input for name in names if (input := campaign(targets[name], folder / name, options["seconds"] / len(names)))]
        for input in found:
            self.stdout.write(f"violation: {input}")
        sys.exit(1 if found else 0)
