"""Guarded reads of the house's own rows."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from .models import ApiKey, Membership, Person


def people(tenant_id: UUID) -> QuerySet[Person]:
    """Everybody whose data the tenant holds and who was not erased, by name."""
    found: QuerySet[Person] = Person.objects.filter(tenant_id=tenant_id, erased_at=None).order_by("name")
    return found


def memberships_of_person(person: Person) -> QuerySet[Membership]:
    return Membership.objects.filter(person=person)


def memberships_of_user(user_id: UUID) -> QuerySet[Membership]:
    """Every tenant that a user works in, by the tenant's name."""
    return Membership.objects.select_related("tenant").filter(user_id=user_id).order_by("tenant__name")


def key_by_hash(secret_hash: bytes) -> ApiKey | None:
    """The API key whose secret has this SHA-256, whatever its state, or None."""
    return ApiKey.objects.select_related("tenant").filter(secret_hash=secret_hash).first()
