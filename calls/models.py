"""Meetings, the people in them, and which worker carries which call.

Worker and Placement hold ids, times and addresses only; they are read before a tenant is known and have no scope.
"""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from tenants.models import Person, Tenant, TenantModel


class Meeting(TenantModel):
    """What a host plans: whom to meet, why, and what will be asked. One meeting may have several sittings (calls)."""

    class State(models.TextChoices):
        SCHEDULED = "SCHEDULED", _("Scheduled")
        OPEN = "OPEN", _("Open")
        ENDED = "ENDED", _("Ended")
        CANCELLED = "CANCELLED", _("Cancelled")

    title = models.CharField(max_length=120)
    why = models.TextField(max_length=1000, blank=True)
    host = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="hosted_meetings")
    purposes = models.JSONField(default=list)
    starts_at = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=9, choices=State, default=State.SCHEDULED)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)


class Invitation(TenantModel):
    """One person's invitation to a meeting; `link` is the id of the newest LinkSecret that was issued for it."""

    meeting = models.ForeignKey(Meeting, on_delete=models.CASCADE, related_name="invitations")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="invitations")
    link = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["meeting", "person"], name="invited_once")]


class Call(TenantModel):
    """One sitting of a meeting, made when the first person enters the lobby. Decisions count for one sitting."""

    class State(models.TextChoices):
        OPEN = "OPEN", _("Open")
        ENDED = "ENDED", _("Ended")

    meeting = models.ForeignKey(Meeting, on_delete=models.PROTECT, related_name="calls")
    state = models.CharField(max_length=5, choices=State, default=State.OPEN)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["meeting"], condition=Q(state="OPEN"), name="one_open_call_per_meeting")]


class Participant(TenantModel):
    """One person in one call. `epoch` grows with every removal, so that a ticket from before is worth nothing."""

    class Role(models.TextChoices):
        HOST = "host", _("Host")
        GUEST = "guest", _("Guest")

    class State(models.TextChoices):
        LOBBY = "LOBBY", _("In the lobby")
        WAITING = "WAITING", _("Waiting")
        ADMITTED = "ADMITTED", _("Admitted")
        JOINED = "JOINED", _("In the call")
        LEFT = "LEFT", _("Left")
        REMOVED = "REMOVED", _("Removed")
        DENIED = "DENIED", _("Not admitted")

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="participants")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="participations")
    role = models.CharField(max_length=5, choices=Role)
    state = models.CharField(max_length=8, choices=State, default=State.LOBBY)
    epoch = models.PositiveIntegerField(default=0)
    entered_at = models.DateTimeField()
    ready_at = models.DateTimeField(null=True, blank=True)
    joined_at = models.DateTimeField(null=True, blank=True)
    left_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["call", "person"], name="one_participant_per_person")]


class Ticket(TenantModel):
    """Lets one socket in, once, within 30 seconds: bound to a session, a participant with its epoch, and a kind."""

    class Kind(models.TextChoices):
        LOBBY = "lobby", _("Lobby")
        CALL = "call", _("Call")

    participant = models.ForeignKey(Participant, on_delete=models.CASCADE, related_name="tickets")
    epoch = models.PositiveIntegerField()
    kind = models.CharField(max_length=5, choices=Kind)
    session = models.CharField(max_length=64)
    secret_hash = models.BinaryField(max_length=32, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)


class Worker(models.Model):
    """A media worker that lives, as it last said so itself.

    `capacity` and `forwarded` are packets a second that it may and does send to listeners, `core_share` the part of one core that its process
    used since the heartbeat before. A worker that drains gets no new call; `drain_by` is when it has moved the ones it has.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    control_address = models.CharField(max_length=80)
    seen_at = models.DateTimeField()
    capacity = models.PositiveIntegerField(default=0)
    forwarded = models.FloatField(default=0.0)
    core_share = models.FloatField(default=0.0)
    draining = models.BooleanField(default=False)
    drain_by = models.DateTimeField(null=True, blank=True)


class Placement(models.Model):
    """Which worker carries a call, since and until when. `fence` grows each time the call is taken, so that an old holder is told apart."""

    call_id = models.UUIDField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    worker = models.ForeignKey(Worker, on_delete=models.SET_NULL, null=True, related_name="placements")
    fence = models.PositiveIntegerField(default=0)
    placed_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField()
