"""What recordings hold about people: who asked for one, whose tracks are in it, under which decisions, and the stored objects."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Model

from compliance.registry import Data, Erase, Export, Field, Line, Outcome, Purpose, Retention, declare, fields
from tenants import jobs
from tenants.models import Person

from . import forgetting, queries
from .models import Artefact

CLAIMS = "gdpr-17-3-e"  # establishment, exercise or defence of legal claims

FRAME = Field(Data.NONE, Purpose.RECORDING, Retention.EVIDENCE)  # with the rest of the row: when the evidence about its call goes
ASKED = Field(Data.PSEUDONYM, Purpose.RECORDING, Retention.EVIDENCE, Export.INCLUDE)
TIMES = Field(Data.ACTIVITY, Purpose.RECORDING, Retention.EVIDENCE, Export.INCLUDE)
WHOSE = Field(Data.PSEUDONYM, Purpose.RECORDING, Retention.EVIDENCE)
PROOF = Field(Data.PSEUDONYM, Purpose.CONSENT, Retention.EVIDENCE, Export.INCLUDE)
MEDIA = Field(Data.CONTENT, Purpose.RECORDING, Retention.RECORDING, Export.INCLUDE, Erase.DESTROY_KEY)
KEY = Field(Data.CREDENTIAL, Purpose.RECORDING, Retention.RECORDING, Export.OMIT, Erase.DESTROY_KEY)


def export_recordings(person: Model) -> Iterator[dict[str, Any]]:
    """Recordings that the person asked for or is part of."""
    assert isinstance(person, Person)
    for recording in queries.recordings_with(person):
        times = {"requested_at": recording.requested_at, "stopped_at": recording.stopped_at}
        asked = recording.requested_by_id == person.pk
        yield {"meeting": recording.call.meeting.title, "state": recording.state, "incomplete": recording.incomplete, "asked": asked, **times}


def export_tracks(person: Model) -> Iterator[dict[str, Any]]:
    """From which sources the person was captured, in which recording."""
    assert isinstance(person, Person)
    for track in queries.tracks_of(person):
        yield {"recording": str(track.recording_id), "meeting": track.recording.call.meeting.title, "source": track.source}


def export_epochs(person: Model) -> Iterator[dict[str, Any]]:
    """When, and under which decision."""
    assert isinstance(person, Person)
    for epoch in queries.epochs_of(person):
        yield {
            "recording": str(epoch.track.recording_id),
            "source": epoch.track.source,
            "number": epoch.number,
            "decision": str(epoch.decision),
            "entry_hash": bytes(epoch.entry_hash).hex(),
            "opened_at": epoch.opened_at,
            "closed_at": epoch.closed_at,
            "cut": epoch.cut,
            "complete": epoch.complete,
            "restricted_at": epoch.restricted_at,
            "erase_from": epoch.erase_from,
        }


def export_viewings(person: Model) -> Iterator[dict[str, Any]]:
    """Who looked at the person's part, when and why, and what the person looked at. Others are named by their role alone."""
    assert isinstance(person, Person)
    for viewing in queries.viewings_of(person):
        whose = "own" if viewing.viewer_id == person.pk else "staff"
        yield {"recording": str(viewing.recording_id), "viewer": whose, "purpose": viewing.purpose, "opened_at": viewing.opened_at}


def export_artefacts(person: Model) -> Iterator[dict[str, Any]]:
    """What is stored, how much of it, and whether it can still be opened. The media itself is delivered by the request's package."""
    assert isinstance(person, Person)
    for artefact in queries.artefacts_of(person):
        yield {"kind": artefact.kind, "state": artefact.state, "size": artefact.size, "spans": artefact.spans}


def erase_artefacts(person: Model, at: datetime) -> Line:
    """Destroy the keys of everything captured of the person, and the objects. What is being captured now is reported as failed.

    Counted is all that is gone: another job may have shredded it in the moment between the request and this. A key that was never used
    had kept nothing.
    """
    assert isinstance(person, Person)
    redacted = forgetting.redact(person=person, recording=None, by=jobs.actor("erasure"), at=at)
    if redacted.held:
        return Line("recordings.Artefact", Outcome.KEPT, queries.restricted_left(person, None, at).count(), CLAIMS)
    stored = queries.artefacts_of(person)
    open_ones = stored.filter(state=Artefact.State.WRITING).count()
    if open_ones:
        return Line("recordings.Artefact", Outcome.FAILED, open_ones, "being-captured")
    return Line("recordings.Artefact", Outcome.DONE, stored.filter(state=Artefact.State.SHREDDED).exclude(epochs__cut="unused").count())


declare(
    "recordings.Recording",
    fields("id tenant call state incomplete retry_at failures", FRAME) | fields("requested_by", ASKED) | fields("requested_at stopped_at", TIMES),
    export=export_recordings,
)
declare(
    "recordings.Track",
    fields("id tenant recording", FRAME) | fields("person participant", WHOSE) | fields("source", TIMES),
    export=export_tracks,
)
declare(
    "recordings.Epoch",
    fields("id tenant track number fence", FRAME)
    | fields("decision entry_hash", PROOF)
    | fields("opened_at closed_at cut complete", TIMES)
    | fields("kept_until_us restricted_at erase_from", TIMES),
    export=export_epochs,
)
declare(
    "recordings.Viewing",
    fields("id tenant recording releases", FRAME) | fields("epochs", WHOSE) | fields("viewer", ASKED) | fields("purpose opened_at expires_at", TIMES),
    export=export_viewings,
)
declare(
    "recordings.Artefact",
    fields("id tenant kind state epochs size parent claimed_until", FRAME)
    | fields("spans", TIMES)
    | fields("object_name", MEDIA)
    | fields("sealed_key", KEY),
    export=export_artefacts,
    erase=erase_artefacts,
)
