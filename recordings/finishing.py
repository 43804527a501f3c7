"""After the end: every journal becomes one sealed playback file, is counted against it, and only then goes (D20).

What must never happen here, and what holds it:
- Media is lost: a journal and its key go in the transaction that commits its playback file READY, and that file was read back before.
- Media that was forgotten comes back: a file being written has its row before it has a byte. An erasure turns that row SHREDDED, and
  the last step, under the row's lock, finds it so and throws away what it wrote.
- One part that cannot be read holds up the others: each part is finished by itself; the recording is FAILED and tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from compliance import log as history
from tenants import jobs
from tenants.errors import Refused
from tenants.keys import port
from tenants.permissions import Actor

from . import depacketise, playback, queries, storage, vault
from .journal import Item, Reader
from .models import Artefact, Recording
from .sealing import Tampered, new_key

RETRY = timedelta(minutes=10)
State = Recording.State
log = logging.getLogger(__name__)


def promise(*, recording: Recording) -> None:
    """See to it that this recording is finished as soon as nothing of it is being captured. In the caller's transaction."""
    if not queries.capturing_now(recording):
        jobs.later("recordings.finalise", recording_id=recording.pk)


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
        jobs.later("recordings.finish", recording_id=recording.pk, participant_id=participant)
    recording.state, recording.retry_at = State.FINALISING, None
    recording.save(update_fields=["state", "retry_at"])
    return recording


def _concluded(recording: Recording, by: Actor, at: datetime) -> Recording:
    recording.state, recording.retry_at = State.READY, None
    recording.save(update_fields=["state", "retry_at"])
    files = queries.playable(recording).count()
    history.record("recording.ready", on=recording, by=by, at=at, call=recording.call_id, files=files, incomplete=recording.incomplete)
    return recording


def finish(*, recording: Recording, participant_id: UUID, by: Actor, at: datetime) -> None:
    """Write the playback files of one participant, whose sources share one offset of clocks. Safe to run twice. Entries: `playback.ready`."""
    waiting = list(queries.being_written(recording).filter(epochs__track__participant=participant_id))
    journals = [part for artefact in waiting if (part := _opened(artefact)) is not None]
    offset = min((part.offset_us for part in journals if part.offset_us is not None), default=None)
    failed = len(journals) < len(waiting)
    for part in journals:
        try:
            part.write(offset)
        except (Tampered, depacketise.Damaged, OSError) as error:
            log.error("a part of recording %s could not be finished (%s)", recording.pk, type(error).__name__)
            failed = True
            continue
        part.commit(by, at)
    if failed:
        _fail(recording, by, at)
    else:
        advance(recording=recording, by=by, at=at)


@transaction.atomic
def _fail(recording: Recording, by: Actor, at: datetime) -> None:
    recording = queries.locked(recording.pk)
    if recording.state != State.FINALISING:
        return
    recording.state, recording.retry_at = State.FAILED, at + RETRY
    recording.save(update_fields=["state", "retry_at"])
    history.record("recording.failed", on=recording, by=by, at=at, call=recording.call_id)


def _opened(artefact: Artefact) -> Part | None:
    """The journal behind a file that is to be written; None when it cannot be opened, or went meanwhile."""
    try:
        return Part(artefact)
    except (Tampered, FileNotFoundError) as error:
        log.error("a journal of recording %s cannot be opened (%s)", queries.epoch_of(artefact).track.recording_id, type(error).__name__)
        return None
    except Refused as refused:
        log.error("a journal of recording %s is not released (%s)", queries.epoch_of(artefact).track.recording_id, refused.code)
        return None


class Part:
    """One journal on its way to a playback file. Raises Tampered, FileNotFoundError, and Refused as `release.journal_key`.

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
        context = queries.claim(epoch=self.epoch)
        with storage.store().create_object(self.artefact.object_name) as file:
            writer = playback.Writer(file, self.key, context, self.source)
            for frame in playback.playable(depacketise.frames(self.items, self.source, offset_us=offset_us, within=self._within()), self.source):
                writer.add(frame)
            self.written = writer.finish()
        if self.written.frames:
            with storage.store().open_object(self.artefact.object_name) as file:
                if playback.Reader(file, self.key, context).verify() != self.written.frames:
                    raise Tampered("the playback file holds other frames than were written")

    def _within(self) -> tuple[int, int]:
        """First arrival and cut, in microseconds of the recording: no frame may lie outside."""
        counted = [head for head in self.journal.heads if self.epoch.kept_until_us is None or head.end_us <= self.epoch.kept_until_us]
        if not counted:
            return (0, 0)
        last = self.journal.end.cut_us if self.journal.end else counted[-1].end_us
        return (counted[0].start_us, max(last, counted[-1].end_us))

    @transaction.atomic
    def commit(self, by: Actor, at: datetime) -> None:
        """Playback file READY and journal gone, in one step; nothing when the part was forgotten meanwhile. Entry: `playback.ready`."""
        rows = {row.pk: row for row in queries.locked_artefacts([self.artefact.pk, self.parent.pk])}
        artefact, journal = rows[self.artefact.pk], rows[self.parent.pk]
        if artefact.state != Artefact.State.WRITING or journal.state != Artefact.State.READY:
            storage.store().delete(artefact.object_name)
            return
        if self.written.frames:
            sealed = port.seal(tenant_id=artefact.tenant_id, key=self.key, context=queries.claim(epoch=self.epoch).digest(), holder=queries.HOLDER)
            artefact.state, artefact.sealed_key = Artefact.State.READY, sealed
            artefact.size, artefact.spans = self.written.size, self.written.spans
            artefact.save(update_fields=["state", "sealed_key", "size", "spans"])
            vault.shred([journal])
        else:
            vault.shred([artefact, journal])
        facts = {"recording": self.epoch.track.recording_id, "person": self.epoch.track.person_id, "frames": self.written.frames}
        history.record("playback.ready", on=self.epoch, by=by, at=at, **facts, duration_ms=self.written.duration_us // 1000)
