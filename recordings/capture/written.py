"""The database's side of capture: reads the wish, opens and closes epochs. Runs in the thread of `calls.control`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.utils import timezone

from calls.control import Handlers
from calls.media.orders import Outcome
from consent import gate
from consent import queries as consent
from tenants import queries as house
from tenants import scope
from tenants.errors import Refused
from tenants.permissions import Actor

from .. import queries, sealing, services
from .orders import CloseEpoch, EpochOpened, OpenEpoch, Wish

ACTOR = Actor.job("media-worker")


def wish(call_id: UUID) -> Wish | None:
    """What is to be captured of a call now, or None. Inside its tenant's scope."""
    found = queries.wanted(call_id)
    if found is None:
        return None
    recording, now = found
    age = max(0.0, (now - recording.requested_at).total_seconds())
    return Wish(recording.pk, recording.tenant_id, recording.requested_at, age, _refused(call_id, now))


def _refused(call_id: UUID, now: datetime) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for decision in consent.standing(call_id):
        if not decision.granted:
            age = max(0.0, (now - decision.decided_at).total_seconds())
            found.setdefault(str(decision.person_id), {}).update(dict.fromkeys(gate.SOURCES.get(decision.purpose.key, ()), age))
    return found


def open_epoch(order: OpenEpoch, ours: bool) -> Outcome:
    """Ask the gate once more, and only then make a data key."""
    tenant = house.tenant(order.tenant_id)
    if tenant is None or not ours:
        return Outcome(order.call_id, order, "lost")
    try:
        with scope.entered(tenant):
            permit = gate.permits(order.call_id).get(order.person_id, {}).get(order.source)
            if permit is None or permit.decision_id != order.decision_id:
                raise Refused("no-consent", 403)
            data_key, at = sealing.new_key(), timezone.now()
            who = {"recording_id": order.recording_id, "participant_id": UUID(order.participant_id)}
            epoch, artefact = services.open_epoch(
                **who, source=order.source, permit=permit, data_key=data_key, fence=order.fence, by=ACTOR, at=at
            )
            services.capturing(recording=epoch.track.recording, by=ACTOR, at=at)
    except Refused as refused:
        return Outcome(order.call_id, order, refused.code)
    return EpochOpened(order.call_id, order, "", epoch.pk, artefact.object_name, services.claim(epoch=epoch), data_key)


def close_epoch(order: CloseEpoch, ours: bool) -> Outcome:
    """Write down what the journal holds. A worker may always close what it opened, also after it has lost the call."""
    tenant = house.tenant(order.tenant_id)
    if tenant is None:
        return Outcome(order.call_id, order, "lost")
    with scope.entered(tenant):
        epoch = queries.open_epoch(order.epoch_id)
        if epoch is not None:
            kept = services.kept(artefact=queries.journal(epoch))
            facts = {"size": kept.size, "stored_ms": kept.stored_ms}
            services.close_epoch(epoch=epoch, cut=order.cut, complete=kept.complete, **facts, by=ACTOR, at=timezone.now())
    return Outcome(order.call_id, order)


HANDLERS: Handlers = {OpenEpoch: open_epoch, CloseEpoch: close_epoch}
