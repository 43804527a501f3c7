"""Guarded reads of recordings. All run inside one tenant's scope and raise without one, except where a key store is asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import DateTimeField, F, Prefetch, Q, QuerySet
from django.db.models.functions import Now

from calls.models import Call, Placement
from consent import queries as consent
from consent.catalogue import KEEP_DAYS
from tenants.errors import Refused
from tenants.models import Person, SealedKey, Tenant
from tenants.permissions import Actor, may

from .models import Artefact, Epoch, Recording, Track, Viewing
from .sealing import Context

WANTED = (Recording.State.REQUESTED, Recording.State.CAPTURING)
HOLDER = "artefact"  # of the sealed keys that our rows name
ZONE = ZoneInfo("Europe/Helsinki")  # where a day ends, as for every other deadline
BATCH = 500  # stretches whose decisions are looked up at once


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
    """Open epochs whose worker lost the call `silence` ago: its lease lapsed then, or somebody else took the call.

    Who has only just lost it may not know yet, and still write an end.
    """
    found = list(Epoch.objects.select_related("track__recording").filter(closed_at=None))
    calls = {epoch.track.recording.call_id for epoch in found}
    placed = Placement.objects.filter(pk__in=calls)
    fences = dict(placed.filter(lease_until__gte=Now() - silence).values_list("pk", "fence"))
    lately = frozenset(placed.filter(fence__gt=1, placed_at__gte=Now() - silence).values_list("pk", flat=True))
    return [epoch for epoch in found if fences.get(epoch.track.recording.call_id) != epoch.fence and epoch.track.recording.call_id not in lately]


def permitted_until_us(epoch: Epoch) -> int | None:
    """The moment of the recording at which the decision behind a stretch was replaced by another; None while it stands."""
    replaced = consent.replaced_at(epoch.decision)
    if replaced is None:
        return None
    return max(0, (replaced - epoch.track.recording.requested_at) // timedelta(microseconds=1))


def journal(epoch: Epoch) -> Artefact:
    """The journal of an epoch; every epoch has one."""
    found: Artefact = epoch.artefacts.get(kind=Artefact.Kind.JOURNAL)
    return found


def claim(*, epoch: Epoch) -> Context:
    """What the bytes of an epoch are bound to, journal and playback file alike; under any other claim they do not open."""
    track = epoch.track
    return Context(epoch.tenant_id, track.recording_id, track.participant, track.source, epoch.pk, bytes(epoch.entry_hash))


def recording(recording_id: UUID) -> Recording | None:
    """One recording, for jobs; None when there is none."""
    found: Recording | None = Recording.objects.filter(pk=recording_id).first()
    return found


def capturing_now(recording: Recording) -> bool:
    """Is any stretch of it still open?"""
    return bool(Epoch.objects.filter(track__recording=recording, closed_at=None).exists())


def locked(recording_id: UUID) -> Recording:
    """The recording as it is now, locked until the commit. Raises Refused("not-found", 404)."""
    rows = Recording.objects.select_for_update(no_key=True, of=("self",)).select_related("call__meeting__host")
    found: Recording | None = rows.filter(pk=recording_id).first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def journals_left(recording: Recording) -> QuerySet[Artefact]:
    """Journals that have no playback file yet. What is restricted is left out: it will be forgotten, not finished."""
    found: QuerySet[Artefact] = Artefact.objects.filter(
        kind=Artefact.Kind.JOURNAL, state=Artefact.State.READY, epochs__track__recording=recording, epochs__restricted_at=None
    ).order_by("pk")
    return found


def being_written(recording: Recording) -> QuerySet[Artefact]:
    """Playback files that are ordered and not finished, without the restricted ones."""
    found: QuerySet[Artefact] = Artefact.objects.filter(
        kind=Artefact.Kind.PLAYBACK, state=Artefact.State.WRITING, epochs__track__recording=recording, epochs__restricted_at=None
    ).order_by("pk")
    return found


def participants_being_written(recording: Recording) -> list[UUID]:
    """Whose files they are."""
    return sorted(set(being_written(recording).values_list("epochs__track__participant", flat=True)))


def being_written_of(recording: Recording, participant_id: UUID) -> QuerySet[Artefact]:
    """Those of `being_written` that hold media of this participant."""
    return being_written(recording).filter(epochs__track__participant=participant_id)


def playable(recording: Recording) -> QuerySet[Artefact]:
    """Its finished playback files, those of restricted stretches included."""
    found: QuerySet[Artefact] = Artefact.objects.filter(
        kind=Artefact.Kind.PLAYBACK, state=Artefact.State.READY, epochs__track__recording=recording
    ).order_by("pk")
    return found


def epoch_of(artefact: Artefact) -> Epoch:
    """The one stretch whose media is in it."""
    found: Epoch = artefact.epochs.select_related("track__recording", "track__person").get()
    return found


def locked_artefacts(artefact_ids: Iterable[UUID]) -> list[Artefact]:
    """These stored objects as they are now, locked until the commit, always in one order."""
    return list(Artefact.objects.select_for_update(no_key=True).filter(pk__in=list(artefact_ids)).order_by("pk"))


def to_finish(at: datetime) -> QuerySet[Recording]:
    """Stopped recordings that still have to be finished, and failed ones whose time has come again."""
    due = Q(state=Recording.State.FINALISING) | Q(state=Recording.State.FAILED, retry_at__lte=at)
    found: QuerySet[Recording] = Recording.objects.filter(due).order_by("requested_at")
    return found


def epochs(recording: Recording) -> QuerySet[Epoch]:
    """Every stretch of a recording, in the order of their opening."""
    found: QuerySet[Epoch] = (
        Epoch.objects.select_related("track__person", "track__recording").filter(track__recording=recording).order_by("opened_at", "number")
    )
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


def viewings_of(person: Person) -> QuerySet[Viewing]:
    """Every look at a part of this person, and every look by this person, newest first."""
    concerned = Q(viewer=person) | Q(epochs__track__person=person)
    found: QuerySet[Viewing] = Viewing.objects.select_related("recording__call__meeting").filter(concerned).distinct().order_by("-opened_at", "pk")
    return found


def is_named(object_name: str) -> bool:
    """Does a row of the tenant name this object?"""
    return bool(Artefact.objects.filter(object_name=object_name).exists())


def shredded(names: list[str]) -> list[str]:
    """Those of these object names whose key is gone."""
    found = Artefact.objects.filter(object_name__in=names, state=Artefact.State.SHREDDED)
    return list(found.values_list("object_name", flat=True))


def orphan_keys(tenant: Tenant, before: datetime) -> list[UUID]:
    """Sealed keys of stored objects of the tenant, made before this time, that no object names. Keys of other holders are not ours to judge."""
    made = SealedKey.objects.filter(tenant_id=tenant.pk, holder=HOLDER, created_at__lt=before).values_list("pk", flat=True)
    named = set(Artefact.objects.exclude(sealed_key=None).values_list("sealed_key", flat=True))
    return [key for key in made if key not in named]


# Who may look at what


def own_recordings(person: Person) -> QuerySet[Recording]:
    """Recordings with a track of the person, or of a call that the person was in while it was recorded; newest first."""
    present = Q(call__participants__person=person, call__participants__joined_at__isnull=False)
    present &= Q(call__participants__left_at=None) | Q(call__participants__left_at__gte=F("requested_at"))
    present &= Q(stopped_at=None) | Q(call__participants__joined_at__lte=F("stopped_at"))
    theirs = Recording.objects.filter(present | Q(tracks__person=person)).values("pk")
    found: QuerySet[Recording] = Recording.objects.select_related("call__meeting__host").filter(pk__in=theirs).order_by("-requested_at", "pk")
    return found


def own_recording(person: Person, recording_id: UUID) -> Recording:
    """One of `own_recordings`. Raises Refused("not-found", 404)."""
    found = own_recordings(person).filter(pk=recording_id).first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def viewing(viewing_id: UUID) -> Viewing | None:
    """A viewing as it is now, or None."""
    found: Viewing | None = Viewing.objects.filter(pk=viewing_id).first()
    return found


def viewing_for(person: Person, recording: Recording, viewing_id: UUID) -> Viewing:
    """The person's own viewing of this recording, over or not. Raises Refused("not-found", 404)."""
    found: Viewing | None = Viewing.objects.select_related("recording__call").filter(pk=viewing_id, viewer=person, recording=recording).first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def looks(recording: Recording, person: Person | None = None) -> QuerySet[Viewing]:
    """Who looked at a recording, or at this person's part of it, newest first; each with the viewer's membership where there is one."""
    found: QuerySet[Viewing] = Viewing.objects.select_related("viewer__membership").filter(recording=recording)
    if person is not None:
        found = found.filter(epochs__track__person=person).distinct()
    return found.order_by("-opened_at", "pk")


def artefact(artefact_id: UUID, kind: str) -> Artefact | None:
    """A stored object of this kind as it is now, or None."""
    found: Artefact | None = Artefact.objects.filter(pk=artefact_id, kind=kind).first()
    return found


def playback_file(artefact_id: UUID) -> Artefact:
    """A playback file, whatever its state. Raises Refused("not-found", 404)."""
    found = artefact(artefact_id, Artefact.Kind.PLAYBACK)
    if found is None:
        raise Refused("not-found", 404)
    return found


def epochs_in(artefact: Artefact) -> QuerySet[Epoch]:
    """The stretches whose media is in an object, as they are now."""
    found: QuerySet[Epoch] = artefact.epochs.select_related("track__recording", "track__person").order_by("pk")
    return found


def stretches(recording: Recording) -> QuerySet[Epoch]:
    """`epochs`, each with its stored objects; without those that were never begun."""
    return epochs(recording).exclude(cut="unused").prefetch_related("artefacts")


class StoredOf(NamedTuple):
    """Of whom something is stored that can be played, and of whom something that is to be erased."""

    kept: set[UUID]
    to_be_erased: set[UUID]


def stored_of(person_ids: Iterable[UUID], call_ids: Iterable[UUID] | None = None) -> StoredOf:
    """Of which of these people something is stored, of whatever sitting or of one of these; somebody may be in both."""
    stored = (Artefact.State.WRITING, Artefact.State.READY)
    found = Epoch.objects.filter(track__person__in=list(person_ids), artefacts__state__in=stored)
    found = found if call_ids is None else found.filter(track__recording__call__in=call_ids)
    rows = list(found.values_list("track__person", "restricted_at").distinct())
    return StoredOf({person for person, restricted in rows if restricted is None}, {person for person, restricted in rows if restricted is not None})


def ids_of(call_id: UUID) -> list[UUID]:
    """The recordings of a call."""
    return list(Recording.objects.filter(call_id=call_id).order_by("requested_at").values_list("pk", flat=True))


class Rows(NamedTuple):
    """All rows about the recordings of one call, in an order in which they can go."""

    viewings: QuerySet[Viewing]
    artefacts: QuerySet[Artefact]
    epochs: QuerySet[Epoch]
    tracks: QuerySet[Track]
    recordings: QuerySet[Recording]


def rows_of(call_id: UUID) -> Rows:
    """Everything that rows say about the recordings of a call."""
    found = Recording.objects.filter(call_id=call_id)
    epochs = Epoch.objects.filter(track__recording__in=found)
    artefacts = Artefact.objects.filter(pk__in=Artefact.objects.filter(epochs__in=epochs).values("pk"))
    return Rows(Viewing.objects.filter(recording__in=found), artefacts, epochs, Track.objects.filter(recording__in=found), found)


def is_stored(call_id: UUID) -> bool:
    """Is anything of a call stored, or being captured, or to be recorded still?"""
    if Recording.objects.filter(call_id=call_id, state__in=Recording.LIVE).exists():
        return True
    left = Q(closed_at=None) | Q(artefacts__state__in=(Artefact.State.WRITING, Artefact.State.READY))
    return bool(Epoch.objects.filter(left, track__recording__call_id=call_id).exists())


def still_stored() -> QuerySet[Epoch]:
    """Stretches of which anything is stored, also those that are being erased."""
    found: QuerySet[Epoch] = Epoch.objects.filter(artefacts__state__in=(Artefact.State.WRITING, Artefact.State.READY))
    return found


# Proof


def stored() -> QuerySet[Artefact]:
    """Every stored object that is not shredded, with its stretch, track and recording."""
    left = Artefact.objects.exclude(state=Artefact.State.SHREDDED).order_by("pk")
    found: QuerySet[Artefact] = left.prefetch_related(Prefetch("epochs", Epoch.objects.select_related("track__recording", "track__person")))
    return found


# Forgetting


def lock_for_forgetting(person: Person, recording: Recording | None) -> list[Epoch]:
    """The person's stretches, in one recording or in all, locked with their recordings until the commit.

    First stretches, then recordings: in the order of capture, which closes a stretch and then marks its recording.
    """
    rows = Epoch.objects.select_for_update(no_key=True, of=("self",)).select_related("track__recording__call").filter(track__person=person)
    rows = rows.filter(track__recording=recording) if recording is not None else rows
    found = list(rows.order_by("pk"))
    recordings = {epoch.track.recording_id for epoch in found}
    list(Recording.objects.select_for_update(no_key=True).filter(pk__in=recordings).order_by("pk").values_list("pk"))
    return found


def restricted_left(person: Person, recording: Recording | None, at: datetime) -> QuerySet[Artefact]:
    """Stored objects of the person that nobody plays any more and that have to go now; without what is being captured, or can be given back."""
    which = Q(epochs__track__person=person, epochs__restricted_at__isnull=False, epochs__closed_at__isnull=False)
    which &= Q(epochs__erase_from=None) | Q(epochs__erase_from__lte=at)
    if recording is not None:
        which &= Q(epochs__track__recording=recording)
    found: QuerySet[Artefact] = Artefact.objects.filter(which).exclude(state=Artefact.State.SHREDDED)
    return found


def to_forget(at: datetime) -> list[tuple[Person, Recording]]:
    """Of whom something is restricted for good and not being captured any more, and still stored; by recording."""
    stored = (Artefact.State.WRITING, Artefact.State.READY)
    due = Q(erase_from=None) | Q(erase_from__lte=at)
    left = Epoch.objects.filter(due, restricted_at__isnull=False, closed_at__isnull=False, artefacts__state__in=stored)
    tracks = Track.objects.select_related("person", "recording").filter(epochs__in=left).order_by("recording", "pk")
    return list({(track.person_id, track.recording_id): (track.person, track.recording) for track in tracks}.values())


# How long it is kept


def day_of(at: datetime) -> date:
    """The day that it is at this time in `ZONE`."""
    return at.astimezone(ZONE).date()


def last_days(epochs: Iterable[Epoch]) -> dict[UUID, date]:
    """Stretch -> the last day on which it is kept: as many days after the recording's stop as the notice said that was agreed to.

    Whole days in `ZONE`; the day of the stop is not counted (Regulation 1182/71, Article 3). Without the decision it is the baseline's
    days; while the recording is not stopped, they are counted from its start, and nothing is over.
    """
    found = list(epochs)
    agreed = consent.decisions({epoch.decision for epoch in found})
    days = {epoch.pk: agreed[epoch.decision].notice.keep_days if epoch.decision in agreed else KEEP_DAYS for epoch in found}
    ends = {epoch.pk: epoch.track.recording.stopped_at or epoch.track.recording.requested_at for epoch in found}
    return {epoch.pk: day_of(ends[epoch.pk]) + timedelta(days=days[epoch.pk]) for epoch in found}


def over(epochs: Iterable[Epoch], at: datetime) -> list[Epoch]:
    """Those of these stretches whose last day is past at this time, and that nobody captures any more."""
    done = [epoch for epoch in epochs if epoch.closed_at is not None and epoch.track.recording.stopped_at is not None]
    last, today = last_days(done), day_of(at)
    return [epoch for epoch in done if last[epoch.pk] < today]


def to_expire(at: datetime) -> list[Epoch]:
    """Every stretch of the tenant that is `over` and of which something is stored, those of the oldest recordings first."""
    stored = Artefact.objects.exclude(state=Artefact.State.SHREDDED).values("epochs")
    left = Epoch.objects.filter(pk__in=stored, closed_at__isnull=False, track__recording__stopped_at__lt=at)
    ids = list(left.order_by("track__recording__stopped_at", "pk").values_list("pk", flat=True))
    found: list[Epoch] = []
    for start in range(0, len(ids), BATCH):
        batch = Epoch.objects.select_related("track__recording", "track__person").filter(pk__in=ids[start : start + BATCH])
        found += over(batch.order_by("track__recording__stopped_at", "pk"), at)
    return found


def emptied() -> QuerySet[Recording]:
    """Finished recordings that held something of somebody and of which nothing is stored any more."""
    left = Q(closed_at=None) | Q(artefacts__state__in=(Artefact.State.WRITING, Artefact.State.READY))
    stored = Epoch.objects.filter(left).values("track__recording")
    finished = Recording.objects.filter(state__in=(Recording.State.READY, Recording.State.FAILED), tracks__epochs__restricted_at__isnull=False)
    found: QuerySet[Recording] = finished.exclude(pk__in=stored).distinct().order_by("requested_at", "pk")
    return found
