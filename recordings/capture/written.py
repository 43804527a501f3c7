"""The database's side of capture: reads the wish, opens and closes epochs. Runs in the thread of `calls.control`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from calls.control import Handlers, Stays
from calls.media.orders import Outcome
from consent import gate
from tenants import queries as house
from tenants import scope
from tenants.errors import Refused
from tenants.permissions import Actor

from .. import queries, sealing, services, storage
from .orders import CloseEpoch, EpochOpened, OpenEpoch, Wish

ACTOR = Actor.job("media-worker")

log = logging.getLogger(__name__)


def wish(call_id: UUID, reading: gate.Reading) -> Wish | None:
    """What is to be captured of a call now, or None. Inside its tenant's scope, in the transaction of `reading`."""
    found = queries.wanted(call_id)
    if found is None:
        return None
    recording, now = found
    age = max(0.0, (now - recording.requested_at).total_seconds())
    return Wish(recording.pk, recording.tenant_id, recording.requested_at, age, _ages(reading.refused_at, now))


def _ages(refused_at: Mapping[str, Mapping[str, datetime]], now: datetime) -> dict[str, dict[str, float]]:
    """Seconds before `now`, which the database said after the decisions were read: an age is never too short."""
    return {
        person_id: {source: max(0.0, (now - decided_at).total_seconds()) for source, decided_at in sources.items()}
        for person_id, sources in refused_at.items()
    }


def open_epoch(order: OpenEpoch, stays: Stays | None) -> Outcome:
    """Ask the gate once more, and only then make a data key. Committed only while the call stays this worker's: else "lost", and nothing is written.

    An order comes twice when the database was lost at its commit. If that was done all the same, its key is known to nobody any more:
    the stretch is closed as never begun, and capture asks for another.
    """
    tenant = house.tenant(order.tenant_id)
    if tenant is None or stays is None:
        return Outcome(order.call_id, order, "lost")
    try:
        with scope.entered(tenant):
            before = queries.open_epoch(order.epoch_id)
            if before is not None:
                services.close_epoch(epoch=before, cut="unused", complete=False, size=0, by=ACTOR, at=timezone.now())
                return Outcome(order.call_id, order, "asked-again")
            queries.locked(order.recording_id)  # before the gate: an erasure holds it until the yes is gone, and misses no stretch
            permit = gate.permits(order.call_id).get(order.person_id, {}).get(order.source)
            if permit is None or permit.decision_id != order.decision_id:
                raise Refused("no-consent", 403)
            data_key, at = sealing.new_key(), timezone.now()
            who = {"epoch_id": order.epoch_id, "recording_id": order.recording_id, "participant_id": UUID(order.participant_id)}
            epoch, artefact = services.open_epoch(**who, source=order.source, permit=permit, data_key=data_key, fence=order.fence, by=ACTOR, at=at)
            services.capturing(recording=epoch.track.recording, by=ACTOR, at=at)
            if not stays():  # last, because the heartbeat waits for the row that it locks; a key whose rows never came is swept
                raise Refused("lost", 409)
    except Refused as refused:
        return Outcome(order.call_id, order, refused.code)
    return EpochOpened(order.call_id, order, "", epoch.pk, artefact.object_name, queries.claim(epoch=epoch), data_key)


def close_epoch(order: CloseEpoch, _stays: Stays | None) -> Outcome:
    """Write down what the journal holds, once that is on the disk. A worker may always close what it opened, also after it has lost the call."""
    tenant = house.tenant(order.tenant_id)
    if tenant is None:
        return Outcome(order.call_id, order, "lost")
    with scope.entered(tenant):
        epoch = queries.open_epoch(order.epoch_id)
        artefact = queries.journal(epoch) if epoch is not None else None
    if epoch is None or artefact is None:
        return Outcome(order.call_id, order)
    on_disk = _on_disk(artefact.object_name)  # between two transactions: no lock is held while the disk works
    kept, limit = services.kept(artefact=artefact, kept_until_us=order.kept_until_us), order.kept_until_us
    complete, facts = kept.complete and on_disk, {"size": kept.size, "stored_ms": kept.stored_ms}
    with scope.entered(tenant):
        services.close_epoch(epoch=epoch, cut=order.cut, complete=complete, **facts, kept_until_us=limit, by=ACTOR, at=timezone.now())
    return Outcome(order.call_id, order)


def _on_disk(name: str) -> bool:
    """Wait until the journal is on the disk: here, and not in the loop, whose packets would wait too. False when the disk did not take it."""
    try:
        storage.store().sync(name)
    except FileNotFoundError:
        return False
    except OSError as error:
        log.error("a journal may not be on the disk (%s)", error.strerror)
        return False
    return True


HANDLERS: Handlers = {OpenEpoch: open_epoch, CloseEpoch: close_epoch}
