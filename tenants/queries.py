"""Guarded reads of the house's own rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from allauth.account.models import EmailAddress
from django.db.models import Case, Count, Max, Min, Q, QuerySet, When
from django.db.models.functions import Now

from .models import ApiKey, GuestSession, LinkSecret, Membership, OutboxRow, Person, SignInFailures, StaffInvitation, Tenant, TenantKey, User


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


def account(user_id: UUID) -> QuerySet[User]:
    """One account that can sign in, as a set."""
    return User.objects.filter(pk=user_id, is_active=True)


def membership(membership_id: UUID | str) -> Membership | None:
    """With its tenant, user and person, or None. Inside the tenant's scope, which the person needs."""
    return Membership.objects.select_related("tenant", "user", "person").filter(pk=membership_id).first()


def active_members(roles: Iterable[str]) -> QuerySet[Membership]:
    """Memberships, of any tenant, with one of these roles, of who can sign in."""
    return Membership.objects.filter(role__in=list(roles), user__is_active=True)


def member_of(tenant: Tenant, membership_id: UUID) -> Membership | None:
    """A membership of this tenant with its person, or None: absent and foreign look alike."""
    return Membership.objects.select_related("person").filter(tenant=tenant, pk=membership_id).first()


def members_of(tenant: Tenant) -> QuerySet[Membership]:
    """Everybody who works in a tenant, with account and person, by name. Inside its scope."""
    return Membership.objects.select_related("user", "person").filter(tenant=tenant).order_by("person__name", "pk")


def api_keys_of(tenant: Tenant) -> QuerySet[ApiKey]:
    """Every key of a tenant: those that open something first, then newest first."""
    over = Case(When(Q(revoked_at__isnull=False) | Q(expires_at__lte=Now()), then=1), default=0)
    return ApiKey.objects.filter(tenant=tenant).order_by(over, "-created_at")


def api_keys_alive_at(tenant: Tenant, at: datetime) -> QuerySet[ApiKey]:
    """The tenant's keys that open something at this time."""
    return ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=at), tenant=tenant, revoked_at=None)


def members_at(tenant: Tenant, address: str) -> QuerySet[Membership]:
    """Members of a tenant who are reached at this address, as account or as person. Inside its scope."""
    reached = Q(user__email__iexact=address) | Q(person__email__iexact=address) | Q(user__in=_who_proved(address))
    return Membership.objects.filter(reached, tenant=tenant)


def proves(user: User, address: str) -> bool:
    """Has this account shown that the address is its own?"""
    return bool(address) and _who_proved(address).filter(pk=user.pk).exists()


def _who_proved(address: str) -> QuerySet[User]:
    return User.objects.filter(pk__in=EmailAddress.objects.filter(email__iexact=address, verified=True).values("user"))


def staff_invitations() -> QuerySet[StaffInvitation]:
    """Every invitation of staff of the current tenant, with its person."""
    found: QuerySet[StaffInvitation] = StaffInvitation.objects.select_related("person", "tenant")
    return found


def open_staff_invitations() -> QuerySet[StaffInvitation]:
    """Those that were neither accepted nor taken back, the expired ones included, oldest first."""
    return staff_invitations().filter(accepted_at=None, revoked_at=None).order_by("created_at", "pk")


def staff_invitation(invitation_id: UUID | str) -> StaffInvitation | None:
    """One of the current tenant, with its person, or None."""
    return staff_invitations().filter(pk=invitation_id).first()


def staff_invitations_of(person: Person) -> QuerySet[StaffInvitation]:
    return staff_invitations().filter(person=person).order_by("created_at")


def staff_invitations_over(before: datetime) -> QuerySet[StaffInvitation]:
    """Those that ended before then: accepted, taken back or expired."""
    ended = Q(accepted_at__lt=before) | Q(revoked_at__lt=before) | Q(accepted_at=None, revoked_at=None, expires_at__lt=before)
    return staff_invitations().filter(ended)


def membership_in(tenant: Tenant, user: User) -> Membership | None:
    return Membership.objects.filter(tenant=tenant, user=user).first()


def tenant(tenant_id: UUID) -> Tenant | None:
    """The tenant that a ticket or a task names, or None."""
    return Tenant.objects.filter(pk=tenant_id).first()


class KeysAge(NamedTuple):
    """How many tenants have a key, and when the first and the last of these keys was made."""

    number: int
    oldest: datetime
    newest: datetime


def tenant_keys_age() -> KeysAge | None:
    """The age of the tenants' keys, or None while there is none. From the database alias `keys`."""
    found = TenantKey.objects.aggregate(number=Count("pk"), oldest=Min("created_at"), newest=Max("created_at"))
    return KeysAge(**found) if found["number"] else None


def person(person_id: UUID | str) -> Person | None:
    """Somebody of the current tenant who was not erased, or None."""
    found: Person | None = Person.objects.filter(pk=person_id, erased_at=None).first()
    return found


def lock_person(person_id: UUID | str) -> None:
    """Let nobody else change somebody of the current tenant, or answer for them, until the commit."""
    list(Person.objects.select_for_update(no_key=True).filter(pk=person_id).values_list("pk"))


def person_by_address(email: str) -> Person | None:
    """Whoever of the current tenant has this address, or None."""
    found: Person | None = Person.objects.filter(email__iexact=email, erased_at=None).first()
    return found


def link_by_hash(secret_hash: bytes) -> LinkSecret | None:
    """The personal link whose secret has this SHA-256, whatever its state, or None."""
    return LinkSecret.objects.select_related("tenant").filter(secret_hash=secret_hash).first()


def link(link_id: str) -> LinkSecret | None:
    """A personal link by its id, with its tenant, or None."""
    return LinkSecret.objects.select_related("tenant").filter(pk=link_id).first()


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


def addresses_of_person(person: Person) -> QuerySet[EmailAddress]:
    found: QuerySet[EmailAddress] = EmailAddress.objects.filter(user__in=memberships_of_person(person).values("user")).order_by("pk")
    return found


def sign_in_failures(key: bytes, now: datetime) -> int:
    """How many wrong passwords count at this moment."""
    return SignInFailures.objects.filter(pk=key, until__gt=now).values_list("times", flat=True).first() or 0


def promised(tenant: Tenant, task: str, arguments: dict[str, str]) -> bool:
    """Is there a promise of this task with these arguments that is neither done nor parked?"""
    return OutboxRow.objects.filter(tenant=tenant, task=task, arguments=arguments, done_at=None, parked_at=None).exists()


def work(row_id: UUID | str) -> QuerySet[OutboxRow]:
    """One promise of the outbox as a set, for conditional updates."""
    return OutboxRow.objects.filter(pk=row_id)


def work_due(at: datetime) -> QuerySet[OutboxRow]:
    """Every promise whose time has come, oldest first."""
    return OutboxRow.objects.filter(done_at=None, parked_at=None, due_at__lte=at).order_by("due_at")
