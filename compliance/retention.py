"""Keeping as long as was agreed, and no longer: what is due, and its destruction by the functions that carry out an erasure.

What must never happen here, and what holds it:

* *Something goes before its time.* What is due is decided again under the locks, by the same function that pages show dates from
  (`recordings.queries.last_days`): the days of the notice that the person agreed to, per purpose, counted from the recording's stop.
* *Something stays for good.* Each unit of work, one person's part of one recording, has a transaction of its own. One that fails is
  told, keeps no other from going, and is due again at the next run; what a crash leaves of keys and objects is swept.
* *Somebody else's part goes too, or what is held.* Both are held by `recordings.forgetting`.

`docs/retention.md` says how days are counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from calls import queries as calls
from calls import services as meetings
from calls.models import Invitation
from compliance import holds
from consent.catalogue import SOURCES
from recordings import forgetting
from recordings import queries as recordings
from recordings.models import Recording
from tenants import scope
from tenants.models import Person, Tenant
from tenants.permissions import Actor

INVITATION = "invitation"  # in place of a purpose, for what is no media
UNUSED = timedelta(days=30)  # how long an invitation that nobody used is kept after its end (D24)
PURPOSES = {source: purpose for purpose, sources in SOURCES.items() for source in sources}

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Due:
    """One unit of work: a person's part of a recording, or an invitation. `stretches`: purpose -> how many stretches of it are over."""

    person: Person
    recording: Recording | None = None
    invitation: Invitation | None = None
    stretches: dict[str, int] = field(default_factory=dict)
    held: bool = False


@dataclass
class Report:
    """What one run found and did in one tenant. Counted are stretches and invitations by purpose, and stored objects destroyed."""

    tenant: str
    due: Counter[str] = field(default_factory=Counter)
    held: int = 0  # units that a hold keeps
    failed: int = 0  # units that are tried again
    objects: int = 0
    invitations: int = 0
    recordings: int = 0  # of which nothing is left now

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, as the command prints it."""
        counted = {"held": self.held, "failed": self.failed}
        purged = {"objects": self.objects, "invitations": self.invitations, "recordings": self.recordings}
        return {"tenant": self.tenant, "due": dict(sorted(self.due.items())), **counted, "purged": purged}


def due(at: datetime) -> list[Due]:
    """What has been kept for as long as it may be, in the current tenant: stretches by recording and person, then unused invitations."""
    found: dict[tuple[Any, Any], Due] = {}
    for epoch in recordings.to_expire(at):
        track = epoch.track
        place = (track.recording_id, track.person_id)
        if place not in found:
            found[place] = Due(track.person, track.recording, held=holds.is_held(track.person_id))
        counted, purpose = found[place].stretches, PURPOSES[track.source]
        counted[purpose] = counted.get(purpose, 0) + 1
    unused = calls.unused_invitations(ended_before=at - UNUSED)
    return [*found.values(), *(Due(one.person, invitation=one, held=holds.is_held(one.person_id)) for one in unused)]


def purge(*, due: Due, by: Actor, at: datetime) -> forgetting.Redacted:
    """Destroy one unit of what is due, if it still is at `at`; how many stored objects went, and whether a hold kept the rest.

    In one transaction; safe to run twice. Entries: `recording.expired`, `person.held`, `invitation.expired`.
    """
    if due.recording is not None:
        return forgetting.expire(person=due.person, recording=due.recording, by=by, at=at)
    assert due.invitation is not None, "a unit is a part of a recording or an invitation"
    gone = meetings.expire_invitation(invitation=due.invitation, ended_before=at - UNUSED, by=by, at=at)
    return forgetting.Redacted(int(gone), held=not gone and holds.is_held(due.person.pk))


def run(*, tenant: Tenant, by: Actor, at: datetime, dry: bool = False, most: int | None = None) -> Report:
    """Everything that is due in one tenant, each unit in a scope and transaction of its own; `dry` only counts. Opens the scope itself.

    What fails is told in the service's own log and counted, and the run goes on. `most` bounds a run: units that a hold keeps come last.
    """
    report = Report(tenant.slug)
    with scope.reading(tenant):
        units = due(at)
    for unit in units:
        for purpose, count in (unit.stretches or {INVITATION: 1}).items():
            report.due[purpose] += count
    if dry:
        report.held = sum(unit.held for unit in units)
        return report
    for unit in sorted(units, key=lambda unit: unit.held)[:most]:
        gone = _done(report, tenant, partial(purge, due=unit, by=by, at=at))
        if gone is None:
            continue
        report.held += gone.held
        if unit.recording is not None:
            report.objects += gone.shredded
        else:
            report.invitations += gone.shredded
    with scope.reading(tenant):
        emptied = list(recordings.emptied())
    for recording in emptied:
        ended = _done(report, tenant, partial(forgetting.conclude, recording=recording, by=by, at=at))
        report.recordings += bool(ended)
    return report


def _done(report: Report, tenant: Tenant, work: Callable[[], T]) -> T | None:
    """What the work gives, in the tenant's scope; None when it failed, which is told and counted."""
    try:
        with scope.entered(tenant):
            return work()
    except Exception:
        log.exception("a part of what is due in %s could not be destroyed; it is tried again", tenant.slug)
        report.failed += 1
        return None
