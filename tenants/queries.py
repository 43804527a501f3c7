"""Guarded reads of the house's own rows."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from .models import ApiKey, GuestSession, LinkSecret, Membership, OutboxRow, Person, Tenant, User


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


def owners_of(tenant_id: UUID) -> QuerySet[Membership]:
    return Membership.objects.filter(tenant_id=tenant_id, role=Membership.Role.OWNER)


def tenants() -> list[tuple[Tenant, int]]:
    """Every tenant by its slug, each with the number of its members."""
    found = Tenant.objects.annotate(members=Count("memberships")).order_by("slug")
    return [(tenant, tenant.members) for tenant in found]


def tenant_by_slug(slug: str) -> Tenant | None:
    return Tenant.objects.filter(slug=slug).first()


def user_by_address(email: str) -> User | None:
    """The account with this address, or None."""
    return User.objects.filter(email__iexact=email).first()


def membership(membership_id: UUID | str) -> Membership | None:
    """With its tenant, user and person, or None. Inside the tenant's scope, which the person needs."""
    return Membership.objects.select_related("tenant", "user", "person").filter(pk=membership_id).first()


def member_of(tenant: Tenant, membership_id: UUID) -> Membership | None:
    """A membership of this tenant with its person, or None: absent and foreign look alike."""
    return Membership.objects.select_related("person").filter(tenant=tenant, pk=membership_id).first()


def membership_in(tenant: Tenant, user: User) -> Membership | None:
    return Membership.objects.filter(tenant=tenant, user=user).first()


def tenant(tenant_id: UUID) -> Tenant | None:
    """The tenant that a ticket or a task names, or None."""
    return Tenant.objects.filter(pk=tenant_id).first()


def person(person_id: UUID | str) -> Person | None:
    """Somebody of the current tenant who was not erased, or None."""
    found: Person | None = Person.objects.filter(pk=person_id, erased_at=None).first()
    return found


def person_by_address(email: str) -> Person | None:
    """Whoever of the current tenant has this address, or None."""
    found: Person | None = Person.objects.filter(email__iexact=email, erased_at=None).first()
    return found


def link_by_hash(secret_hash: bytes) -> LinkSecret | None:
    """The personal link whose secret has this SHA-256, whatever its state, or None."""
    return LinkSecret.objects.select_related("tenant").filter(secret_hash=secret_hash).first()


def links_to(subject_id: UUID) -> QuerySet[LinkSecret]:
    """Every link that was issued for one thing, newest first."""
    return LinkSecret.objects.filter(subject_id=subject_id).order_by("-created_at")


def guest_session_by_hash(token_hash: bytes) -> GuestSession | None:
    """The guest session whose token has this SHA-256, with its tenant and link, whatever its state, or None."""
    return GuestSession.objects.select_related("tenant", "link").filter(token_hash=token_hash).first()


def links_alive_at(at: datetime) -> QuerySet[LinkSecret]:
    """Links that were neither expired nor revoked at this time, those made later included."""
    return LinkSecret.objects.filter(Q(revoked_at=None) | Q(revoked_at__gte=at), expires_at__gte=at)


def links_of_person(person: Person) -> QuerySet[LinkSecret]:
    return LinkSecret.objects.filter(person=person).order_by("created_at")


def guest_sessions_of_person(person: Person) -> QuerySet[GuestSession]:
    return GuestSession.objects.filter(person=person).order_by("created_at")


def work(row_id: UUID | str) -> QuerySet[OutboxRow]:
    """One promise of the outbox as a set, for conditional updates."""
    return OutboxRow.objects.filter(pk=row_id)


def work_due(at: datetime) -> QuerySet[OutboxRow]:
    """Every promise whose time has come, oldest first."""
    return OutboxRow.objects.filter(done_at=None, parked_at=None, due_at__lte=at).order_by("due_at")
