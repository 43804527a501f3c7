"""`manage.py run`: everything on one machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from cleac_site import supervisor


def port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 (any free one) to 65535")
    return number


class Command(BaseCommand):
    help = "Start everything on one machine, print the address and, in dev, sign-in links; Ctrl-C and SIGTERM drain and exit 0."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=port, default=8000, help="port on 127.0.0.1 (default 8000; 0 takes any free one)")
        data = Path(os.environ.get("CLEAC_DATA", "var"))
        parser.add_argument("--data", type=Path, default=data, help="data folder (default CLEAC_DATA or var)")
        parser.add_argument("--no-demo", action="store_true", help="make no demo cast")

    def run_from_argv(self, argv: list[str]) -> None:
        """Without Django's settings: they are read by the children, in the environment that is made here."""
        self._called_from_command_line = True  # wrong options are then one line and exit 2
        options = self.create_parser(argv[0], argv[1]).parse_args(argv[2:])
        self.handle(port=options.port, data=options.data, no_demo=options.no_demo)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(supervisor.serve(port=options["port"], data=options["data"], demo=not options["no_demo"]))
