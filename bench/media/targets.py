"""What the figures of `bench media` are held to. Each target names the figure or ratio that it is about; what was not measured is not judged.

Ratios are of medians over the repetitions, and only those to peers say anything across machines; nothing absolute is held but loss and lateness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..report import Report

WIDTHS = ("S1", "S2", "S3")
LAYERS = ("layers", "layers-S1", "layers-S3")


@dataclass(frozen=True)
class Target:
    """`case` in `ratios` of `peer`, or, without a peer, the figure of that name: at least or at most so much."""

    case: str
    peer: str = ""
    least: float | None = None
    most: float | None = None

    def missed(self, found: float) -> str:
        """What is wrong with this value; nothing when it is reached."""
        name = f"{self.case} to {self.peer}" if self.peer else self.case
        if self.least is not None and found < self.least:
            return f"{name}: {found:g}, at least {self.least:g} was asked for"
        if self.most is not None and found > self.most:
            return f"{name}: {found:g}, at most {self.most:g} was asked for"
        return ""


TARGETS = (
    *(Target(f"native/{width}", "janus-tuned", least=3.0) for width in (*WIDTHS, "S5")),
    *(Target(f"native/{width}", "janus-packaged", least=4.0) for width in (*WIDTHS, "S4", "S5")),
    *(Target(f"native/{width}", "pion", least=3.0) for width in (*WIDTHS, "S5")),
    *(Target(f"native-features/{width}", "janus-tuned", least=2.5) for width in (*WIDTHS, *LAYERS)),
    *(Target(f"python/{width}", "janus-tuned", least=1.0) for width in WIDTHS),
    Target("native/S4", "janus-tuned", least=4.0),
    Target("native/uniform", "janus-tuned", least=2.0),
    Target("native/S5 core", most=0.45),
    Target("native/S5 loss", most=0.0),
    Target("native/S5 of the tight C limit", least=60.0),
    Target("native/S5 latency p99", most=5.0),
    Target("native/S8 latency p99", most=5.0),
    Target("native/S9 recorder, forwarding", most=10.0),
    Target("native/S9 recorder, whole worker", most=15.0),
    *(
        Target(f"{form}/{width} bad packets", most=0.0)
        for form in ("native", "python")
        for width in (*WIDTHS, "S4", "S5", "S6", "S8", "S9", "uniform")
    ),
    *(
        Target(f"{form}-features/{load} {what}", most=0.0)
        for form in ("native", "python")
        for load in LAYERS
        for what in ("bad packets", "packets out of step")
    ),
)


def missed(report: Report) -> list[str]:
    """Every target that was missed, in words."""
    figures = {figure.metric: figure.value for figure in report.figures}
    return [words for target in TARGETS for found in _found(target, figures, report.ratios) if (words := target.missed(found))]


def _found(target: Target, figures: Mapping[str, float], ratios: Mapping[str, Mapping[str, float]]) -> Iterator[float]:
    values = ratios.get(target.peer, {}) if target.peer else figures
    if target.case in values:
        yield values[target.case]
