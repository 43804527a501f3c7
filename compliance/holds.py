"""Is this held? Asked by everything that destroys, before it destroys: retention, erasure, withdrawal, tenant exit.

And the opposite, asked before anything new is kept: is somebody to be erased?
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from .models import Hold, Request


def of(person_id: UUID | str) -> Any:
    """Every hold ever placed on a person of the current tenant, standing or lifted, oldest first."""
    return Hold.objects.filter(person_id=person_id).order_by("placed_at", "pk")


def standing(person_id: UUID | str) -> Hold | None:
    """The oldest hold that still stands on this person of the current tenant, or None. Raises ScopeError outside a tenant's scope."""
    oldest: Hold | None = of(person_id).filter(lifted_at=None).first()
    return oldest


def long_lifted(before: datetime) -> Any:
    """Holds of the current tenant that were lifted before then, oldest first."""
    return Hold.objects.filter(lifted_at__lt=before).order_by("lifted_at", "pk")


def is_held(person_id: UUID | str) -> bool:
    """True while at least one hold on this person of the current tenant stands. Raises ScopeError outside a tenant's scope."""
    return standing(person_id) is not None


def is_to_be_erased(person_id: UUID | str) -> bool:
    """True while an erasure of this person of the current tenant is asked for and not carried out. Raises ScopeError outside a tenant's scope."""
    asked = Request.objects.filter(person_id=person_id, kind=Request.Kind.ERASURE, state__in=Request.UNFINISHED)
    return bool(asked.exists())
