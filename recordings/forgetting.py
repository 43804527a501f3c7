"""Forgetting what was captured of one person: first nobody plays it any more, then holds are asked, then keys and objects go.

What must never happen here, and what holds it:
- Somebody plays what a person asked to have erased: `restrict` is committed before anything else is tried, and `release` asks for it
  with every request. No page, task or hold takes a restriction back; only one that rests on weaker proof can be lifted, before its keys die.
- Something dies by somebody else's word: a stretch with `erase_from` is destroyed by nobody before that moment, but for its own days.
- Something escapes because it was in the making: the stretches and their recordings are locked first, so no file is ordered meanwhile; a
  file that is being written is shredded like a finished one, and its writer finds that out before it can commit.
- Somebody else's part goes too: one object holds one person's one stretch, and only those of this person are looked for.
- Something goes before its time: `expire` decides under the locks, by the notice that was agreed to, which stretches are over.
- What is held is destroyed: holds are asked under the same locks. What they keep stays restricted, and the sweep comes back to it.
- A journal is pulled away from under the worker that writes it: only capture closes a stretch; the sweep completes it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from calls import queries as calls
from calls.models import Meeting
from compliance import holds, log
from consent import services as consent
from tenants import jobs
from tenants import queries as house
from tenants.models import Person
from tenants.permissions import Actor

from . import finishing, queries, vault
from .models import Artefact, Epoch, Recording

RESTRICTED, HELD, REDACTED = "person.restricted", "person.held", "person.redacted"  # kinds of entries
LIFTED = "person.unrestricted"
EXPIRED, PURGED = "recording.expired", "recording.purged"


class Redacted(NamedTuple):
    """How many stored objects went, and whether a hold kept what is left."""

    shredded: int
    held: bool


@transaction.atomic
def restrict(*, person: Person, recording: Recording | None, by: Actor, at: datetime, erase_from: datetime | None = None) -> int:
    """From the commit on nobody plays what was captured of the person (GDPR Art. 18), in one recording or in all; its erasure is promised.

    With `erase_from` nothing is promised: until then it can be lifted, then whoever asked for it has it erased. Without, what was restricted
    in that way is for good from now on. Returns how many stretches this call changed; for others there is neither entry nor promise.
    Entry: `person.restricted`.
    """
    changed = _restrict(queries.lock_for_forgetting(person, recording), at, erase_from)
    if changed:
        for recording_id in sorted({epoch.track.recording_id for epoch in changed}) if erase_from is None else ():
            jobs.later("recordings.redact", person_id=person.pk, recording_id=recording_id)
        facts = {"erase_from": erase_from.isoformat()} if erase_from is not None else {}
        log.record(RESTRICTED, on=person, by=by, at=at, person=person.pk, recording=_named(recording), epochs=len(changed), **facts)
    return len(changed)


@transaction.atomic
def erase_own(*, person: Person, recording: Recording, by: Actor, at: datetime) -> None:
    """`restrict` for one recording; while that is still going on, every yes of the person in its call ends too, so that nothing more is captured.

    Entries: `person.restricted`, and those of the withdrawals.
    """
    house.lock_person(person.pk)  # before stretches, recording and the log's head, as whoever answers does
    queries.lock_for_forgetting(person, recording)
    running = queries.locked(recording.pk).state in Recording.LIVE  # from here on no stretch of it is opened
    restrict(person=person, recording=recording, by=by, at=at)
    if running:
        consent.withdraw_all(person=person, call_id=recording.call_id, by=by, at=at)


@transaction.atomic
def erase_of_meeting(*, person: Person, meeting: Meeting, by: Actor, at: datetime) -> None:
    """Stop, and erase what there is: whatever was captured of the person in any sitting of a meeting, and every yes in the one that is on.

    What is being captured at this moment ends with the yes, and goes then. Entries: `person.restricted`, and those of the withdrawals.
    """
    house.lock_person(person.pk)  # as `erase_own`
    queries.lock_for_forgetting(person, None)
    call = calls.open_call(meeting)
    running = queries.live(call.pk) if call is not None else None
    if running is not None:
        queries.locked(running.pk)
    own = {epoch.track.recording_id: epoch.track.recording for epoch in queries.lock_for_forgetting(person, None)}
    for recording in (one for one in own.values() if one.call.meeting_id == meeting.pk):
        restrict(person=person, recording=recording, by=by, at=at)
    if call is not None:
        consent.withdraw_all(person=person, call_id=call.pk, by=by, at=at)


@transaction.atomic
def lift(*, person: Person, by: Actor, at: datetime) -> int:
    """Give back what is restricted by weaker proof and not to be erased yet; how many stretches. Safe to run twice. Entry: `person.unrestricted`.

    What was left unfinished for that reason is finished then.
    """
    found = [epoch for epoch in queries.lock_for_forgetting(person, None) if epoch.erase_from is not None and epoch.erase_from > at]
    for epoch in found:
        epoch.restricted_at = epoch.erase_from = None
        epoch.save(update_fields=["restricted_at", "erase_from"])
    for recording_id in sorted({epoch.track.recording_id for epoch in found}):
        finishing.resume(recording=queries.locked(recording_id))
    if found:
        log.record(LIFTED, on=person, by=by, at=at, person=person.pk, epochs=len(found))
    return len(found)


@transaction.atomic
def redact(*, person: Person, recording: Recording | None, by: Actor, at: datetime) -> Redacted:
    """Forget what was captured of the person, in one recording or in all: keys and objects of journals and playback files, ready or not.

    What is being captured at this moment is restricted and left to the worker; `queries.to_forget` finds it when it is closed. Under a
    hold everything stays, restricted. Safe to run twice; keys and objects that a crash leaves are swept.
    Entries, where there was anything to say: for each recording `person.redacted`, or `person.held`, once for the oldest hold that stands;
    `person.restricted`, when all that was left to say is that.
    """
    found = queries.lock_for_forgetting(person, recording)
    newly = _restrict(found, at)
    recordings = {epoch.track.recording_id: epoch.track.recording for epoch in found}
    each = [_redacted(person, one, by, at) for one in recordings.values()]
    forgotten = Redacted(sum(one.shredded for one in each), held=any(one.held for one in each))
    if newly and not forgotten.shredded and not forgotten.held:  # all of it is being captured at this moment
        log.record(RESTRICTED, on=person, by=by, at=at, person=person.pk, recording=_named(recording), epochs=len(newly))
    return forgotten


@transaction.atomic
def expire(*, person: Person, recording: Recording, by: Actor, at: datetime) -> Redacted:
    """Forget what was captured of the person in a recording and has been kept for as long as was agreed; the rest stays as it is.

    As `redact`: nobody plays it from the commit on, holds are asked, keys and objects go; under a hold it stays, restricted. Safe to run
    twice. Entries: `recording.expired`; `person.held`, once for the oldest hold that stands.
    """
    over = queries.over(queries.lock_for_forgetting(person, recording), at)
    _restrict(over, at)
    forgotten = _destroy(person, recording, by, at, only=over)
    if forgotten.shredded:
        log.record(EXPIRED, on=recording, by=by, at=at, person=person.pk, objects=forgotten.shredded)
    return forgotten


@transaction.atomic
def complete(*, person: Person, recording: Recording, by: Actor, at: datetime) -> Redacted:
    """Forget what is restricted already, because it could not go then: it was being captured, or held. Restricts nothing more.

    Safe to run twice. Entries: `person.redacted`; `person.held`, once for the oldest hold that stands.
    """
    queries.lock_for_forgetting(person, recording)
    return _redacted(person, recording, by, at)


@transaction.atomic
def conclude(*, recording: Recording, by: Actor, at: datetime) -> bool:
    """A finished recording of which nothing is left is PURGED; whether it was this call's doing. Safe to run twice. Entry: `recording.purged`."""
    recording = queries.locked(recording.pk)
    if not queries.emptied().filter(pk=recording.pk).exists():
        return False
    recording.state, recording.retry_at = Recording.State.PURGED, None
    recording.save(update_fields=["state", "retry_at"])
    log.record(PURGED, on=recording, by=by, at=at, call=recording.call_id)
    return True


@transaction.atomic
def forget_rows(*, call_id: UUID) -> int:
    """Delete what rows say about the recordings of a call: who was captured when, under which decision, and who looked. Returns how many recordings.

    For who has found that the retention of evidence is over, in that transaction: nothing of it is stored any more. Safe to run twice.
    """
    found = queries.ids_of(call_id)
    rows = queries.rows_of(call_id)
    rows.artefacts.update(parent=None)  # one that was made from another would keep it
    for each in rows:
        each.delete()
    return len(found)


def _redacted(person: Person, recording: Recording, by: Actor, at: datetime) -> Redacted:
    """`_destroy` for an erasure, with its entry: one for each recording, so that the log tells how many people's parts of how many went."""
    forgotten = _destroy(person, recording, by, at)
    if forgotten.shredded:
        log.record(REDACTED, on=person, by=by, at=at, person=person.pk, recording=recording.pk, objects=forgotten.shredded)
    return forgotten


def _destroy(person: Person, recording: Recording, by: Actor, at: datetime, *, only: Iterable[Epoch] | None = None) -> Redacted:
    """Keys and objects of what is restricted and not being captured, of these stretches or of all, unless a hold stands."""
    left = queries.restricted_left(person, recording, at)
    if only is not None:
        left = left.filter(epochs__in=list(only))
    locked = queries.locked_artefacts(left.values_list("pk", flat=True))
    found = [artefact for artefact in locked if artefact.state != Artefact.State.SHREDDED]
    if not found:
        return Redacted(0, held=False)
    hold = holds.standing(person.pk)
    if hold is not None:
        told = log.about(person.pk).filter(kind=HELD, record__facts__hold=str(hold.pk))
        if not told.filter(record__facts__recording=str(recording.pk)).exists():
            facts = {"person": person.pk, "recording": recording.pk, "hold": hold.pk}
            log.record(HELD, on=person, by=by, at=at, **facts, objects=len(found))
        return Redacted(0, held=True)
    vault.shred(found)
    return Redacted(len(found), held=False)


def _restrict(epochs: Iterable[Epoch], at: datetime, erase_from: datetime | None = None) -> list[Epoch]:
    """Restrict those of these locked stretches that are not restricted yet, or could be lifted while these cannot; returns them.

    Nothing that was never begun counts.
    """
    open_ones = [epoch for epoch in epochs if epoch.restricted_at is None or (epoch.erase_from is not None and erase_from is None)]
    changed = [epoch for epoch in open_ones if epoch.cut != "unused"]
    for epoch in changed:
        epoch.restricted_at, epoch.erase_from = epoch.restricted_at or at, erase_from
        epoch.save(update_fields=["restricted_at", "erase_from"])
    return changed


def _named(recording: Recording | None) -> object:
    """The recording's id in an entry; empty where all of them are meant."""
    return recording.pk if recording is not None else ""
