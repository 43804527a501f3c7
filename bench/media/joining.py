"""What joining costs our server, what a storm of people meets, and what those who have left leave behind in memory."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calls.media import client, sdp
from calls.media.forward import HISTORY

from ..report import Report
from .contenders import cpu_seconds, few_at_once, load_core
from .contenders.ours import Ours
from .forms import FORMS
from .loads import LOADS, Load
from .people import FIRST_SSRC, Door, Person

PICTURES_A_SECOND = 25
KEY_FRAME = b"\x10\x00" + bytes(200)  # a whole picture that needs none before it, as far as a relay reads (RFC 7741)
SETTLING = 1.0  # seconds until goodbyes are said


@dataclass(frozen=True)
class Plan:
    """How much is done: repetitions of the join, people of the storm and its seconds, and people who come and go, some of them first."""

    load: Load
    repetitions: int
    storm: int
    storm_seconds: float
    hosts: int
    visits: int
    first_visits: int


WHOLE = Plan(LOADS["S1"], 3, 100, 10.0, 10, 1000, 100)
SHORT = Plan(Load("joins", 2, 1, 1000), 1, 6, 0.5, 2, 8, 4)


def measure(report: Report, seconds: float) -> None:
    """Every form that this build has; with 0 seconds all of it small."""
    plan = WHOLE if seconds else SHORT
    for form in FORMS:
        if reason := Ours(form).missing():
            report.missing[form] = reason
            continue
        with load_core():
            costs = [asyncio.run(_cost(form, plan.load)) for _ in range(plan.repetitions)]
            waits, storm_cpu = asyncio.run(_storm(form, plan))
            first, last = asyncio.run(_memory(form, plan))
        report.add(f"{form}: join of a transport", 1000 * statistics.median(costs), "CPU-ms")
        report.add(f"{form}: storm of {plan.storm} failures", plan.storm - len(waits), "people")
        report.add(f"{form}: storm of {plan.storm}, server", storm_cpu, "CPU-s")
        if waits:
            report.spread(f"{form}: storm of {plan.storm}, until the first picture", waits, "s")
        report.add(f"{form}: memory after {plan.first_visits} visits", first, "MiB")
        report.add(f"{form}: memory after {plan.visits} visits", last, "MiB")
        report.add(f"{form}: memory growth", 100 * (last / first - 1), "%")


async def _cost(form: str, load: Load) -> float:
    """CPU seconds of the server for each transport that joins: ICE, DTLS, signalling."""
    ours = Ours(form)
    try:
        pid = await ours.start(load)
        before = cpu_seconds(pid)
        joined = await ours.join(load)
        transports = {stream.transport for stream in joined.streams} | {ear.transport for ear in joined.ears}
        cost = (cpu_seconds(pid) - before) / len(transports)
        for transport in transports:
            await transport.close()
        return cost
    finally:
        await ours.stop()


@asynccontextmanager
async def _hosted(form: str, hosts: int) -> AsyncIterator[tuple[Door, int]]:
    """A server with one host in each room, whose camera runs; and its process id."""
    door = Door()
    cameras: list[asyncio.Task[None]] = []
    people: list[Person] = []
    try:
        pid = await door.start(form)
        for number in range(hosts):
            host = Person(door, f"host{number}")
            people.append(host)
            await host.enter(f"room{number}")
            sending = client.Sending("cam", "0", FIRST_SSRC + number)
            await host.publish([sending])
            await _fill(host, sending)
            cameras.append(asyncio.create_task(_show(host, sending)))
        yield door, pid
    finally:
        for camera in cameras:
            camera.cancel()
        for host in people:
            await host.close()
        await door.stop()


async def _fill(host: Person, sending: client.Sending) -> None:
    """As many pictures as the server keeps at most, so that what it takes for them is not taken for growth later."""
    for number in range(HISTORY):
        _send_picture(host, sending)
        if number % 16 == 0:
            await asyncio.sleep(0.002)


async def _show(host: Person, sending: client.Sending) -> None:
    while True:
        _send_picture(host, sending)
        await asyncio.sleep(1 / PICTURES_A_SECOND)


def _send_picture(host: Person, sending: client.Sending) -> None:
    host.pub.send(sending.packet(sending.number, KEY_FRAME, sending.number * sdp.CLOCK_RATES["video"] // PICTURES_A_SECOND))
    sending.number = (sending.number + 1) & 0xFFFF


class Visitor(Person):
    """Somebody who publishes a microphone and waits for a picture; with it this machine, which plays everybody, has done enough for them."""

    def __init__(self, door: Door, name: str) -> None:
        super().__init__(door, name, self._heard)
        self._ssrc = FIRST_SSRC + 10_000
        self._seen_at = 0.0

    def _heard(self, clear: bytes) -> None:
        if not self._seen_at and clear[1] & 0x7F == sdp.PAYLOAD_TYPES["video"]:
            self._seen_at = time.perf_counter()
            self.note()

    async def arrive(self, room: str) -> float:
        """Seconds from the first message until the first picture. Raises TimeoutError."""
        began = time.perf_counter()
        await self.enter(room)
        await self.publish([client.Sending("mic", "0", self._ssrc)])
        await self.until(lambda: self._seen_at > 0)
        self.pub.checking = self.sub.checking = False  # the server asks by itself, and is answered
        self.sub.deaf = True
        return self._seen_at - began


async def _storm(form: str, plan: Plan) -> tuple[list[float], float]:
    """The waits of all who saw a picture, and the server's CPU seconds until the last of them; everybody stays."""
    async with _hosted(form, plan.hosts) as (door, pid):
        before = cpu_seconds(pid)
        visitors = [Visitor(door, f"guest{number}") for number in range(plan.storm)]
        coming = []
        for number, visitor in enumerate(visitors):
            coming.append(asyncio.create_task(visitor.arrive(f"room{number % plan.hosts}")))
            await asyncio.sleep(plan.storm_seconds / plan.storm)
        found = await asyncio.gather(*coming, return_exceptions=True)
        spent = cpu_seconds(pid) - before
        for visitor in visitors:
            await visitor.close()
        return [wait for wait in found if isinstance(wait, float)], spent


async def _memory(form: str, plan: Plan) -> tuple[float, float]:
    """Of the server in MiB, after the first visits and after all of them."""
    async with _hosted(form, plan.hosts) as (door, pid):
        await few_at_once(_visits(door, 0, plan.first_visits, plan.hosts))
        await asyncio.sleep(SETTLING)
        first = _resident(pid)
        await few_at_once(_visits(door, plan.first_visits, plan.visits, plan.hosts))
        await asyncio.sleep(SETTLING)
        return first, _resident(pid)


def _visits(door: Door, start: int, end: int, hosts: int) -> list[Coroutine[Any, Any, None]]:
    return [_visit(door, number, f"room{number % hosts}") for number in range(start, end)]


async def _visit(door: Door, number: int, room: str) -> None:
    visitor = Visitor(door, f"guest{number}")
    await visitor.arrive(room)
    await visitor.leave()


def _resident(pid: int) -> float:
    """Resident memory in MiB, as the kernel counts it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
