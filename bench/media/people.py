"""Our server as a process, and people in its rooms who say what a page says."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from calls.media import client

from .contenders import PATIENCE, ended, started
from .taping import Kept
from .transports import Transport

FIRST_SSRC = 1000


class Door:
    """The relay's process. Whom it tells something is in `people`."""

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._kept: asyncio.Future[Kept] | None = None

    async def start(self, form: str, options: Sequence[str] = ()) -> int:
        """Returns its process id. Raises RuntimeError when it does not start."""
        self._process = await started([sys.executable, "-m", "bench.media.relay", form, *options], pipes=True)
        ready = await asyncio.wait_for(self._heard(), PATIENCE)
        if ready is None or ready.get("ready") != form:
            raise RuntimeError(f"the relay did not start: {ready}")
        self._reading = asyncio.create_task(self._read())
        return self._process.pid

    async def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        await ended(self._process)
        self._process = None
        self.people.clear()

    async def finish(self) -> Kept:
        """End what is recorded; says what was kept. Raises TimeoutError."""
        self._kept = asyncio.get_running_loop().create_future()
        self.say({"finish": True})
        return await asyncio.wait_for(self._kept, PATIENCE)

    def say(self, order: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _heard(self) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        found: dict[str, Any] | None = json.loads(line) if line else None
        return found

    async def _read(self) -> None:
        while (heard := await self._heard()) is not None:
            if self._kept is not None and "kept" in heard:
                self._kept.set_result(Kept(**heard["kept"]))
            elif heard["to"] in self.people:
                self.people[heard["to"]].hear(heard["message"])


class Person:
    """One participant. Answers every offer at once; `offer` is the newest one, `states` what media may flow over."""

    def __init__(self, door: Door, name: str, on_rtp: Callable[[bytes], None] = lambda clear: None) -> None:
        self.name = name
        self.pub, self.sub = Transport(), Transport(on_rtp)
        self.answered = ""
        self.offer: dict[str, Any] = {"tracks": [], "sdp": ""}
        self.states: set[str] = set()
        self._door = door
        self._changed = asyncio.Event()
        for end in (self.pub, self.sub):
            end.dtls.on("statechange", self.note)

    def note(self) -> None:
        """Something has changed: whoever waits looks again."""
        self._changed.set()

    async def enter(self, room: str) -> None:
        await self.pub.bind()
        await self.sub.bind()
        self._door.people[self.name] = self
        self._door.say({"room": room, "admit": self.name})

    def say(self, **message: Any) -> None:
        self._door.say({"from": self.name, "message": message})

    def hear(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "published":
            self.answered = message["sdp"]
            self.pub.learn(self.answered)
        elif kind == "offer":
            self.offer = message
            self.sub.learn(message["sdp"])
            self.say(kind="subscribed", rev=message["rev"], sdp=client.answer(self.sub, message["sdp"]))
        elif kind == "state" and message["state"] == "connected":
            self.states.add(message["pc"])
        self.note()

    async def publish(self, sendings: Sequence[client.Sending]) -> None:
        """Offer these sources, and return when they may be sent. Raises TimeoutError."""
        tracks = [{"mid": one.mid, "source": one.source} for one in sendings]
        self.say(kind="publish", rev=1, sdp=client.offer(self.pub, sendings), tracks=tracks)
        await self.until(lambda: bool(self.answered) and self.pub.connected and "pub" in self.states)

    async def receive(self, tracks: int) -> None:
        """Return when so many tracks flow to this person. Raises TimeoutError."""
        await self.until(lambda: len(self.offer["tracks"]) >= tracks and self.sub.connected and "sub" in self.states)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def leave(self) -> None:
        """Off the roster, and both sockets closed."""
        self._door.say({"from": self.name, "leave": True})
        self._door.people.pop(self.name, None)
        await self.close()

    async def close(self) -> None:
        await self.pub.close()
        await self.sub.close()
