"""What attacks at the media port cost a running call, and the worker that carries it.

The worker is a process of its own (`worker_alone`), with each form of the packet path, once with the filter that the kernel holds on its socket and
once without. Gail speaks to Gus, 50 packets a second. Strangers send from a third process (`flood`), from 64 addresses that nobody proved:
40,000 packets of junk and 5,000 checks a second, or malformed hellos during 200 handshakes. Hana, who is in the call, then sends twenty times
what a camera and a microphone bring, and after that every packet under another SSRC.

*Audio frames*: how many of 50 a second arrived, lost ones that were asked for again included; the worst second counts as well. *Core*: CPU
time of the whole worker by the clock. Over loopback the kernel does the receiver's part, its filter too, on the sender's account, so on a network
card the worker's share is larger by that. *Memory*: what of the worker lies in memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from calls import protocol
from calls.media import forms, sdp
from calls.media.room import Room
from calls.protocol import reading
from tenants.errors import Refused
from tests.media.peers import PATIENCE, Peer
from tests.media.test_sdp import GOOD, section, session, text

from .report import Report
from .worker_alone import LARGEST_LINE

RATE = 50  # audio packets a second
TIMES = 20
PICTURE = 120  # packets a second of an ordinary camera
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """How much is done: packets a second of each kind, connections and how many of them at a time, SSRCs, and the least seconds of a part."""

    junk: int
    stun: int
    hellos: int
    handshakes: int
    at_once: int
    rotated: int
    seconds: float


WHOLE = Plan(40_000, 5_000, 5_000, 200, 20, 100_000, 3.0)
SHORT = Plan(2_000, 500, 500, 4, 2, 2_000, 1.0)

Hear = Callable[[dict[str, Any]], None]


@dataclass
class Usage:
    """What the worker told of itself, and when (perf_counter)."""

    at: float
    cpu: float
    resident: int
    counters: dict[str, int]

    def share_since(self, before: Usage) -> float:
        """Of one core, in percent."""
        return 100 * (self.cpu - before.cpu) / (self.at - before.at)


class Worker:
    """The process that is attacked, seen from here."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, kernel_filter: bool) -> None:
        self.port, self.kernel_filter = port, kernel_filter
        self._process = process
        self._hear: dict[tuple[str, str], Hear] = {}
        self._usage: asyncio.Queue[Usage] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while line := await _line(self._process):
            if usage := line.get("usage"):
                self._usage.put_nowait(Usage(time.perf_counter(), **usage))
            else:
                self._hear[line["call"], line["participant"]](line["message"])

    def say(self, words: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")

    def listen(self, call: str, participant: str, hear: Hear) -> None:
        """Admit somebody; what the room tells them goes to `hear`."""
        self._hear[call, participant] = hear
        self.say({"call": call, "participant": participant, "message": None})

    async def usage(self) -> Usage:
        self.say({"ask": "usage"})
        return await asyncio.wait_for(self._usage.get(), PATIENCE)

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next line of a child; empty when it has ended."""
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(await process.stdout.readline() or b"{}")
    return found


class Distant:
    """A room of the worker, for a `Peer`; and its member, to whom messages are handed."""

    def __init__(self, worker: Worker, call: str) -> None:
        self._worker, self._call, self._participant = worker, call, ""

    def admit(self, participant: str, person_id: str, name: str, role: str, hear: Hear) -> Distant:
        member = Distant(self._worker, self._call)
        member._participant = participant
        self._worker.listen(self._call, participant, hear)
        return member

    def publish(self, message: dict[str, Any]) -> None:
        self._worker.say({"call": self._call, "participant": self._participant, "message": message})

    subscribed = publish


@dataclass
class Call:
    """Gail, who speaks, Gus, who listens, and Hana."""

    hana: Peer
    gail: Peer
    gus: Peer


@dataclass
class Heard:
    """How many of Gail's 50 packets a second reached Gus: on the whole, and in the worst second."""

    mean: float
    worst: int


@asynccontextmanager
async def _worker(form: str, *, kernel_filter: bool) -> AsyncIterator[Worker]:
    command = [sys.executable, "-m", "bench.worker_alone", form, *([] if kernel_filter else ["--no-kernel-filter"])]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=LARGEST_LINE)
    opened = await _line(process)
    worker = Worker(process, opened["port"], opened["kernel_filter"])
    yield worker
    await worker.close()


@asynccontextmanager
async def _flood(worker: Worker, **rates: int) -> AsyncIterator[dict[str, float]]:
    """Strangers send while this is open; afterwards it holds how many packets a second they really sent."""
    command = [sys.executable, "-m", "bench.flood", str(worker.port), *(f"{kind}={rate}" for kind, rate in rates.items())]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    done: dict[str, float] = {}
    await asyncio.sleep(0.5)  # until it has started
    yield done
    assert process.stdin is not None
    process.stdin.close()
    told = await _line(process)
    await process.wait()
    done |= {kind: sent / told["seconds"] for kind, sent in told["sent"].items()}


@asynccontextmanager
async def _call(worker: Worker) -> AsyncIterator[Call]:
    room = cast(Room, Distant(worker, "call"))
    call = Call(Peer(room, "hana"), Peer(room, "gail"), Peer(room, "gus"))
    await call.hana.publish("mic", "cam")
    await call.gail.publish("mic")
    while not call.gus.serials("gail", "mic"):
        call.gail.send("mic", 0)
        await asyncio.sleep(0.05)
    yield call
    for peer in (call.hana, call.gail, call.gus):
        await peer.close()


async def _spoken(call: Call, seconds: float, first: int) -> Heard:
    """Gail speaks for so long, from this serial number on; whatever came within a second after the end counts."""
    count, began = int(seconds) * RATE, time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        call.gail.send("mic", first + number)
    await asyncio.sleep(1)
    came = call.gus.serials("gail", "mic")
    each = [len(came & set(range(start, start + RATE))) for start in range(first, first + count, RATE)]
    return Heard(sum(each) / len(each), min(each))


async def _measured(report: Report, worker: Worker, name: str, heard: Awaitable[Heard]) -> None:
    before = await worker.usage()
    found = await heard
    after = await worker.usage()
    report.add(f"{name}: audio frames", found.mean, "of 50/s")
    report.add(f"{name}: audio frames, worst second", found.worst, "of 50/s")
    report.add(f"{name}: core", after.share_since(before), "%")
    report.add(f"{name}: memory grew by", (after.resident - before.resident) / MEGABYTE, "MB")
    for counter in ("stranger", "stun-unknown", "stun-budget", "track-over-rate", "ssrc-undeclared"):
        if dropped := after.counters.get(counter, 0) - before.counters.get(counter, 0):
            report.add(f"{name}: dropped as {counter}", dropped / (after.at - before.at), "packets/s")


async def _over_rate(call: Call, seconds: float) -> Heard:
    """Hana sends twenty times what a camera and a microphone bring, while Gail speaks."""
    done = asyncio.Event()

    async def flood() -> None:
        began, sent = time.perf_counter(), {"mic": 0, "cam": 0}
        while not done.is_set():
            for source, rate, size in (("mic", RATE * TIMES, 80), ("cam", PICTURE * TIMES, 1100)):
                while sent[source] < rate * (time.perf_counter() - began):
                    sent[source] += 1
                    s = call.hana.sending[source]
                    s.number = (s.number + 1) & 0xFFFF
                    call.hana.pub.send(s.packet(s.number, b"\x10\x01" + bytes(size), sent[source]))
            await asyncio.sleep(0.001)

    task = asyncio.create_task(flood())
    heard = await _spoken(call, seconds, 2_000_000)
    done.set()
    await task
    return heard


async def _rotated(call: Call, plan: Plan) -> Heard:
    """A participant's own address sends every packet under another SSRC, none of which was declared, while Gail speaks."""

    async def rotate() -> None:
        for ssrc in range(1, plan.rotated + 1):
            call.hana.pub.transport.sendto(b"\x80\x60" + bytes(6) + ssrc.to_bytes(4) + bytes(60), call.hana.pub.server)
            if ssrc % 20 == 0:
                await asyncio.sleep(0.001)

    heard, _ = await asyncio.gather(_spoken(call, max(plan.seconds, plan.rotated / 20 * 0.0012), 3_000_000), rotate())
    return heard


async def _handshakes(report: Report, worker: Worker, name: str, plan: Plan) -> None:
    """Many connections, some at a time, while a third address sprays hellos."""
    connected, took = 0, list[float]()

    async def connect(number: int) -> None:
        nonlocal connected
        peer = Peer(cast(Room, Distant(worker, f"race-{number}")), "gail")
        began = time.perf_counter()
        try:
            await peer.publish("mic")
        except TimeoutError:
            return
        finally:
            await peer.close()
        connected += 1
        took.append(time.perf_counter() - began)

    async with _flood(worker, hello=plan.hellos) as sent:
        for first in range(0, plan.handshakes, plan.at_once):
            await asyncio.gather(*(connect(number) for number in range(first, first + plan.at_once)))
    report.add(f"{name}: hellos sprayed", sent["hello"], "packets/s")
    report.add(f"{name}: handshakes that succeeded of {plan.handshakes}", connected, "connections")
    report.spread(f"{name}: connected after", took, "s")


async def _attacked(report: Report, plan: Plan, form: str, *, kernel_filter: bool) -> None:
    async with _worker(form, kernel_filter=kernel_filter) as worker:
        if worker.kernel_filter is not kernel_filter:
            print("this kernel lets no filter be set: the figures with it are missing", file=sys.stderr)
            return
        name = f"{form}, kernel filter" if kernel_filter else f"{form}, edge alone"
        async with _call(worker) as call:
            await _measured(report, worker, f"{name}, quiet", _spoken(call, plan.seconds, 1))
            async with _flood(worker, junk=plan.junk, stun=plan.stun) as sent:
                await _measured(report, worker, f"{name}, junk and STUN", _spoken(call, plan.seconds, 1_000_000))
            for kind, rate in sent.items():
                report.add(f"{name}, {kind} sent", rate, "packets/s")
            await _measured(report, worker, f"{name}, participant at {TIMES} times", _over_rate(call, plan.seconds))
            await _measured(report, worker, f"{name}, {plan.rotated} SSRCs", _rotated(call, plan))
        await _handshakes(report, worker, f"{name}, hello race", plan)


def _descriptions(report: Report) -> None:
    """CPU time, for which the loop stands still, of a description that is refused: 400 KB of it, and 32 KB in very many lines, read to the end."""
    large = GOOD + "".join(f"a=ssrc:{n} cname:x\r\n" for n in range(20_000))
    wide = text(session("0"), section("0"), *[[f"a=x{n}:{'y' * 8}"] for n in range(1_850)])
    framed = json.dumps({"kind": "publish", "rev": 1, "sdp": large, "tracks": []})
    cases: dict[str, tuple[str, Callable[[str], object]]] = {
        f"SDP of {len(large) // 1000} KB refused": (large, lambda offered: sdp.parse_offer(offered, {})),
        f"message with SDP of {len(large) // 1000} KB refused": (framed, lambda offered: reading.parse(offered, protocol.CALL_SENT)),
        f"SDP of {len(wide) // 1000} KB and {wide.count(chr(10))} lines read": (wide, lambda offered: sdp.parse_offer(offered, {})),
    }
    for name, (offered, read) in cases.items():
        took = list[float]()
        for _ in range(50):
            began = time.thread_time()
            with suppress(Refused):
                read(offered)
            took.append(1000 * (time.thread_time() - began))
        report.spread(name, took, "ms")


def measure(report: Report, seconds: float) -> None:
    """Each part lasts about a tenth of the time, three seconds at least; with 0 seconds all of it is small."""
    plan = replace(WHOLE, seconds=max(WHOLE.seconds, seconds / 10)) if seconds else SHORT
    report.add("processor load before", os.getloadavg()[0], "processes")
    if reason := forms.in_the_way():
        print(f"the native form is missing: {reason}", file=sys.stderr)
    for form in ("python",) if reason else ("native", "python"):
        for kernel_filter in (True, False):
            asyncio.run(_attacked(report, plan, form, kernel_filter=kernel_filter))
    _descriptions(report)
