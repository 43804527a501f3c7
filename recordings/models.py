"""Recordings: what was asked for, whose tracks, under which decisions, and the stored objects with their keys.

A row here never holds media or a key: an Artefact names a stored object and the id of its sealed key in another database.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from calls.models import Call
from tenants.models import Person, TenantModel


class Recording(TenantModel):
    """The wish to capture a call. Who is captured is decided by permits, in the worker, packet by packet."""

    class State(models.TextChoices):
        REQUESTED = "REQUESTED", _("Starting")
        CAPTURING = "CAPTURING", _("Recording")
        PAUSED = "PAUSED", _("Paused")
        FINALISING = "FINALISING", _("Being finished")
        READY = "READY", _("Ready")
        FAILED = "FAILED", _("Failed, will be tried again")
        PURGED = "PURGED", _("Deleted")

    LIVE = ("REQUESTED", "CAPTURING", "PAUSED")

    call = models.ForeignKey(Call, on_delete=models.PROTECT, related_name="recordings")
    state = models.CharField(max_length=10, choices=State, default=State.REQUESTED)
    requested_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True)
    incomplete = models.BooleanField(default=False)
    retry_at = models.DateTimeField(null=True, blank=True)  # FAILED: when the sweep finishes it again
    failures = models.PositiveIntegerField(default=0)  # tries in a row that could not finish it

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["call"], condition=Q(state__in=("REQUESTED", "CAPTURING", "PAUSED")), name="one_live_recording_per_call"),
        ]


class Track(TenantModel):
    """What one participant sent from one source, in one recording."""

    class Source(models.TextChoices):
        MIC = "mic", _("Microphone")
        CAM = "cam", _("Camera")
        SCREEN = "screen", _("Screen")
        SCREEN_AUDIO = "screen-audio", _("Screen sound")

    recording = models.ForeignKey(Recording, on_delete=models.PROTECT, related_name="tracks")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="tracks")
    participant = models.UUIDField()
    source = models.CharField(max_length=12, choices=Source)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["recording", "participant", "source"], name="one_track_per_source")]


class Epoch(TenantModel):
    """One stretch of a track under one decision and one key. A new decision, worker or connection is a new epoch."""

    track = models.ForeignKey(Track, on_delete=models.PROTECT, related_name="epochs")
    number = models.PositiveIntegerField()
    decision = models.UUIDField()
    entry_hash = models.BinaryField(max_length=32)
    fence = models.PositiveIntegerField()
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    cut = models.CharField(max_length=20, blank=True)
    complete = models.BooleanField(null=True)
    kept_until_us = models.BigIntegerField(null=True, blank=True)  # of the recording; what the file holds after it is not to be read
    restricted_at = models.DateTimeField(null=True, blank=True)  # from here on nobody plays it (GDPR Art. 18)
    erase_from = models.DateTimeField(null=True, blank=True)  # restricted by weaker proof: nothing is destroyed before, and it can be lifted

    class Meta:
        constraints = [models.UniqueConstraint(fields=["track", "number"], name="epochs_in_one_order")]


class Artefact(TenantModel):
    """One stored object and the one key that opens it. WRITING, READY, SHREDDED and never back.

    `spans`: the stretches of the recording's time that hold media, [start, end] in microseconds, of a playback file.
    """

    class Kind(models.TextChoices):
        JOURNAL = "journal", _("Journal")
        PLAYBACK = "playback", _("Playback file")

    class State(models.TextChoices):
        WRITING = "WRITING", _("Being written")
        READY = "READY", _("Ready")
        SHREDDED = "SHREDDED", _("Shredded")

    epochs = models.ManyToManyField(Epoch, related_name="artefacts")
    kind = models.CharField(max_length=9, choices=Kind)
    object_name = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=8, choices=State, default=State.WRITING)
    sealed_key = models.UUIDField(null=True, blank=True)
    size = models.BigIntegerField(default=0)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")  # made from this one
    spans = models.JSONField(default=list, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)  # WRITING: a job writes it, and nobody else does before then

    class Meta:
        constraints = [models.CheckConstraint(condition=~Q(state="SHREDDED") | Q(sealed_key=None), name="shredded_means_no_key")]


class Viewing(TenantModel):
    """Somebody was let see and hear stored media, for a stated purpose, for a while. The people concerned can read it."""

    class Purpose(models.TextChoices):
        """Each lies within what `consent.catalogue` says that media is kept for (GDPR Art. 5(1)(b)); another one has to be asked for first."""

        AGREED = "agreed", _("Checking what was agreed")
        FOLLOW_UP = "follow-up", _("Following up on the meeting")
        DISPUTE = "dispute", _("Settling a disagreement")
        OWN = "own", _("A look at one's own part")

    recording = models.ForeignKey(Recording, on_delete=models.PROTECT, related_name="viewings")
    epochs = models.ManyToManyField(Epoch, related_name="viewings")
    viewer = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="viewings")
    purpose = models.CharField(max_length=12, choices=Purpose)
    opened_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    releases = models.PositiveIntegerField(default=0)  # how often a key was released to it
