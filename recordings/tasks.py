"""Jobs of recordings."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from tenants import jobs, scope
from tenants.keys import port
from tenants.models import Tenant

from . import queries, services, storage
from .models import Epoch

SILENCE = timedelta(seconds=30)  # after a lease: a worker that lives has closed its epochs itself by then
QUIET = 15.0  # seconds without a write; a recorder stores a record every second
ORPHAN = timedelta(minutes=10)  # longer than any transaction that seals a key


@shared_task(name="recordings.sweep")
def sweep() -> None:
    """Stop recordings whose call has ended, close what lost workers left open, forget keys and objects without an owner.

    Safe to run twice, and at the same time.
    """
    for tenant in Tenant.objects.order_by("pk"):
        sweep_tenant(tenant)


def sweep_tenant(tenant: Tenant) -> None:
    """One tenant's part of the sweep."""
    with scope.entered(tenant):
        by, at = jobs.actor("recordings-sweep"), timezone.now()
        for recording in queries.live_after_their_call():
            services.stop(recording=recording, by=by, at=at)
        for epoch in queries.left_open(SILENCE):
            _close_left_open(epoch)
        orphans, gone = queries.orphan_keys(tenant, at - ORPHAN), queries.shredded(list(storage.store().names()))
    port.destroy(sealed_key_ids=orphans)
    for name in gone:
        storage.store().delete(name)


def _close_left_open(epoch: Epoch) -> None:
    """Close it at the last whole record of its journal; one that is still being written is left for the next sweep."""
    artefact = queries.journal(epoch)
    quiet = storage.store().quiet_for(artefact.object_name)
    if quiet is not None and quiet < QUIET:
        return
    kept = services.kept(artefact=artefact)
    by, at = jobs.actor("recordings-sweep"), timezone.now()
    services.close_epoch(
        epoch=epoch, cut="worker-lost", complete=kept.complete, size=kept.size, stored_ms=kept.stored_ms, by=by, at=at
    )
