"""`python -m bench.media.relay FORM [--blocked] [--recorded]`: our server as it is measured: the worker's edge and rooms, without its database.

Told and telling one JSON object a line. In: `{"room", "admit"}`, `{"from", "message"}`, `{"from", "layer"}`, `{"from", "leave"}`, `{"finish": true}`.
Out: `{"ready": form}` first, then `{"to", "message"}`, and to `finish` `{"kept"}`: what was recorded, which ends then. Ends when its input
does. Runs as the worker does: one loop (uvloop), the packet path of the form that was asked for.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from calls.media.edge import Edge
from calls.media.room import Room

from .forms import edge_of
from .taping import Taping

BLOCKED_SECONDS, FREE_SECONDS = 0.04, 0.2
RECORDER_TICK = 0.1  # seconds
LARGEST_LINE = 1 << 20


class Relay:
    """The rooms of one run, and who is told what."""

    def __init__(self, edge: Edge, taping: Taping) -> None:
        self._edge, self._taping = edge, taping
        self._rooms: dict[str, Room] = {}
        self._of: dict[str, Room] = {}
        self._leaving: list[asyncio.Future[None]] = []

    def obey(self, order: dict[str, Any]) -> None:
        if "admit" in order:
            room = self._rooms.setdefault(order["room"], Room(order["room"], self._edge))
            who = order["admit"]
            self._of[who] = room
            room.admit(who, f"person-{who}", who, "guest", lambda message: tell({"to": who, "message": message}))
            return
        if "leave" in order:
            self._leaving.append(asyncio.ensure_future(self._of.pop(order["from"]).remove(order["from"], "left")))
            self._leaving = [task for task in self._leaving if not task.done()]
            return
        if "finish" in order:
            tell({"kept": asdict(self._taping.finish())})
            return
        room = self._of[order["from"]]
        member = room.members[order["from"]]
        if "layer" in order:
            for track in member.subscriber.received():
                room.path.choose(track.key, member.participant, order["layer"])
            return
        message = order["message"]
        {"publish": member.publish, "subscribed": member.subscribed, "show": member.show}[message["kind"]](message)

    def record(self) -> None:
        """To be called again and again while everything is recorded."""
        self._taping.turn(self._rooms.values())


def tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


async def _recording(relay: Relay) -> None:
    while True:
        relay.record()
        await asyncio.sleep(RECORDER_TICK)


async def _blocking() -> None:
    """What a task does that never awaits: the loop stands still."""
    while True:
        await asyncio.sleep(FREE_SECONDS)
        time.sleep(BLOCKED_SECONDS)


async def _serve(form: str, folder: Path, *, blocked: bool, recorded: bool) -> None:
    edge = await edge_of(form)
    relay = Relay(edge, Taping(folder))
    tasks = [asyncio.create_task(_recording(relay))] if recorded else []
    tasks += [asyncio.create_task(_blocking())] if blocked else []
    reader = asyncio.StreamReader(LARGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tell({"ready": form})
    while line := await reader.readline():
        relay.obey(json.loads(line))
    for task in tasks:
        task.cancel()


def main(form: str, *options: str) -> None:
    with tempfile.TemporaryDirectory(prefix="cleac-bench-", ignore_cleanup_errors=True) as folder:
        uvloop.run(_serve(form, Path(folder), blocked="--blocked" in options, recorded="--recorded" in options))
    os._exit(0)  # what is left are goodbyes to ends that are gone; the journals are nobody's


if __name__ == "__main__":
    main(*sys.argv[1:])
