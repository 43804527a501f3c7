"""Every write about recordings. Who is captured is decided by permits, in the media worker, packet by packet; here it is written down."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import Max

from calls import mailbox
from calls import queries as calls
from calls.models import Call, Participant
from compliance import log
from consent.gate import Permit
from tenants import queries as house
from tenants.errors import Refused
from tenants.keys import port
from tenants.models import Person
from tenants.permissions import Actor, may

from . import finishing, journal, queries, storage, vault
from .models import Artefact, Epoch, Recording, Track
from .sealing import Tampered

logger = logging.getLogger(__name__)
State = Recording.State


@dataclass(frozen=True)
class Kept:
    """What a journal holds by its clear heads: its bytes, the milliseconds that count as kept, and whether its END is there."""

    size: int = 0
    stored_ms: int = 0
    complete: bool = False


@transaction.atomic
def start(*, call: Call, by: Actor, at: datetime) -> Recording:
    """Ask for capture of a call. Entry: `recording.requested`.

    Raises Refused: "ended" 410 for a call that is over; "not-found" 404 for somebody who neither hosts it nor may start recordings;
    "already-recording" 409 while another one of this call is live.
    """
    call = Call.objects.select_for_update(no_key=True).select_related("meeting__host").get(pk=call.pk)
    if call.state != Call.State.OPEN:
        raise Refused("ended", 410)
    asked_by = _allowed(call, "recordings.start", by)
    if queries.live(call.pk) is not None:
        raise Refused("already-recording", 409)
    recording = Recording(tenant_id=call.tenant_id, call=call, requested_by=asked_by, requested_at=at)
    try:
        with transaction.atomic():
            recording.save(force_insert=True)
    except IntegrityError:
        raise Refused("already-recording", 409) from None
    mailbox.look_again(call.pk)
    log.record("recording.requested", on=recording, by=by, at=at, call=call.pk)
    return recording


@transaction.atomic
def stop(*, recording: Recording, by: Actor, at: datetime) -> Recording:
    """End the wish: the worker closes every epoch, then the journals are finished. Safe to run twice. Entry: `recording.stopped`.

    Raises Refused("not-found", 404) for somebody who neither hosts the call nor may stop recordings.
    """
    recording = _locked(recording.pk)
    _allowed(recording.call, "recordings.stop", by)
    if recording.state not in Recording.LIVE:
        return recording
    recording.state, recording.stopped_at = State.FINALISING, at
    recording.save(update_fields=["state", "stopped_at"])
    mailbox.look_again(recording.call_id)
    finishing.promise(recording=recording)
    log.record("recording.stopped", on=recording, by=by, at=at, call=recording.call_id)
    return recording


@transaction.atomic
def capturing(*, recording: Recording, by: Actor, at: datetime) -> Recording:
    """The first epoch is open. Safe to run twice. Entry: `recording.capturing`."""
    recording = _locked(recording.pk)
    if recording.state != State.REQUESTED:
        return recording
    recording.state = State.CAPTURING
    recording.save(update_fields=["state"])
    log.record("recording.capturing", on=recording, by=by, at=at, call=recording.call_id)
    return recording


@transaction.atomic
def open_epoch(
    *,
    epoch_id: UUID | None = None,
    recording_id: UUID,
    participant_id: UUID,
    source: str,
    permit: Permit,
    data_key: bytes,
    fence: int,
    by: Actor,
    at: datetime,
) -> tuple[Epoch, Artefact]:
    """One stretch of one track under one decision: its rows, and its data key sealed to the claim that the journal is bound to.

    The key store is another database, so the key is sealed first: a key whose rows never came is swept. Entry: `epoch.opened`.
    Raises Refused: "not-recording" 409 when the recording is not wanted any more; "unknown-participant" 404 for somebody who is
    not in its call; "no-consent" 403 for a permit of another source.
    """
    recording = _locked(recording_id)
    if recording.state not in queries.WANTED:
        raise Refused("not-recording", 409)
    participant = calls.participant(participant_id)
    if participant is None or participant.call_id != recording.call_id:
        raise Refused("unknown-participant", 404)
    if permit.source != source:
        raise Refused("no-consent", 403)
    track, _made = Track.objects.get_or_create(
        recording=recording,
        participant=participant_id,
        source=source,
        defaults={"tenant_id": recording.tenant_id, "person": participant.person},
    )
    number = (track.epochs.aggregate(last=Max("number"))["last"] or 0) + 1
    epoch = Epoch(pk=epoch_id or uuid4(), tenant_id=recording.tenant_id, track=track, number=number, decision=permit.decision_id, fence=fence)
    epoch.entry_hash, epoch.opened_at = permit.entry_hash, at
    sealed = port.seal(tenant_id=recording.tenant_id, key=data_key, context=queries.claim(epoch=epoch).digest(), holder=queries.HOLDER)
    epoch.save(force_insert=True)
    artefact = Artefact(tenant_id=recording.tenant_id, kind=Artefact.Kind.JOURNAL, object_name=storage.new_name(), sealed_key=sealed)
    artefact.save(force_insert=True)
    artefact.epochs.add(epoch)
    facts = {"recording": recording.pk, "person": participant.person_id, "decision": permit.decision_id, "source": source}
    log.record("epoch.opened", on=epoch, by=by, at=at, **facts, number=number, entry_hash=permit.entry_hash.hex())
    return epoch, artefact


def kept(*, artefact: Artefact, kept_until_us: int | None = None) -> Kept:
    """What is stored of a journal, by its whole records; nothing when it was never begun, or lies on another machine.

    Records that end after `kept_until_us` (microseconds since the recording's start) do not count: they had to go and could not be cut off.
    A journal that cannot be read or is not what was written counts as incomplete and empty; finishing it says so to everybody.
    """
    size = 0
    try:
        with storage.store().open(artefact.object_name) as file:
            size = file.seek(0, os.SEEK_END)
            found = journal.heads(file)
            data = [head for head in found.records if head.type == journal.DATA and (kept_until_us is None or head.end_us <= kept_until_us)]
            return Kept(size, sum(head.duration_us for head in data) // 1000, found.complete)
    except FileNotFoundError:
        return Kept()
    except (Tampered, OSError) as error:
        logger.error("journal %s cannot be read (%s); its stretch is closed as incomplete", artefact.object_name, type(error).__name__)
        return Kept(size)


@transaction.atomic
def close_epoch(
    *,
    epoch: Epoch,
    cut: str,
    complete: bool,
    size: int,
    stored_ms: int = 0,
    kept_until_us: int | None = None,
    by: Actor,
    at: datetime,
) -> Epoch:
    """The stretch is over: `cut` says why, `complete` whether its END was sealed. Safe to run twice. Entry: `epoch.closed`.

    Without END, or with records that may not be kept although the file still holds them (those that end after `kept_until_us`), the
    recording is marked incomplete. An epoch that was never begun (`cut` "unused") loses its key at once.
    """
    epoch = Epoch.objects.select_for_update(no_key=True, of=("self",)).select_related("track__recording").get(pk=epoch.pk)
    if epoch.closed_at is not None:
        return epoch
    unused = cut == "unused"
    epoch.closed_at, epoch.cut, epoch.kept_until_us = at, cut, kept_until_us
    epoch.complete = unused or (complete and kept_until_us is None)
    epoch.save(update_fields=["closed_at", "cut", "complete", "kept_until_us"])
    artefact = queries.journal(epoch)
    if unused:
        vault.shred([artefact])
    elif artefact.state == Artefact.State.WRITING:
        artefact.state, artefact.size = Artefact.State.READY, size
        artefact.save(update_fields=["state", "size"])
    if not epoch.complete:
        Recording.objects.filter(pk=epoch.track.recording_id).update(incomplete=True)
    if epoch.track.recording.state == State.FINALISING:
        finishing.promise(recording=epoch.track.recording)
    facts = {"recording": epoch.track.recording_id, "person": epoch.track.person_id, "cut": cut, "complete": bool(epoch.complete)}
    if kept_until_us is not None:
        facts["kept_until_us"] = kept_until_us
    log.record("epoch.closed", on=epoch, by=by, at=at, **facts, stored_ms=stored_ms)
    return epoch


def _locked(recording_id: UUID) -> Recording:
    """The recording as it is now, locked until the commit. Raises Refused("not-found", 404)."""
    found = Recording.objects.select_for_update(no_key=True, of=("self",)).select_related("call__meeting__host").filter(pk=recording_id).first()
    if found is None:
        raise Refused("not-found", 404)
    locked: Recording = found
    return locked


def _allowed(call: Call, ability: str, by: Actor) -> Person:
    """In whose name this is done: the person's own, or the host's for programs and jobs. Raises Refused("not-found", 404).

    What an API key may do was asked by its scopes before it got here.
    """
    if by.kind != "person":
        host: Person = call.meeting.host
        return host
    person = house.person(by.id)
    if person is None or by.tenant_id != str(call.tenant_id):
        raise Refused("not-found", 404)
    own = calls.participation_of(person, call)
    membership = house.memberships_of_person(person).first()
    if (own is None or own.role != Participant.Role.HOST) and (membership is None or not may({membership.role}, ability)):
        raise Refused("not-found", 404)
    return person
