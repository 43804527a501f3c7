"""Is this held? Asked by everything that destroys, before it destroys: retention, erasure, withdrawal, tenant exit."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from .models import Hold


def of(person_id: UUID | str) -> Any:
    """Every hold ever placed on a person of the current tenant, standing or lifted, oldest first."""
    return Hold.objects.filter(person_id=person_id).order_by("placed_at", "pk")


def standing(person_id: UUID | str) -> Hold | None:
    """The oldest hold that still stands on this person of the current tenant, or None. Raises ScopeError outside a tenant's scope."""
    oldest: Hold | None = of(person_id).filter(lifted_at=None).first()
    return oldest


def is_held(person_id: UUID | str) -> bool:
    """True while at least one hold on this person of the current tenant stands. Raises ScopeError outside a tenant's scope."""
    return standing(person_id) is not None
