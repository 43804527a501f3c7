"""One run of one contender under one load, and all of them, interleaved, so that a slow minute of the machine meets everybody."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..site import ROOT
from .contenders import SERVER_CORE, Contender, cpu_seconds, first_thread_seconds, load_core
from .load import Counted, Running
from .loads import Load
from .switching import Switching
from .taping import Kept

WARM_SECONDS = 0.5
PATIENCE = 60.0  # seconds for the tight limit


@dataclass(frozen=True)
class Run:
    """What one window found, and the CPU seconds that the whole server process took for it and for each joined transport.

    `kept`: what was recorded in it and in the warm-up; None where nothing was to be.
    `threads_cpu`: those of its threads but the first, which carries the loop.
    """

    counted: Counted
    cpu: float
    threads_cpu: float
    seconds: float
    join_cpu: float
    kept: Kept | None
    asked: int = 0  # times that a listener was to be sent another layer

    @property
    def per_cpu_second(self) -> float:
        """Forwarded packets per second of CPU."""
        return self.counted.forwarded / self.cpu

    @property
    def core(self) -> float:
        """The share of a core."""
        return self.cpu / self.seconds


async def _run(contender: Contender, load: Load, seconds: float) -> Run:
    try:
        pid = await contender.start(load)
        before = cpu_seconds(pid)
        joined = await contender.join(load)
        transports = {stream.transport for stream in joined.streams} | {ear.transport for ear in joined.ears}
        join_cpu = (cpu_seconds(pid) - before) / len(transports)
        running = Running(load, joined.streams, joined.ears)
        switching = Switching(contender, load, joined.ears)
        await asyncio.gather(asyncio.to_thread(running.run, WARM_SECONDS), switching.during(WARM_SECONDS))
        before, before_of_first = cpu_seconds(pid), first_thread_seconds(pid)
        counted, asked = await asyncio.gather(asyncio.to_thread(running.run, seconds), switching.during(seconds))
        cpu, of_first = cpu_seconds(pid) - before, first_thread_seconds(pid) - before_of_first
        kept = await contender.kept(load)
        running.close()
        for transport in transports:
            await transport.close()
        return Run(counted, cpu, cpu - of_first, seconds, join_cpu, kept, asked)
    finally:
        await contender.stop()


def one_run(contender: Contender, load: Load, seconds: float) -> Run:
    """With the load on its own core, where there are two."""
    with load_core():
        return asyncio.run(_run(contender, load, seconds))


Runs = dict[tuple[str, str], list[Run]]


def interleaved(contenders: Sequence[Contender], loads: Iterable[Load], repetitions: int, seconds: float) -> Runs:
    """Every contender under every load that it carries, `repetitions` times, in turns. By contender and load."""
    found: Runs = defaultdict(list)
    for _ in range(repetitions):
        for load in loads:
            for contender in contenders:
                if contender.carries(load) and not contender.lacks(load):
                    run = one_run(contender, load, seconds)
                    found[contender.name, load.name].append(run)
                    print(line(contender.name, load.name, run), flush=True)
    return found


def line(contender: str, load: str, run: Run) -> str:
    """One run as it goes by."""
    counted = run.counted
    words = f"{load} {contender}: {counted.forwarded} of {counted.wanted} forwarded, {run.per_cpu_second:.0f} per CPU-second, {run.core:.2f} core"
    words += f", p50 {counted.latencies[0]:.2f} p99 {counted.latencies[2]:.2f} ms, {counted.bad} bad"
    return f"{words}, {counted.switches} of {run.asked} switches, {counted.broken} out of step" if run.asked else words


def median(runs: Sequence[Run]) -> float:
    """Of forwarded packets per CPU-second."""
    return statistics.median(run.per_cpu_second for run in runs)


def tight_limit() -> float | None:
    """In a process of its own on the servers' core: the median of five turns; None where the kernel cannot cut datagrams."""
    command = [sys.executable, "-m", "bench.media.limit"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE})
    )
    found = float(done.stdout)
    return found if found > 0 else None
