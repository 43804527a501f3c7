"""Jobs of recordings."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from tenants import jobs
from tenants.keys import port
from tenants.models import Person, Tenant
from tenants.permissions import Actor

from . import finishing, forgetting, queries, services, storage
from .models import Epoch, Recording

SILENCE = timedelta(seconds=30)  # after a lease: a worker that lives has closed its epochs itself by then
QUIET = 15.0  # seconds without a write; a recorder stores a record every second
ORPHAN = timedelta(minutes=10)  # longer than any transaction that seals a key


@shared_task(name="recordings.sweep")
def sweep() -> None:
    """Stop recordings whose call has ended, close what lost workers left open, take finishing and erasures on.

    Say of recordings of which nothing is left that they are gone; forget keys and objects without an owner.

    Safe to run twice, and at the same time.
    """
    jobs.for_each_tenant("the sweep of recordings", sweep_tenant)


def sweep_tenant(tenant: Tenant) -> None:
    """One tenant's part of the sweep, each thing of it by itself: one that breaks is told, tried again, and keeps no other from its turn."""
    by, at = jobs.actor("recordings-sweep"), timezone.now()
    each = partial(jobs.for_each, tenant, "the sweep of recordings")
    each(queries.live_after_their_call, lambda recording: services.stop(recording=recording, by=by, at=at))
    each(lambda: queries.left_open(SILENCE), _close_left_open)
    each(lambda: queries.to_forget(at), lambda one: _forget(*one, by=by, at=at))
    each(lambda: queries.to_finish(at), lambda recording: finishing.advance(recording=recording, by=by, at=at))
    each(queries.emptied, lambda recording: forgetting.conclude(recording=recording, by=by, at=at))
    each(lambda: queries.orphan_keys(tenant, at - ORPHAN), lambda key: port.destroy(sealed_key_ids=[key]))
    each(lambda: queries.shredded(list(storage.store().names())), storage.store().delete)


@jobs.tenant_task("recordings.finalise")
def finalise(*, recording_id: str) -> None:
    """Take a stopped recording one step on. Safe to run twice."""
    recording = queries.recording(UUID(recording_id))
    if recording is not None:
        finishing.advance(recording=recording, by=jobs.actor("recordings-finish"), at=timezone.now())


@jobs.tenant_task("recordings.finish", in_steps=True)
def finish(*, tenant: Tenant, recording_id: str, participant_id: str) -> None:
    """Write the playback files of one participant. Safe to run twice."""
    by, at = jobs.actor("recordings-finish"), timezone.now()
    finishing.finish(tenant=tenant, recording_id=UUID(recording_id), participant_id=UUID(participant_id), by=by, at=at)


@jobs.tenant_task("recordings.delete_left")
def delete_left(*, object_name: str) -> None:
    """Delete what a job wrote under a name that had been taken from it. Safe to run twice; a name that is a row's again stays."""
    if not queries.is_named(object_name):
        storage.store().delete(object_name)


@jobs.tenant_task("recordings.redact")
def redact(*, person_id: str, recording_id: str) -> None:
    """Forget what was captured of a person in a recording. Safe to run twice; what is still captured or held is left to the sweep."""
    person, recording = Person.objects.filter(pk=person_id).first(), queries.recording(UUID(recording_id))
    if person is not None and recording is not None:
        forgetting.redact(person=person, recording=recording, by=jobs.actor("recordings-redact"), at=timezone.now())


def _forget(person: Person, recording: Recording, *, by: Actor, at: datetime) -> None:
    """What could not go when it was asked for: what is over by its days, and what somebody had erased."""
    forgetting.expire(person=person, recording=recording, by=by, at=at)
    forgetting.complete(person=person, recording=recording, by=by, at=at)


def _close_left_open(epoch: Epoch) -> None:
    """Close it at the last whole record of its journal; one that is still being written is left for the next sweep.

    Nobody was there to apply a withdrawal: what was stored after the decision does not count (D25).
    """
    artefact = queries.journal(epoch)
    quiet = storage.store().quiet_for(artefact.object_name)
    if quiet is not None and quiet < QUIET:
        return
    until = queries.permitted_until_us(epoch)
    kept = services.kept(artefact=artefact, kept_until_us=until)
    services.close_epoch(
        epoch=epoch,
        cut="worker-lost",
        complete=kept.complete,
        size=kept.size,
        stored_ms=kept.stored_ms,
        kept_until_us=until,
        by=jobs.actor("recordings-sweep"),
        at=timezone.now(),
    )
