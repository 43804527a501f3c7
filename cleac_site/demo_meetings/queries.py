"""Guarded reads of the demo's meetings. All but `key_works` and `link_opens` run inside one tenant's scope."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from calls.models import Meeting
from recordings.models import Recording
from tenants import queries as house
from tenants import scope
from tenants.credentials import hashed
from tenants.models import Tenant

KEY = "demo"  # the name of the demo's API keys


def key_works(tenant: Tenant, secret: str) -> bool:
    """Does this secret open the API for this tenant?"""
    found = house.key_by_hash(hashed(secret)) if secret else None
    return found is not None and found.tenant_id == tenant.pk and found.revoked_at is None


def link_opens(secret: str, at: datetime) -> bool:
    """Does this secret of a personal link open what it was made for?"""
    found = house.link_by_hash(hashed(secret)) if secret else None
    return found is not None and found.revoked_at is None and found.expires_at > at


def meeting(meeting_id: str) -> Meeting | None:
    """A meeting of the current tenant, or None."""
    found: Meeting | None = Meeting.objects.filter(tenant=scope.current(), pk=UUID(meeting_id)).first() if meeting_id else None
    return found


def recordings_of(meeting: Meeting) -> list[Recording]:
    """Every recording of every sitting of a meeting."""
    return list(Recording.objects.filter(call__meeting=meeting).order_by("requested_at"))


def recording(recording_id: str) -> Recording | None:
    """A recording of the current tenant, or None."""
    found: Recording | None = Recording.objects.filter(tenant=scope.current(), pk=UUID(recording_id)).first() if recording_id else None
    return found
