"""After the end: every journal becomes one sealed playback file, is counted against it, and only then goes (D20).

What must never happen here, and what holds it:
- Media is lost: a journal and its key go in the transaction that commits its playback file READY, and that file
  was read back, and is on the disk with its name, before.
- Media that was forgotten comes back: a file being written has its row before it has a byte. An erasure turns that row SHREDDED, and
  the last step, under the row's lock, finds it so and throws away what it wrote.
- One part that cannot be read holds up the others: each part is finished by itself; the recording is FAILED and tried again.
- Two jobs write one file: a job claims what it writes for `CLAIM`, and whoever comes meanwhile does nothing. Each claim gives the file a
  new name, so a job that stood still past its claim has a file of its own, and finds at the end that its name is no row's. Where it dies before
  that end, nobody finds it: so whoever takes a claim over has the old name deleted once more, `LATEST` later.
- Everybody waits for a file: claiming, writing and committing are steps of their own, and no transaction is open while a file is written.
  A job that dies between them leaves its claim, and after that the sweep has it done again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from compliance import log as history
from tenants import jobs, scope
from tenants.errors import Refused
from tenants.keys import port
from tenants.models import Tenant
from tenants.permissions import Actor

from . import depacketise, playback, queries, storage, vault
from .journal import Item, Reader
from .models import Artefact, Recording
from .sealing import Tampered, new_key

RETRY, LONGEST = timedelta(minutes=10), timedelta(days=1)  # until it is tried again: doubled with each try, up to a day
CLAIM = timedelta(minutes=6)  # as of a promise: longer than a job may run
LATEST = timedelta(days=1)  # by then a job that stood still has gone on, or never will
State = Recording.State
log = logging.getLogger(__name__)


def promise(*, recording: Recording) -> None:
    """See to it that this recording is finished as soon as nothing of it is being captured. In the caller's transaction."""
    if not queries.capturing_now(recording):
        jobs.later("recordings.finalise", recording_id=recording.pk)


def resume(*, recording: Recording) -> None:
    """Take up what was left out of a finished recording, which the caller has locked, because it was restricted. In the caller's transaction."""
    if recording.state == State.READY and queries.journals_left(recording).exists():
        recording.state = State.FINALISING
        recording.save(update_fields=["state"])
        promise(recording=recording)


@transaction.atomic
def advance(*, recording: Recording, by: Actor, at: datetime) -> Recording:
    """Whatever is next: order what is not begun, wait for what is under way, or conclude. Safe to run twice.

    Entries: `recording.ready`; `recording.failed`.
    """
    recording = queries.locked(recording.pk)
    if recording.state not in (State.FINALISING, State.FAILED) or queries.capturing_now(recording):
        return recording
    left = list(queries.journals_left(recording))
    never_begun = [journal for journal in left if not journal.size and storage.store().quiet_for(journal.object_name) is None]
    vault.shred(never_begun)
    left = [journal for journal in left if journal not in never_begun]
    if not left and not queries.being_written(recording).exists():
        return _concluded(recording, by, at)
    for journal in left:
        if not journal.children.filter(state=Artefact.State.WRITING).exists():
            made = Artefact(tenant_id=recording.tenant_id, kind=Artefact.Kind.PLAYBACK, object_name=storage.new_name(), parent=journal)
            made.save(force_insert=True)
            made.epochs.set(journal.epochs.all())
    for participant in queries.participants_being_written(recording):
        if not jobs.is_promised("recordings.finish", recording_id=recording.pk, participant_id=participant):
            jobs.later("recordings.finish", recording_id=recording.pk, participant_id=participant)
    recording.state, recording.retry_at = State.FINALISING, None
    recording.save(update_fields=["state", "retry_at"])
    return recording


def _concluded(recording: Recording, by: Actor, at: datetime) -> Recording:
    recording.state, recording.retry_at, recording.failures = State.READY, None, 0
    recording.save(update_fields=["state", "retry_at", "failures"])
    files = queries.playable(recording).count()
    history.record("recording.ready", on=recording, by=by, at=at, call=recording.call_id, files=files, incomplete=recording.incomplete)
    return recording


def finish(*, tenant: Tenant, recording_id: UUID, participant_id: UUID, by: Actor, at: datetime) -> None:
    """Write the playback files of one participant, whose sources share one offset of clocks. Entries: `playback.ready`; `recording.failed`.

    In no transaction; opens a scope for each step. Safe to run twice, and twice at once: the second does nothing.
    """
    with scope.entered(tenant):
        recording = queries.recording(recording_id)
        claimed = claim(recording=recording, participant_id=participant_id, at=at) if recording is not None else []
    if recording is None or not claimed:
        return
    try:
        with scope.reading(tenant):
            parts = [part for artefact in claimed if (part := _opened(artefact)) is not None]
        offset = min((part.offset_us for part in parts if part.offset_us is not None), default=None)
        written = [part for part in parts if _is_written(part, recording, offset)]
        for part in written:
            with scope.entered(tenant):
                part.commit(by, at)
    finally:
        with scope.entered(tenant):
            left = _given_back(claimed)
    with scope.entered(tenant):
        if left:
            _fail(recording, by, at)
        else:
            advance(recording=recording, by=by, at=at)


@transaction.atomic
def claim(*, recording: Recording, participant_id: UUID, at: datetime) -> list[Artefact]:
    """The participant's files that are to be written, claimed for the caller, each under a new name; none while somebody else writes them."""
    waiting = queries.being_written_of(recording, participant_id).values_list("pk", flat=True)
    found = [row for row in queries.locked_artefacts(waiting) if row.state == Artefact.State.WRITING]
    if any(row.claimed_until is not None and row.claimed_until > at for row in found):
        return []
    for row in found:
        storage.store().delete(row.object_name)  # what a try that died has left
        if row.claimed_until is not None:  # it may only stand still, and write on
            jobs.later("recordings.delete_left", due_at=at + LATEST, object_name=row.object_name)
        row.object_name, row.claimed_until = storage.new_name(), at + CLAIM
        row.save(update_fields=["object_name", "claimed_until"])
    return found


@transaction.atomic
def _given_back(claimed: list[Artefact]) -> list[Artefact]:
    """End these claims; returns those of the files that are still to be written, and were still the caller's."""
    names = {artefact.object_name for artefact in claimed}
    rows = queries.locked_artefacts([artefact.pk for artefact in claimed])
    left = [row for row in rows if row.state == Artefact.State.WRITING and row.object_name in names]
    for row in left:
        row.claimed_until = None
        row.save(update_fields=["claimed_until"])
    return [row for row in left if queries.epoch_of(row).restricted_at is None]


def _is_written(part: Part, recording: Recording, offset_us: int | None) -> bool:
    try:
        part.write(offset_us)
    except (Tampered, depacketise.Damaged, OSError) as error:
        log.error("a part of recording %s could not be finished (%s)", recording.pk, type(error).__name__)
        return False
    return True


@transaction.atomic
def _fail(recording: Recording, by: Actor, at: datetime) -> None:
    """Tried again later, and later still with each try. The entry is written once, until the recording is READY."""
    recording = queries.locked(recording.pk)
    if recording.state != State.FINALISING:
        return
    wait = min(RETRY * 2 ** min(recording.failures, 10), LONGEST)
    recording.state, recording.retry_at, recording.failures = State.FAILED, at + wait, recording.failures + 1
    recording.save(update_fields=["state", "retry_at", "failures"])
    if recording.failures == 1:
        history.record("recording.failed", on=recording, by=by, at=at, call=recording.call_id)


def _opened(artefact: Artefact) -> Part | None:
    """The journal behind a file that is to be written; None when it cannot be opened, or went meanwhile."""
    try:
        return Part(artefact)
    except (Tampered, OSError) as error:
        log.error("a journal of recording %s cannot be opened (%s)", queries.epoch_of(artefact).track.recording_id, type(error).__name__)
        return None
    except Refused as refused:
        log.error("a journal of recording %s is not released (%s)", queries.epoch_of(artefact).track.recording_id, refused.code)
        return None


class Part:
    """One journal on its way to a playback file. Raises Tampered, OSError, and Refused as `release.journal_key`.

    `offset_us`: between the publisher's clock and the recording's; None without a sender report.
    """

    def __init__(self, artefact: Artefact) -> None:
        parent = artefact.parent
        assert parent is not None, "a playback file is made from a journal"
        self.artefact, self.parent, self.epoch = artefact, parent, queries.epoch_of(artefact)
        self.source = self.epoch.track.source
        self.journal: Reader = vault.journal(artefact=parent)
        self.offset_us = depacketise.clock_offset(self.items())
        self.key = new_key()
        self.written = playback.Written(0, 0, [], 0)

    def items(self) -> Iterator[Item]:
        """What counts of the journal, in order of arrival."""
        until = self.epoch.kept_until_us
        for record in self.journal.records():
            if until is None or record.head.end_us <= until:
                yield from record.items

    def write(self, offset_us: int | None) -> None:
        """Write the file, then open it again and count it against what was written."""
        context, within = queries.claim(epoch=self.epoch), self._within()
        with storage.store().create_object(self.artefact.object_name) as file:
            writer = playback.Writer(file, self.key, context, self.source, cut_us=within[1])
            for frame in playback.playable(depacketise.frames(self.items, self.source, offset_us=offset_us, within=within), self.source):
                writer.add(frame)
            self.written = writer.finish()
        if self.written.frames:
            with storage.store().open_object(self.artefact.object_name) as file:
                if playback.Reader(file, self.key, context).verify() != self.written.frames:
                    raise Tampered("the playback file holds other frames than were written")
            storage.store().sync_object(self.artefact.object_name)

    def _within(self) -> tuple[int, int]:
        """First arrival and cut, in microseconds of the recording: no frame may lie outside."""
        until = self.epoch.kept_until_us
        counted = [head for head in self.journal.heads if until is None or head.end_us <= until]
        if not counted:
            return (0, 0)
        last = self.journal.end.cut_us if self.journal.end else counted[-1].end_us
        last = last if until is None else min(last, until)
        return (counted[0].start_us, max(last, counted[-1].end_us))

    @transaction.atomic
    def commit(self, by: Actor, at: datetime) -> None:
        """Playback file READY and journal gone, in one step; nothing when the part was forgotten or claimed by another meanwhile.

        Entry: `playback.ready`.
        """
        rows = {row.pk: row for row in queries.locked_artefacts([self.artefact.pk, self.parent.pk])}
        artefact, journal = rows[self.artefact.pk], rows[self.parent.pk]
        own = artefact.object_name == self.artefact.object_name
        if own and artefact.state == Artefact.State.READY:
            return
        if not own or artefact.state != Artefact.State.WRITING or journal.state != Artefact.State.READY:
            storage.store().delete(self.artefact.object_name)
            return
        if self.written.frames:
            sealed = port.seal(tenant_id=artefact.tenant_id, key=self.key, context=queries.claim(epoch=self.epoch).digest(), holder=queries.HOLDER)
            artefact.state, artefact.sealed_key = Artefact.State.READY, sealed
            artefact.size, artefact.spans, artefact.claimed_until = self.written.size, self.written.spans, None
            artefact.save(update_fields=["state", "sealed_key", "size", "spans", "claimed_until"])
            vault.shred([journal])
        else:
            vault.shred([artefact, journal])
        facts = {"recording": self.epoch.track.recording_id, "person": self.epoch.track.person_id, "frames": self.written.frames}
        history.record("playback.ready", on=self.epoch, by=by, at=at, **facts, duration_ms=self.written.duration_us // 1000)
