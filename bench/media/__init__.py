"""Packets forwarded per second of CPU, by our server in each form and by its peers, under the same loads on the same core.

Method: the server is pinned to one core, the load to the other; joins are real ICE and DTLS-SRTP (AES-128-GCM); every packet that should
come out is counted, one in 32 is opened, compared octet by octet, and its age taken. Cost is the CPU clock of the whole server process,
over a window after a warm-up. Contenders take turns within each repetition. Figures are medians; `ratios` are of medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ..report import Report, WrongUse
from . import readme, targets
from .build import NotInstalled, library
from .contenders import Contender
from .contenders.janus import Janus
from .contenders.ours import Ours
from .contenders.pion import Pion
from .forms import FORMS
from .loads import LOADS, Load
from .matrix import Run, Runs, interleaved, median, tight_limit

SHORT_SECONDS = 0.5
REPETITIONS = 3
SHORT = ("S2", "S7")
LIMITED = "S5"
OF_LAYERS = (
    ("switches", "switches", "switches"),
    ("landed", "switches seen whole", "switches"),
    ("broken", "packets out of step", "packets"),
    ("skipped", "pictures left out at switches", "pictures"),
)
PEERS = ("janus-packaged", "janus-tuned", "pion")


def everybody() -> list[Contender]:
    """All contenders, ours first."""
    return [*(Ours(form) for form in FORMS), Janus("janus-packaged", tuned=False), Janus("janus-tuned", tuned=True), Pion()]


def measure(
    report: Report,
    seconds: float,
    *,
    loads: Sequence[str] = (),
    contenders: Sequence[str] = (),
    repetitions: int = REPETITIONS,
    write: bool = False,
) -> None:
    """All loads and contenders, or those named, in windows of so many seconds. What misses a target stands in `report.missed`.

    With 0 seconds the short form: two loads, our own forms, one repetition of half a second, and no targets, for which that is too short.
    `write` puts the table into README.md. Raises WrongUse for a name that nothing has, and for less than nothing.
    """
    short = seconds == 0
    if seconds < 0:
        raise WrongUse("a window of so few seconds cannot be")
    if unknown := {*loads} - {*LOADS} | {*contenders} - {*FORMS, *PEERS}:
        raise WrongUse(f"nothing is called {', '.join(sorted(unknown))}")
    chosen = [LOADS[name] for name in loads or (SHORT if short else LOADS)]
    able = _able(report, contenders or (*FORMS, *(() if short else PEERS)))
    runs = interleaved(able, chosen, 1 if short else repetitions, SHORT_SECONDS if short else seconds)
    for (name, load), found in runs.items():
        _tell(report, case_of(name, LOADS[load]), found)
    _compare(report, runs, chosen)
    if not short and able and LIMITED in [load.name for load in chosen]:
        _tell_limit(report, runs)
    for form in FORMS:
        _tell_recorder(report, form, runs)
    for contender in able:
        report.missing |= {case_of(contender.name, load): reason for load in chosen if (reason := contender.lacks(load))}
    if not short:
        report.missed = targets.missed(report)
    if write:
        readme.write(report)


def _tell_limit(report: Report, runs: Runs) -> None:
    """What of the tight limit each form reaches under the capacity load."""
    limit = tight_limit()
    if limit is None:
        return
    report.add(f"tight C limit/{LIMITED} forwarded", limit, "packets/CPU-s")
    for form in FORMS:
        if found := runs.get((form, LIMITED)):
            report.add(f"{form}/{LIMITED} of the tight C limit", 100 * median(found) / limit, "%")


def _tell_recorder(report: Report, form: str, runs: Runs) -> None:
    """What recording everything adds to the cost of a packet: of the whole server, and of the threads that are not the loop's."""
    without, recorded = runs.get((form, "S3")), runs.get((form, "S9"))
    if not without or not recorded:
        return
    report.add(f"{form}/S9 recorder, whole worker", 100 * (median(without) / median(recorded) - 1), "%")
    forwarding = [statistics.median(run.threads_cpu / run.counted.forwarded for run in some) for some in (recorded, without)]
    if forwarding[1] > 0:
        report.add(f"{form}/S9 recorder, forwarding", 100 * (forwarding[0] / forwarding[1] - 1), "%")


def _able(report: Report, wanted: Sequence[str]) -> list[Contender]:
    """Those that can be measured here; the others stand under `missing`."""
    known = {contender.name: contender for contender in everybody()}
    lack = ""
    try:
        library("traffic", "-pthread")
    except NotInstalled as absent:
        lack = f"this machine lacks {absent}"
    for name in (*FORMS, *PEERS):
        reason = lack or ("not asked for" if name not in wanted else known[name].missing() if name in known else "not built yet")
        if reason:
            report.missing[name] = reason
    return [contender for name, contender in known.items() if name not in report.missing]


def case_of(contender: str, load: Load) -> str:
    """How figures and ratios name a contender under a load: `native/S1`, with everything on `native-features/S1`."""
    return f"{contender}{'-features' if load.features else ''}/{load.case}"


def _tell(report: Report, case: str, runs: Sequence[Run]) -> None:
    """The median of every figure over the repetitions, the spread of the first, and the raw counts of all repetitions together."""
    rates = [run.per_cpu_second for run in runs]
    report.add(f"{case} forwarded", statistics.median(rates), "packets/CPU-s")
    report.add(f"{case} forwarded least", min(rates), "packets/CPU-s")
    report.add(f"{case} forwarded most", max(rates), "packets/CPU-s")
    report.add(f"{case} core", statistics.median(run.core for run in runs), "cores")
    report.add(f"{case} loss", 100 * statistics.median(run.counted.loss for run in runs), "%")
    for place, name in ((0, "median"), (1, "p95"), (2, "p99")):
        report.add(f"{case} latency {name}", statistics.median(run.counted.latencies[place] for run in runs), "ms")
    report.add(f"{case} join", 1000 * statistics.median(run.join_cpu for run in runs), "CPU-ms/transport")
    counts = ("published", "wanted", "forwarded", "checked", "bad", "repaired")
    for name in counts:
        report.add(f"{case} {name} packets", sum(getattr(run.counted, name) for run in runs), "packets")
    if asked := sum(run.asked for run in runs):
        report.add(f"{case} switches asked for", asked, "switches")
        for name, what, unit in OF_LAYERS:
            report.add(f"{case} {what}", sum(getattr(run.counted, name) for run in runs), unit)
    report.add(f"{case} CPU", sum(run.cpu for run in runs), "s")
    report.add(f"{case} runs", len(runs), "runs")


def _compare(report: Report, runs: Runs, loads: Sequence[Load]) -> None:
    """Each of our forms to each peer that carried the same traffic."""
    for load in loads:
        for peer in PEERS:
            theirs = runs.get((peer, load.name)) or runs.get((peer, load.traffic))
            for form in FORMS:
                ours = runs.get((form, load.name))
                if ours and theirs:
                    report.ratios.setdefault(peer, {})[case_of(form, load)] = round(median(ours) / median(theirs), 3)
