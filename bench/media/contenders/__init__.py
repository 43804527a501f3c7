"""Who is measured: each starts a server on core 0, joins transports to it, and says how much CPU it took."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..load import Ear, Stream
from ..loads import Load
from ..taping import Kept

SERVER_CORE, LOAD_CORE = 0, 1
PATIENCE = 30.0  # seconds until a server that does not start or end counts as failed
AT_ONCE = 8  # joins

Found = TypeVar("Found")


@dataclass
class Joined:
    """What is ready to be loaded. `count` transports; `cpu` seconds that the server took to join them."""

    streams: list[Stream] = field(default_factory=list)
    ears: list[Ear] = field(default_factory=list)


class Contender(Protocol):
    """One server in one configuration, by `name`."""

    name: str

    def missing(self) -> str:
        """What this machine lacks to run it; nothing when it can. Builds what must be built."""

    def carries(self, load: Load) -> bool:
        """Can it be given this load?"""

    async def start(self, load: Load) -> int:
        """Start the server; returns its process id."""

    async def join(self, load: Load) -> Joined:
        """Join everybody that the load needs."""

    def lacks(self, load: Load) -> str:
        """What it does not have that this load is about, and so is not measured under it; nothing when it has all."""

    async def switch(self, listener: str, layer: int) -> None:
        """Send this listener, by its name, another layer from now on."""

    async def kept(self, load: Load) -> Kept | None:
        """What was recorded of the load, which is over; None where nothing was to be."""

    async def stop(self) -> None:
        """End the server. Harmless when it never started."""


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far: the kernel's own clock of it (clock_getcpuclockid), not ticks."""
    return time.clock_gettime((~pid << 3) | 2)


def first_thread_seconds(pid: int) -> float:
    """CPU time of the first thread of a process so far, by the scheduler's account."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def load_core() -> Iterator[None]:
    """This process on the load's core, where there are two."""
    before = os.sched_getaffinity(0)
    if {SERVER_CORE, LOAD_CORE} <= before:
        os.sched_setaffinity(0, {LOAD_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def started(command: Sequence[str], *, env: dict[str, str] | None = None, pipes: bool = False) -> asyncio.subprocess.Process:
    """A server process on its core; without `pipes` what it says is dropped."""
    channel = asyncio.subprocess.PIPE if pipes else asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **(env or {})},
        stdin=channel,
        stdout=channel,
        stderr=None if pipes else asyncio.subprocess.DEVNULL,
        limit=1 << 20,
        preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
    )


def free_port() -> int:
    """A TCP port of loopback that nothing has at this moment."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


async def ended(process: asyncio.subprocess.Process | None) -> None:
    """Ask it to end, and see to it."""
    if process is None or process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()


async def few_at_once(works: Iterable[Coroutine[Any, Any, Found]]) -> list[Found]:
    """All of them, in order, a few at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(work: Coroutine[Any, Any, Found]) -> Found:
        async with places:
            return await work

    return await asyncio.gather(*(one(work) for work in works))
