"""`manage.py media list|drain`: the media workers. Exit 0 done, 1 a fault was found, 2 wrong use."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from calls import placement

FAULT, WRONG_USE = 1, 2
LOOK_EVERY = 0.25  # seconds between two looks at what is left to be moved
MARGIN = 20.0  # seconds after the deadline for the ends of recordings to be sealed and written down


class Command(BaseCommand):
    help = "List the media workers with their calls and loads, or move the calls of one to the others."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|drain")
        listing = actions.add_parser("list", help="all media workers; exit 1 when none takes calls")
        listing.add_argument("--json", action="store_true", help="a list of {id, address, lives, silent, calls, load, draining, drain_in}")
        drain = actions.add_parser("drain", help="give a worker no new call and move the ones it has; returns when it has none")
        drain.add_argument("worker", metavar="WORKER", help="its id, the beginning of it, or its control address")
        drain.add_argument("--deadline", type=float, default=0.0, metavar="S", help="seconds within which its calls are moved (default 0: at once)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self._list(as_json=options["json"])
        else:
            self._drain(options["worker"], options["deadline"])

    def _list(self, *, as_json: bool) -> None:
        workers = placement.workers()
        if as_json:
            told = [{**asdict(one), "id": str(one.id), "lives": one.lives} for one in workers]
            self.stdout.write(json.dumps(told))
        else:
            self.stdout.write("\n".join(worded(one) for one in workers) or "no media worker")
        sys.exit(0 if any(one.lives and not one.draining for one in workers) else FAULT)

    def _drain(self, name: str, deadline: float) -> None:
        if deadline < 0:
            raise CommandError("--deadline is a number of seconds from 0 on", returncode=WRONG_USE)
        worker = self._named(name)
        others = [one for one in placement.workers() if one.lives and not one.draining and one.id != worker.id]
        if not worker.lives:
            self._fail(f"{worker.address} has been silent for {worker.silent:.0f} s: others take its calls as people come back")
        if worker.calls and not others:
            self._fail("no other media worker takes calls: start one first")
        placement.drain(worker.id, timedelta(seconds=deadline))
        ends = time.monotonic() + deadline + MARGIN
        while (left := self._calls_of(worker.id)) and time.monotonic() < ends:
            time.sleep(LOOK_EVERY)
        if left:
            self._fail(f"{worker.address} still carries {left} calls")
        self.stdout.write(f"{worker.address} carries no call and gets none")

    def _named(self, name: str) -> placement.Standing:
        found = [one for one in placement.workers() if one.address == name or str(one.id).startswith(name.lower())]
        if len(found) != 1:
            raise CommandError(f"{'no' if not found else 'more than one'} media worker is called {name}", returncode=WRONG_USE)
        return found[0]

    def _calls_of(self, worker_id: UUID) -> int:
        return sum(one.calls for one in placement.workers() if one.id == worker_id)

    def _fail(self, words: str) -> NoReturn:
        self.stderr.write(f"media: {words}")
        sys.exit(FAULT)


def worded(one: placement.Standing) -> str:
    """One worker's line."""
    state = "silent" if not one.lives else "draining" if one.draining else "takes calls"
    load = f"{one.load.forwarded:.0f} of {one.load.capacity} packets/s, {100 * one.load.core_share:.0f} % of a core"
    return f"{one.id}  {one.address}  {state}  {one.calls} calls  {load}"
