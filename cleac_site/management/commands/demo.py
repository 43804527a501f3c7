"""`manage.py demo`: the cast, a past recorded meeting and an open one, made once and told every time."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from cleac_site.demo_meetings import making, notes, service
from cleac_site.demo_meetings.shown import shown

FAULT, WRONG_USE = 1, 2


class Command(BaseCommand):
    help = (
        "Make the demo where it is missing: its people, a meeting that was recorded and one that is open. Uses the service that runs on the data "
        "folder, else starts one for the while (half a minute) and ends it. Exit 1 when it could not be made, 2 in production."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object: tenants, people, meetings, recordings")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEV:
            self.stderr.write("demo: there is no demo in production")
            sys.exit(WRONG_USE)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(FAULT))  # whatever was started here is ended on the way out
        data = settings.CLEAC.data
        with notes.alone(data, "demo-command"):  # whoever ends a service must not end it under another's feet
            if not complete():
                try:
                    code = service.make(data)
                except service.NotStarted:
                    self.stderr.write("demo: no service answers on this data folder")
                    sys.exit(FAULT)
                if code:
                    sys.exit(code if code > 0 else FAULT)
            found = shown(notes.read(data))
        self.stdout.write(json.dumps(found, indent=2) if options["json"] else worded(found))


def complete() -> bool:
    """Is there nothing to make? A database without our tables has everything to make."""
    try:
        return making.is_complete(notes.read(settings.CLEAC.data))
    except DatabaseError:
        return False


def worded(found: dict[str, Any]) -> str:
    """The same, for a person in front of the screen."""
    lines = [f"{one['tenant']:<8} {one['name']:<6} {one['role']:<8} {one['sign_in'] or 'comes by a personal link'}" for one in found["people"]]
    for meeting in found["meetings"]:
        lines.append(f"{meeting['tenant']:<8} meeting {meeting['id']} ({meeting['state']})")
        lines += [f"         {name:<6} {url}" for name, url in meeting["links"].items()]
    lines += [f"{one['tenant']:<8} recording {one['id']} ({one['state']})" for one in found["recordings"]]
    lines += [f"{one['slug']:<8} API key {one['api_key']}" for one in found["tenants"]]
    return "\n".join(lines)
