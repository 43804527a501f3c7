"""`python -m bench.worker_alone FORM [--no-kernel-filter]`: a media worker without a database, steered by JSON lines on its input.

`{"call", "participant", "message"}` admits whoever is not there yet and hands the message over; what the room says comes back in the same
form. `{"ask": "usage"}` is answered with CPU seconds, resident octets and counters of this process.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from calls.media.edge import Edge
from calls.media.room import Member, Room
from tenants.errors import Refused

LARGEST_LINE = 1 << 20


def resident() -> int:
    """Octets of this process that lie in memory now; where the system does not tell, the most that ever did."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Steered:
    """Rooms by name, and whoever was named in them."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.rooms: dict[str, Room] = {}
        self.members: dict[tuple[str, str], Member] = {}

    def take(self, line: dict[str, Any]) -> None:
        if line.get("ask") == "usage":
            say({"usage": {"cpu": time.process_time(), "resident": resident(), "counters": dict(self.edge.counters)}})
            return
        call, participant = line["call"], line["participant"]
        if call not in self.rooms:
            self.rooms[call] = Room(call, self.edge)
        if (call, participant) not in self.members:
            self._admit(call, participant)
        self._act(self.members[call, participant], line["message"])

    def _admit(self, call: str, participant: str) -> None:
        def send(message: dict[str, Any]) -> None:
            say({"call": call, "participant": participant, "message": message})

        self.members[call, participant] = self.rooms[call].admit(participant, f"person-{participant}", participant, "guest", send)

    def _act(self, member: Member, message: dict[str, Any] | None) -> None:
        try:
            if message and message["kind"] == "publish":
                member.publish(message)
            elif message:
                member.subscribed(message)
        except Refused as refused:
            self.edge.counters[refused.code] += 1


def say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def main(form: str, kernel_filter: bool) -> None:
    """Until the input ends."""
    edge = await Edge.bind(kernel_filter=kernel_filter, form=form)
    steered = Steered(edge)
    active = edge.kernel_filter is not None and edge.kernel_filter.active
    say({"port": edge.port, "kernel_filter": active})
    reader = asyncio.StreamReader(limit=LARGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        steered.take(json.loads(line))
    for room in steered.rooms.values():
        await room.close("ended")
    await edge.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], "--no-kernel-filter" not in sys.argv))
