"""May this key be released? Judges by the database as it is now, counts, and only then asks the key store; keeps no key (D18).

What must never happen here, and what holds it:
- A key for somebody who may not look: viewer, place in the house and viewing are read again for every request, and nothing that the
  caller holds in memory is believed. Whoever looks at the own part gets the own part and nobody else's.
- A look without a purpose: a key goes to a viewing alone, and `viewing.view` makes none without a purpose and an entry for each person.
- Media that nobody agreed to: the decision that the stretch was captured under is opened in the log once more, and must be this
  person's yes for this source in this call, with the very hash that the bytes are bound to. A withdrawal that only stops leaves it standing.
- Media that somebody asked to forget: no stretch with `restricted_at` is released, to nobody, not even for finishing.
- A key that stays: what is returned here is kept by `vault` for a minute at most, and every use of it is judged again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from compliance import log
from consent import queries as consent
from consent.catalogue import SOURCES
from tenants import queries as house
from tenants.errors import Refused
from tenants.keys import service
from tenants.models import Person
from tenants.permissions import Actor, may

from . import queries
from .models import Artefact, Epoch, Viewing
from .sealing import Context

ABILITY = "recordings.play"


@dataclass(frozen=True)
class Granted:
    """What was judged, as the database has it now, and the claim that its bytes are bound to."""

    viewing: Viewing
    artefact: Artefact
    claim: Context


def judge(*, viewing: Viewing, artefact: Artefact, at: datetime) -> Granted:
    """May this viewing open this playback file at this moment?

    Raises Refused: "not-found" 404 for a viewer who is gone or may no longer, or a file that is not in the viewing or not there;
    "viewing-over" 410; "restricted" 410; "no-consent" 403 when the log does not prove the yes it was captured under.
    """
    now = queries.viewing(viewing.pk)
    viewer = house.person(now.viewer_id) if now is not None else None
    if now is None or viewer is None:
        raise Refused("not-found", 404)
    if now.expires_at <= at:
        raise Refused("viewing-over", 410)
    stored, epoch = _stored(artefact, Artefact.Kind.PLAYBACK)
    if not now.epochs.filter(pk=epoch.pk).exists() or not _may_look(now, viewer, epoch):
        raise Refused("not-found", 404)
    _require(stored, epoch)
    return Granted(now, stored, queries.claim(epoch=epoch))


def data_key(*, viewing: Viewing, artefact: Artefact, at: datetime) -> bytes:
    """The key of one playback file for one viewing. Counted in `Viewing.releases`. Raises Refused as `judge` and as the key store."""
    granted = judge(viewing=viewing, artefact=artefact, at=at)
    key = _unsealed(granted.artefact, granted.claim)
    granted.viewing.releases = F("releases") + 1
    granted.viewing.save(update_fields=["releases"])
    return key


def journal_key(*, artefact: Artefact) -> bytes:
    """The key of a closed journal, for the job that finishes it and for nobody else.

    Raises Refused: "not-found" 404 when there is nothing left to open; "restricted" 410; "no-consent" 403; and as the key store.
    """
    stored, epoch = _stored(artefact, Artefact.Kind.JOURNAL)
    _require(stored, epoch)
    return _unsealed(stored, queries.claim(epoch=epoch))


def proof_key(*, artefact: Artefact) -> bytes:
    """The key of a stored object, journal or playback file, for the job that counts its records and shows them to nobody.

    Raises Refused as `journal_key`.
    """
    stored, epoch = _stored(artefact, Artefact.Kind(artefact.kind))
    _require(stored, epoch)
    return _unsealed(stored, queries.claim(epoch=epoch))


def _stored(artefact: Artefact, kind: Artefact.Kind) -> tuple[Artefact, Epoch]:
    """The object and its one stretch as they are now. Raises Refused("not-found", 404)."""
    stored = queries.artefact(artefact.pk, kind)
    epochs = list(queries.epochs_in(stored)) if stored is not None else []
    if stored is None or len(epochs) != 1:
        raise Refused("not-found", 404)
    return stored, epochs[0]


def _require(stored: Artefact, epoch: Epoch) -> None:
    """A restriction is told before the state, so that a file that is being erased is not taken for one that never was."""
    if epoch.restricted_at is not None:
        raise Refused("restricted", 410)
    if stored.state != Artefact.State.READY:
        raise Refused("not-found", 404)
    if not _agreed(epoch):
        raise Refused("no-consent", 403)


def _may_look(viewing: Viewing, viewer: Person, epoch: Epoch) -> bool:
    """The own part to oneself; everybody's to whoever holds the ability now and may see this very recording."""
    if epoch.track.recording_id != viewing.recording_id:
        return False
    if viewing.purpose == Viewing.Purpose.OWN:
        return bool(epoch.track.person_id == viewer.pk)
    membership = house.memberships_of_person(viewer).first()
    if membership is None or not may({membership.role}, ABILITY):
        return False
    return bool(queries.recordings_for(Actor.person(viewer), frozenset({membership.role})).filter(pk=viewing.recording_id).exists())


def _agreed(epoch: Epoch) -> bool:
    """Was it captured under a yes that the log proves: of this person, to this source, in this call?"""
    decision, track = consent.decision(epoch.decision), epoch.track
    if decision is None or not decision.granted or not consent.proven(decision):
        return False
    return (
        decision.person_id == track.person_id
        and decision.call_id == track.recording.call_id
        and track.source in SOURCES.get(decision.purpose.key, ())
        and log.entry_hash(decision.entry) == bytes(epoch.entry_hash)
    )


def _unsealed(stored: Artefact, claim: Context) -> bytes:
    if stored.sealed_key is None:
        raise Refused("not-found", 404)
    return service.unseal(sealed_key_id=stored.sealed_key, tenant_id=stored.tenant_id, context=claim.digest())
