"""Is everything that is stored covered by a yes that the log proves? Computed from the store's own objects, not from our rows.

What must never happen here, and what holds it:

* *The rows vouch for themselves.* What is stored is what lies in the store: each object's clear heads are read, whether or not a
  row names it. A row only says whose it is; the file's head must name the same stretch and the same claim.
* *A yes that nobody gave.* Grants are replayed from the log, entry by entry. An entry counts only if its stored record and salt
  hash to its commitment; without its decision row, or beside one that says something else, it is no grant.
* *A no that is lost.* A refusal or withdrawal ends a grant if either its entry or its row says so.
* *A fault is hidden by the next run.* Nothing here writes, but for one entry per recording when records were opened (`deep`).

It runs beside a living system: the store is listed before the rows are read, because a row is always committed before its object
is made, and what looks wrong is looked at again before it is reported. `docs/proof.md` says what is proven, and what is not.
Times are microseconds since the start of a recording.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from django.utils import timezone

from compliance import log, registry
from recordings import journal, playback, queries, storage, vault
from recordings.models import Artefact, Epoch
from recordings.records import END, Heads
from recordings.sealing import Tampered
from recordings.storage import Listed
from tenants import jobs, scope
from tenants.errors import Refused
from tenants.models import Tenant

from .grants import closings, cover, replayed
from .intervals import Interval, length, minus, union

LOOKS, PAUSE = 3, 1.0  # how often, and how many seconds apart, what looks wrong is looked at before it is reported

T = TypeVar("T")
Place = tuple[str, bool]  # name, among the finished objects

__all__ = ["Finding", "Proof", "prove"]


@dataclass(frozen=True)
class Finding:
    """One fault. `object`, `epoch` and `tenant` are names and ids, empty where there is none.

    Codes: `uncovered` stored time without a grant; `orphan` an object that no row names; `shredded` one whose row says that it is gone;
    `missing` a finished row without its object; `unowned` a row that names no stretch, or several; `damaged` heads that cannot be read;
    `claim` the head names another stretch or claim; `size` another length than was written; `unfinished` a playback file without END;
    `sealed` a record that does not open; and, with `log-` before them, those of `compliance.log.Finding`.
    """

    code: str
    tenant: str = ""
    object: str = ""
    epoch: str = ""
    seconds: float = 0.0
    index: int | None = None


@dataclass
class Proof:
    """What was found. Clean is zero, zero, zero, true, and no finding."""

    stored_us: int = 0
    orphan_us: int = 0
    orphan_objects: int = 0
    undeclared_fields: int = 0
    log_ok: bool = True
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.orphan_us or self.orphan_objects or self.undeclared_fields or self.findings) and self.log_ok

    def as_json(self) -> dict[str, Any]:
        """The five keys of the command. What each fault is stands in `findings`."""
        return {
            "stored_seconds": self.stored_us / 1e6,
            "orphan_seconds": self.orphan_us / 1e6,
            "orphan_objects": self.orphan_objects,
            "undeclared_fields": self.undeclared_fields,
            "log_ok": self.log_ok,
        }


@dataclass(frozen=True)
class Found:
    """One object in the store with the stretch whose media it holds, as its clear heads have it."""

    name: str
    epoch: Epoch
    intervals: list[Interval]

    @property
    def track(self) -> tuple[UUID, UUID, str]:
        """Objects of one person and source in one recording: a journal and its playback file hold the same seconds."""
        track = self.epoch.track
        return (track.recording_id, track.person_id, track.source)


def prove(tenants: Sequence[Tenant], *, everybody: Sequence[Tenant], deep: bool = False) -> Proof:
    """Prove what these tenants' objects, rows and logs say. Of `everybody` only names of objects are read: whoever's row names one, owns it.

    `deep` opens every record. Opens and closes each tenant's scope itself.
    """
    proof = Proof(undeclared_fields=len(registry.undeclared()))
    listed = _listing()
    unclaimed = set(listed)
    for tenant in everybody:
        with scope.reading(tenant):
            unclaimed -= {_place(artefact) for artefact in queries.stored()}
    for tenant in tenants:
        _prove_tenant(proof, tenant, listed)
        if deep:
            _open_all(proof, tenant)
    for place in sorted(_stays(unclaimed, lambda left: left & set(_listing()))):
        _report_stranger(proof, listed[place], everybody)
    return proof


def _prove_tenant(proof: Proof, tenant: Tenant, listed: Mapping[Place, Listed]) -> None:
    with scope.reading(tenant):
        faults = log.verify(tenant)
        rows = list(queries.stored())
        granted, closed = replayed(), closings()
    proof.log_ok = proof.log_ok and not faults
    proof.findings += [Finding(f"log-{fault.code}", tenant.slug, index=fault.index) for fault in faults]
    stored: dict[object, list[Interval]] = {}
    orphaned: dict[object, list[Interval]] = {}
    gone = {artefact.pk: artefact for artefact in rows if artefact.state == Artefact.State.READY and _place(artefact) not in listed}
    for pk in sorted(_stays(set(gone), lambda left: _missing(tenant, left))):
        proof.findings.append(Finding("missing", tenant.slug, gone[pk].object_name, _named(gone[pk])))
    for artefact in rows:
        found = _examined(proof, tenant, artefact, listed.get(_place(artefact)))
        if found is None:
            continue
        uncovered = minus(found.intervals, cover(found.epoch, granted, closed))
        if uncovered:
            proof.findings.append(Finding("uncovered", tenant.slug, found.name, str(found.epoch.pk), length(uncovered) / 1e6))
        stored.setdefault(found.track, []).extend(found.intervals)
        orphaned.setdefault(found.track, []).extend(uncovered)
    proof.stored_us += sum(length(union(intervals)) for intervals in stored.values())
    proof.orphan_us += sum(length(union(intervals)) for intervals in orphaned.values())


# Objects


def _listing() -> dict[Place, Listed]:
    return {(one.name, one.finished): one for one in storage.store().listing()}


def _place(artefact: Artefact) -> Place:
    return artefact.object_name, artefact.kind != Artefact.Kind.JOURNAL


def _examined(proof: Proof, tenant: Tenant, artefact: Artefact, listed: Listed | None) -> Found | None:
    """What one object's heads say, with its faults reported; None when there is nothing to count."""
    epochs, where = list(artefact.epochs.all()), (tenant.slug, artefact.object_name, _named(artefact))
    if len(epochs) != 1:
        proof.findings.append(Finding("unowned", *where))
        return None
    if listed is None:
        return None
    try:
        with listed.open() as file:
            heads = journal.heads(file) if artefact.kind == Artefact.Kind.JOURNAL else playback.heads(file)
            size = file.seek(0, os.SEEK_END)
    except FileNotFoundError:  # shredded since it was listed
        return None
    except (Tampered, OSError):
        proof.findings.append(Finding("damaged", *where))
        return None
    proof.findings += [Finding(code, *where) for code in _faults(artefact, epochs[0], heads, size)]
    return Found(artefact.object_name, epochs[0], _intervals(heads))


def _intervals(heads: Heads) -> list[Interval]:
    """The time in which what is stored was captured. A record of a single frame or packet has no length, and is not nothing all the same."""
    media = [head for head in heads.records if head.type not in (END, playback.FRONT)]
    return [(head.start_us, max(head.end_us, head.start_us + 1)) for head in media]


def _faults(artefact: Artefact, epoch: Epoch, heads: Heads, size: int) -> Iterator[str]:
    """Codes of what is wrong with a file that can be read. One that is being written has no size yet."""
    claim = queries.claim(epoch=epoch)
    if heads.head is not None and (heads.head.epoch != str(claim.epoch) or heads.head.context != claim.digest()):
        yield "claim"
    if artefact.state == Artefact.State.READY:
        if size != artefact.size:
            yield "size"
        if artefact.kind == Artefact.Kind.PLAYBACK and not heads.complete:
            yield "unfinished"


def _stays(wrong: set[T], look_again: Callable[[set[T]], set[T]]) -> set[T]:
    """What of it is wrong each time that it is looked at: what is being written or deleted at this moment is given time."""
    for _look in range(LOOKS - 1):
        if not wrong:
            break
        time.sleep(PAUSE)
        wrong = look_again(wrong)
    return wrong


def _missing(tenant: Tenant, artefact_ids: set[UUID]) -> set[UUID]:
    """Those that are still finished rows without an object."""
    listed = _listing()
    with scope.reading(tenant):
        rows = [row for row in queries.stored() if row.pk in artefact_ids]
    return {row.pk for row in rows if row.state == Artefact.State.READY and _place(row) not in listed}


def _named(artefact: Artefact) -> str:
    """The stretch that it names; several are separated by commas."""
    return ",".join(sorted(str(epoch.pk) for epoch in artefact.epochs.all()))


def _report_stranger(proof: Proof, listed: Listed, everybody: Iterable[Tenant]) -> None:
    """An object that no living row names: all of it is orphaned."""
    code, owner = "orphan", ""
    for tenant in everybody:
        with scope.reading(tenant):
            if queries.shredded([listed.name]):
                code, owner = "shredded", tenant.slug
    orphaned = length(union(_intervals_of_stranger(listed)))
    proof.orphan_objects += 1
    proof.orphan_us += orphaned
    proof.stored_us += orphaned
    proof.findings.append(Finding(code, owner, listed.name, seconds=orphaned / 1e6))


def _intervals_of_stranger(listed: Listed) -> list[Interval]:
    """What the heads of an object say that nobody owns; nothing when it is no file of ours."""
    for read in (journal.heads, playback.heads):
        try:
            with listed.open() as file:
                return _intervals(read(file))
        except (Tampered, OSError):
            continue
    return []


def _open_all(proof: Proof, tenant: Tenant) -> None:
    """Open every record of every finished object that may be released. Entry for each recording: `recording.proved`."""
    with scope.reading(tenant):
        rows = [artefact for artefact in queries.stored() if artefact.state == Artefact.State.READY and len(artefact.epochs.all()) == 1]
    counted: dict[Any, int] = {}
    for artefact in rows:
        (epoch,) = artefact.epochs.all()
        try:
            with scope.reading(tenant):
                count = vault.proof(artefact=artefact)
            count()  # outside: nobody waits for a transaction that is as long as a recording
        except (Refused, FileNotFoundError):  # restricted, shredded since, or reported already: as missing, or as uncovered
            continue
        except Tampered:
            proof.findings.append(Finding("sealed", tenant.slug, artefact.object_name, str(epoch.pk)))
        counted[epoch.track.recording] = counted.get(epoch.track.recording, 0) + 1
    for recording, objects in counted.items():
        with scope.entered(tenant):
            log.record("recording.proved", on=recording, by=jobs.actor("prove"), at=timezone.now(), objects=objects)
