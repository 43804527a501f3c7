"""The figures in words: the parts of a report, each with its table. Page and document show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recordings.models import Track, Viewing

from .figures import FEW, Figures, LogStanding, Proven, Rate


@dataclass(frozen=True)
class Part:
    """One heading with what stands under it. `rows` have as many cells as `columns`; `plot` is where the plot stands."""

    heading: str
    columns: list[str]
    rows: list[list[str]]
    words: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plot: bool = False

    @property
    def labelled(self) -> list[list[tuple[str, str]]]:
        """The rows with the column beside each cell."""
        return [list(zip(self.columns, row, strict=True)) for row in self.rows]


def parts(figures: Figures) -> list[Part]:
    """All parts of the report, in its order."""
    return [_meetings(figures), _decisions(figures), _recordings(figures), _looks(figures), _rights(figures), _evidence(figures)]


def _meetings(figures: Figures) -> Part:
    rows = [[_("Meetings held"), figures.meetings], [_("People in them"), figures.people_met], [_("People asked"), figures.people_asked]]
    return Part(_("Meetings"), [_("In this time"), _("Number")], _texts(rows))


def _decisions(figures: Figures) -> Part:
    columns = [_("Purpose"), _("Asked"), _("Agreed"), _("Declined"), _("No answer"), _("Rate"), _("Taken back")]
    rows = [_decision(rate) for rate in figures.decisions]
    words = [_("Each question is one purpose, asked of one person in one call; what counts is the last answer.")]
    few = any(rate.few for rate in figures.decisions)
    note = _("Where fewer than %(few)s were asked, the rate may tell what one person said: do not publish it.") % {"few": FEW}
    return Part(_("Decisions"), columns, _texts(rows), words, [note] if few else [], plot=True)


def _decision(rate: Rate) -> list[object]:
    percent = "–" if rate.percent is None else f"{rate.percent}%"
    return [rate.title, rate.asked, rate.agreed, rate.declined, rate.undecided, percent, rate.withdrawn]


def _recordings(figures: Figures) -> Part:
    rows: list[list[object]] = [[_("Recordings asked for in this time"), figures.recordings]]
    rows += [[_("Kept now: %(source)s") % {"source": Track.Source(key).label}, seconds(value)] for key, value in figures.stored_seconds.items()]
    return Part(_("Recordings"), [_("What"), _("Amount")], _texts(rows), notes=[_("Kept is what is finished and can be played.")])


def _looks(figures: Figures) -> Part:
    rows = [(Viewing.Purpose(key).label, number) for key, number in figures.looks.items()]
    return Part(_("Who looked, and why"), [_("Stated reason"), _("Times opened")], _texts(rows))


def _rights(figures: Figures) -> Part:
    asked = figures.requests
    rows = [
        [_("Requests opened in this time"), asked.opened],
        [_("Of them answered by the deadline"), asked.in_time],
        [_("Answered after the deadline"), asked.late],
        [_("Past the deadline without an answer"), asked.overdue],
        [_("Under way, the deadline still ahead"), asked.waiting],
        [_("Parts erased in this time because somebody asked"), figures.erasures],
        [_("Parts destroyed in this time because their days were over"), figures.expired],
        [_("Holds that stand now"), figures.holds],
    ]
    told = _(
        "A part is what is kept of one person in one recording. What somebody asked to have erased and what went with its time are counted apart."
    )
    return Part(_("Requests, erasure and holds"), [_("What"), _("Number")], _texts(rows), notes=[told])


def _evidence(figures: Figures) -> Part:
    rows: list[list[object]] = [[_("Entries of the log"), figures.log.entries], [_("Log recomputed"), verified(figures.log)]]
    rows += [[_("Fields that nobody declared"), figures.undeclared_fields], *_proof(figures.proof)]
    notes = [_("Root of the log: %(root)s") % {"root": figures.log.root or _("none, its head was altered")}]
    if figures.proof is not None:
        notes.append(_("The proof reads no media: it counts each record up to the start of its last frame, so a little less than can be played."))
    return Part(_("Evidence"), [_("What"), _("Found")], _texts(rows), notes=notes)


def _proof(proof: Proven | None) -> list[list[object]]:
    if proof is None:
        return [[_("Last proof of what is stored"), _("not proven yet")]]
    return [
        [_("Last proof of what is stored"), f"{proof.at:%Y-%m-%d %H:%M} UTC"],
        [_("Stored, by that proof"), seconds(proof.stored_seconds)],
        [_("Of it without a proven yes"), seconds(proof.orphan_seconds)],
        [_("Erased objects that are still there"), proof.orphan_objects],
        [_("That proof"), _("clean") if proof.clean else _("found faults")],
    ]


def verified(log: LogStanding) -> str:
    """What recomputing the log said, in words."""
    if log.verified is None:
        return _("with each report")
    return _("sound") if log.verified else _("NOT SOUND")


def seconds(value: float) -> str:
    """Seconds with one decimal and the unit."""
    return ngettext("%(seconds)s s", "%(seconds)s s", round(value)) % {"seconds": value}


def _texts(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in rows]
