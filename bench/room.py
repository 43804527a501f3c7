"""Rooms in which everybody is seen and heard and everything is recorded: what comes through, and what share of a core it takes.

A room of eight on a good network, and four rooms of four that lose 5 of 100 packets each way, asked for again; requests and repairs get lost too.
Everybody sends 360p and a voice at the rates of a browser. The server is our relay as `bench media` runs it, with the recorder on every track; the
journals are read afterwards.
"""

from __future__ import annotations

import statistics

from .media.build import NotInstalled, library
from .media.contenders.ours import Ours
from .media.forms import FORMS
from .media.loads import Load, Pace
from .media.matrix import Run, one_run
from .report import Report

REPETITIONS = 3
SHORTEST = 0.5  # seconds of one window
PACES = (Pace("audio", 50, 100, 1, 0), Pace("video", 75, 800, 3, 3))  # a packet each 20 ms; 25 pictures a second of three packets
ROOMS = {
    "room of 8": Load("room of 8", 8, 7, 0, meeting=8, several=PACES, feedback=True, recorded=True),
    "4 rooms of 4, 5 % loss": Load("4 rooms of 4", 16, 3, 0, meeting=4, several=PACES, feedback=True, recorded=True, loss=0.05),
}


def measure(report: Report, seconds: float) -> None:
    """Each of our forms in each setting: three windows that take about `seconds` together, one short one with 0 seconds."""
    try:
        library("traffic", "-pthread")
    except NotInstalled as lack:
        report.missing |= dict.fromkeys(FORMS, f"this machine lacks {lack}")
        return
    window = max(SHORTEST, seconds / REPETITIONS / len(ROOMS))
    for form in FORMS:
        ours = Ours(form)
        if reason := ours.missing():
            report.missing[form] = reason
            continue
        for name, load in ROOMS.items():
            runs = [one_run(ours, load, window) for _ in range(REPETITIONS if seconds else 1)]
            _tell(report, f"{form}, {name}", runs)


def _tell(report: Report, what: str, runs: list[Run]) -> None:
    """A picture is lost with any of its packets, so at most so many pictures are as packets are, each in another one."""
    lost = [min(1.0, max(0.0, PACES[1].frame * run.counted.picture_loss)) for run in runs]
    report.add(f"{what}: pictures lost, at most", 100 * statistics.median(lost), "%")
    report.add(f"{what}: packets of pictures lost", 100 * statistics.median(max(0.0, run.counted.picture_loss) for run in runs), "%")
    report.add(f"{what}: sound lost", 100 * statistics.median(max(0.0, run.counted.sound_loss) for run in runs), "%")
    kept = [run.kept for run in runs if run.kept is not None]
    shares = [1 - one.shown * PACES[1].frame / one.picture_packets for one in kept if one.picture_packets]
    report.add(f"{what}: packets of pictures not recorded", 100 * statistics.median(one.picture_loss for one in kept), "%")
    report.add(f"{what}: pictures not to be played", 100 * max(0.0, statistics.median(shares)), "%")
    report.add(f"{what}: sound not recorded", 100 * statistics.median(one.sound_loss for one in kept), "%")
    report.add(f"{what}: core", statistics.median(run.core for run in runs), "cores")
    report.add(f"{what}: p99 latency", statistics.median(run.counted.latencies[2] for run in runs), "ms")
    for name in ("wanted", "forwarded", "repaired", "bad"):
        report.add(f"{what}: {name}", sum(getattr(run.counted, name) for run in runs), "packets")
