"""Looking at what was kept: what there is of whom, who is let see it for which purpose, and what a player needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from calls import queries as calls
from compliance import holds, log
from consent import queries as consent
from tenants.errors import Refused
from tenants.models import Person
from tenants.permissions import Actor

from . import forgetting, queries, webm
from .models import Artefact, Epoch, Recording, Track, Viewing

LASTS = timedelta(hours=2)  # and as long again as the recording is
PLAYABLE = (Recording.State.READY, Recording.State.FAILED)
ALWAYS = (Track.Source.MIC, Track.Source.CAM)  # what is said of everybody; of a screen only where one was captured
CAPTURED, ERASED, ERASING, FINISHING, FAULT, RUNNING = "captured", "erased", "erasing", "finishing", "fault", "running"


@dataclass
class Part:
    """One source of one person in a recording. `mark`: a word of the API for a mark, or one of this file."""

    source: str
    mark: str
    files: list[Artefact] = field(default_factory=list)
    until: date | None = None  # the last day on which all of what is stored of it is kept

    @property
    def label(self) -> str:
        """The source in words."""
        return str(Track.Source(self.source).label)

    @property
    def kept_ms(self) -> int:
        """How much of it can be played."""
        kept_us: int = sum(end - start for file in self.files for start, end in file.spans)
        return kept_us // 1000

    @property
    def length(self) -> str:
        """`kept_ms` in words."""
        return worded(self.kept_ms)


@dataclass
class Share:
    """What is kept of one person: every source, and the last day on which all of it is (None when nothing is)."""

    person: Person
    parts: list[Part]
    until: date | None
    erased_at: datetime | None = None
    waits_until: datetime | None = None  # before then nothing of it is destroyed: its erasure rests on weaker proof

    @property
    def name(self) -> str:
        return self.person.name or _("Somebody who was erased")

    @property
    def playable(self) -> bool:
        return any(part.files for part in self.parts)

    @property
    def stored(self) -> bool:
        """Is anything still stored that an erasure would take?"""
        return any(part.mark in (CAPTURED, FINISHING, FAULT, RUNNING) for part in self.parts)

    @property
    def erasing(self) -> bool:
        return any(part.mark == ERASING for part in self.parts)

    @property
    def erased(self) -> bool:
        """Something was kept, and all of it is gone."""
        return not self.stored and not self.erasing and any(part.mark == ERASED for part in self.parts)

    @property
    def held(self) -> bool:
        """Would be erased, were it not for a hold."""
        return self.erasing and holds.is_held(self.person.pk)


def worded(length_ms: int) -> str:
    """A length in words, to the second; "1 s" for what is shorter."""
    minutes, seconds = divmod(max(1, round(length_ms / 1000)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return _("%(hours)d h %(minutes)02d min") % {"hours": hours, "minutes": minutes}
    if minutes:
        return _("%(minutes)d min %(seconds)02d s") % {"minutes": minutes, "seconds": seconds}
    return _("%(seconds)d s") % {"seconds": seconds}


@transaction.atomic
def view(*, recording: Recording, by: Actor, person: Person, whole: bool, purpose: str, at: datetime) -> Viewing:
    """Let the person look: at everybody's part (`whole`) or at the own one. Whether `by` may is asked by the page and by `release`.

    For as long as the recording is and two hours more, so that a long one does not end in the middle.

    Entries: `content.opened`, one for each person concerned. Raises Refused: "purpose" 400 for none, or one that is not for this kind of
    look; "not-ready" 409 while it is not finished; "nothing-kept" 404 when nothing can be played.
    """
    if purpose not in Viewing.Purpose.values or whole == (purpose == Viewing.Purpose.OWN):
        raise Refused("purpose", 400)
    if recording.state not in (*PLAYABLE, Recording.State.PURGED):
        raise Refused("not-ready", 409)
    found = [epoch for epoch in queries.stretches(recording) if _files([epoch]) and (whole or epoch.track.person_id == person.pk)]
    if not found:
        raise Refused("nothing-kept", 404)
    ends = at + (recording.stopped_at - recording.requested_at if recording.stopped_at else timedelta()) + LASTS
    made = Viewing(tenant_id=recording.tenant_id, recording=recording, viewer=person, purpose=purpose, opened_at=at, expires_at=ends)
    made.save(force_insert=True)
    made.epochs.set(found)
    facts = {"recording": recording.pk, "purpose": purpose, "viewing": made.pk}
    for concerned in dict.fromkeys(epoch.track.person_id for epoch in found):
        log.record("content.opened", on=made, by=by, at=at, person=concerned, **facts)
    return made


def shares(recording: Recording, *, only: Person | None = None) -> list[Share]:
    """What is kept of whom now: of everybody who was in the call, or of one person; in the order in which they came."""
    people = {participant.person_id: participant.person for participant in calls.participants(recording.call) if participant.joined_at}
    epochs: dict[UUID, list[Epoch]] = {}
    for epoch in queries.stretches(recording):
        people.setdefault(epoch.track.person_id, epoch.track.person)
        epochs.setdefault(epoch.track.person_id, []).append(epoch)
    if only is not None:
        people = {only.pk: only}
    said = consent.last_marks(recording.call_id)
    last = queries.last_days(epoch for theirs in epochs.values() for epoch in theirs)
    found = []
    for person in people.values():
        theirs = epochs.get(person.pk, [])
        parts = _parts(recording, theirs, said.get(str(person.pk), {}), last)
        share = Share(person, parts, min((part.until for part in parts if part.until), default=None))
        share.erased_at = erased_at(person, recording) if share.erased else None
        share.waits_until = max((epoch.erase_from for epoch in theirs if epoch.erase_from and _stored(epoch)), default=None)
        found.append(share)
    return found


def kept(shares: list[Share]) -> dict[str, Any]:
    """Of whom something is kept that is not being erased already, the first day after which some of it goes (None when nothing is kept), how
    many days that is from today, and `closed`: all that is left is to be erased.
    """
    found = [share for share in shares if share.until and share.stored]
    until = min((share.until for share in found if share.until), default=None)
    days_left = max(0, (until - queries.day_of(timezone.now())).days) if until else None
    return {"kept": found, "closed": not found and any(share.erasing for share in shares), "until": until, "days_left": days_left}


def erased_at(person: Person, recording: Recording) -> datetime | None:
    """When the last of the person's part went, by the log; None when nothing did, or the entry is blanked."""
    where = [str(recording.pk), ""]
    redacted = Q(kind=forgetting.REDACTED, record__facts__recording__in=where)
    expired = Q(kind=forgetting.EXPIRED, on_id=str(recording.pk))
    entry = log.about(person.pk).filter(redacted | expired).last()
    return entry.at if entry is not None else None


def manifest(viewing: Viewing) -> dict[str, Any]:
    """What a player needs, as plain JSON: of each person each source with its mark, files and the stretches they cover, in milliseconds.

    Everybody who was in the call stands in it, also whoever was not captured; in a look at the own part only oneself. A mark is a word of
    the API, or `erased`. What is restricted or shredded has no file.
    """
    recording, viewer = viewing.recording, viewing.viewer
    only = viewer if viewing.purpose == Viewing.Purpose.OWN else None
    opened = set(viewing.epochs.values_list("artefacts", flat=True))
    people = []
    end_us = 0
    for share in shares(recording, only=only):
        sources = []
        for part in share.parts:
            files = [file for file in part.files if file.pk in opened]
            end_us = max([end_us, *(end for file in files for _start, end in file.spans)])
            sources.append({"source": part.source, "mark": _shown(part, files), "files": [_file(part.source, file) for file in files]})
        people.append({"name": share.name, "you": share.person.pk == viewer.pk, "sources": sources})
    if recording.stopped_at is not None:
        end_us = max(end_us, (recording.stopped_at - recording.requested_at) // timedelta(microseconds=1))
    return {"duration_ms": -(-end_us // 1000), "incomplete": recording.incomplete, "people": people}


def _shown(part: Part, files: list[Artefact]) -> str:
    """The mark of a player: `captured` is what it can play."""
    if part.mark == ERASING:
        return ERASED
    if part.mark == CAPTURED and not files:
        return FAULT  # finished after this viewing was opened
    return {FINISHING: FAULT, RUNNING: FAULT}.get(part.mark, part.mark)


def _file(source: str, file: Artefact) -> dict[str, Any]:
    """Times are cut inwards to whole milliseconds, so that nothing is shown outside a stretch."""
    spans = [[-(-start // 1000), end // 1000] for start, end in file.spans]
    return {"id": str(file.pk), "mime": webm.MIMES[webm.CODECS[source]], "spans_ms": [span for span in spans if span[0] < span[1]]}


def _files(epochs: list[Epoch]) -> list[Artefact]:
    """Their playback files that may be played now."""
    wanted = (Artefact.Kind.PLAYBACK, Artefact.State.READY)
    free = [epoch for epoch in epochs if epoch.restricted_at is None]
    return [artefact for epoch in free for artefact in epoch.artefacts.all() if (artefact.kind, artefact.state) == wanted]


def _parts(recording: Recording, epochs: list[Epoch], said: dict[str, str], last: dict[UUID, date]) -> list[Part]:
    """Every source of one person: what was captured, and voice and camera also when they were not."""
    by_source: dict[str, list[Epoch]] = {source: [] for source in ALWAYS}
    for epoch in epochs:
        by_source.setdefault(epoch.track.source, []).append(epoch)
    order = list(Track.Source.values)
    found = []
    for source in sorted(by_source, key=order.index):
        files = _files(by_source[source])
        mark = CAPTURED if files else _without_files(recording, by_source[source]) or said.get(source, consent.UNDECIDED)
        until = min((last[epoch.pk] for epoch in by_source[source] if _stored(epoch)), default=None)
        found.append(Part(source, mark, files, until))
    return found


def _without_files(recording: Recording, epochs: list[Epoch]) -> str:
    """What became of stretches none of which can be played; empty when nothing was ever kept."""
    left = [epoch for epoch in epochs if _stored(epoch)]
    if any(epoch.restricted_at is None for epoch in left):
        if recording.state in Recording.LIVE:
            return RUNNING
        return FAULT if recording.state == Recording.State.FAILED else FINISHING
    if left:
        return ERASING
    return ERASED if any(epoch.restricted_at is not None for epoch in epochs) else ""


def _stored(epoch: Epoch) -> bool:
    """Is anything of a stretch still there?"""
    return any(artefact.state != Artefact.State.SHREDDED for artefact in epoch.artefacts.all())
