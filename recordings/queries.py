"""Guarded reads of recordings. All run inside one tenant's scope and raise without one, except where a key store is asked."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import DateTimeField, Q, QuerySet
from django.db.models.functions import Now

from calls.models import Call, Placement
from tenants.errors import Refused
from tenants.models import Person, SealedKey, Tenant
from tenants.permissions import Actor, may

from .models import Artefact, Epoch, Recording, Track

WANTED = (Recording.State.REQUESTED, Recording.State.CAPTURING)


def recordings_for(actor: Actor, roles: frozenset[str]) -> QuerySet[Recording]:
    """What the actor may see, newest first: everything for programs and those who see all meetings, else of meetings they host."""
    found: QuerySet[Recording] = Recording.objects.select_related("call__meeting").order_by("-requested_at", "pk")
    if actor.kind != "person" or may(roles, "meetings.see_all"):
        return found
    return found.filter(call__meeting__host=UUID(actor.id))


def recording_for(actor: Actor, roles: frozenset[str], recording_id: UUID) -> Recording:
    """One of `recordings_for`. Raises Refused("not-found", 404): absent and not allowed look alike."""
    found = recordings_for(actor, roles).filter(pk=recording_id).first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def live(call_id: UUID) -> Recording | None:
    """The recording of a call that is not stopped yet, or None."""
    found: Recording | None = Recording.objects.filter(call_id=call_id, state__in=Recording.LIVE).first()
    return found


def wanted(call_id: UUID) -> tuple[Recording, datetime] | None:
    """The recording that is to be captured now, and the database's time of this reading; None when none is."""
    found = Recording.objects.filter(call_id=call_id, state__in=WANTED).annotate(database_time=Now(output_field=DateTimeField())).first()
    return (found, found.database_time) if found else None


def live_after_their_call() -> QuerySet[Recording]:
    """Recordings that go on although their call has ended."""
    found: QuerySet[Recording] = Recording.objects.filter(state__in=Recording.LIVE).exclude(call__state=Call.State.OPEN)
    return found


def open_epoch(epoch_id: UUID | str) -> Epoch | None:
    """An epoch that is not closed yet, or None."""
    found: Epoch | None = Epoch.objects.select_related("track__recording").filter(pk=epoch_id, closed_at=None).first()
    return found


def left_open(silence: timedelta) -> list[Epoch]:
    """Open epochs whose worker has lost the call: its lease lapsed `silence` ago, or a later fence carries it."""
    found = list(Epoch.objects.select_related("track__recording").filter(closed_at=None))
    calls = {epoch.track.recording.call_id for epoch in found}
    held = Placement.objects.filter(pk__in=calls, lease_until__gte=Now() - silence).values_list("pk", "fence")
    fences = dict(held)
    return [epoch for epoch in found if fences.get(epoch.track.recording.call_id) != epoch.fence]


def journal(epoch: Epoch) -> Artefact:
    """The journal of an epoch; every epoch has one."""
    found: Artefact = epoch.artefacts.get(kind=Artefact.Kind.JOURNAL)
    return found


def epochs(recording: Recording) -> QuerySet[Epoch]:
    """Every stretch of a recording, in the order of their opening."""
    found: QuerySet[Epoch] = Epoch.objects.select_related("track__person").filter(track__recording=recording).order_by("opened_at", "number")
    return found


def tracks_of(person: Person) -> QuerySet[Track]:
    """Every track of a person."""
    theirs = Track.objects.select_related("recording__call__meeting").filter(person=person)
    found: QuerySet[Track] = theirs.order_by("recording__requested_at", "source")
    return found


def epochs_of(person: Person) -> QuerySet[Epoch]:
    """Every stretch that was captured of a person, oldest first."""
    found: QuerySet[Epoch] = Epoch.objects.select_related("track__recording").filter(track__person=person).order_by("opened_at", "number")
    return found


def artefacts_of(person: Person) -> QuerySet[Artefact]:
    """Every stored object that holds media of a person."""
    found: QuerySet[Artefact] = Artefact.objects.filter(epochs__track__person=person).distinct().order_by("pk")
    return found


def recordings_started_by(person: Person) -> QuerySet[Recording]:
    found: QuerySet[Recording] = Recording.objects.filter(requested_by=person).order_by("requested_at")
    return found


def recordings_with(person: Person) -> QuerySet[Recording]:
    """Recordings that the person asked for or is part of, each once."""
    theirs = Q(requested_by=person) | Q(tracks__person=person)
    found: QuerySet[Recording] = Recording.objects.select_related("call__meeting").filter(theirs).distinct().order_by("requested_at")
    return found


def shredded(names: list[str]) -> list[str]:
    """Those of these object names whose key is gone."""
    found = Artefact.objects.filter(object_name__in=names, state=Artefact.State.SHREDDED)
    return list(found.values_list("object_name", flat=True))


def orphan_keys(tenant: Tenant, before: datetime) -> list[UUID]:
    """Sealed keys of the tenant, made before this time, that no stored object names."""
    made = SealedKey.objects.filter(tenant_id=tenant.pk, created_at__lt=before).values_list("pk", flat=True)
    named = set(Artefact.objects.exclude(sealed_key=None).values_list("sealed_key", flat=True))
    return [key for key in made if key not in named]
