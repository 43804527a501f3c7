"""Whose house it is: organisations, the people in them, their roles and keys.

Outside row security, because they are read before a tenant is known: Tenant, User, Membership, ApiKey, LinkSecret, GuestSession, OutboxRow.
Every other model of Cleac carries its tenant and raises when queried without one.
"""

from __future__ import annotations

import uuid
from datetime import date, timedelta
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.timezone import localdate
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager


class Tenant(models.Model):
    """A business that invites its customers. It is the controller of what is recorded."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    contact_email = models.EmailField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.slug


class TenantModel(models.Model):
    """Base of every row that belongs to one tenant. Querying it outside `tenants.scope.entered` raises."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")

    objects: ClassVar[Any] = ScopedManager(tenant="tenant")

    class Meta:
        abstract = True


class UserManager(BaseUserManager["User"]):
    """Makes users by e-mail address; staff of a tenant, never guests."""

    def create_user(self, email: str, password: str | None = None) -> User:
        user = self.model(email=self.normalize_email(email).lower())
        user.set_password(password)
        user.save()
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)


class User(AbstractBaseUser):
    """Somebody who signs in. What they may do is said by their memberships; guests have no user."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)
    is_operator = models.BooleanField(default=False)
    joined_at = models.DateTimeField(auto_now_add=True)

    objects = UserManager()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="one_user_per_address")]


class Person(TenantModel):
    """Anyone whose data a tenant holds: member or guest. Decisions, participants, tracks and requests point here."""

    name = models.CharField(max_length=120)
    email = models.EmailField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    erased_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint("tenant", Lower("email"), condition=~Q(email=""), name="one_person_per_address"),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class Membership(models.Model):
    """A user's place in a tenant. Permissions point here, data points at the Person."""

    class Role(models.TextChoices):
        OWNER = "owner", _("Owner")
        ADMIN = "admin", _("Administrator")
        HOST = "host", _("Host")
        MEMBER = "member", _("Member")
        DPO = "dpo", _("Data protection officer")
        AUDITOR = "auditor", _("Auditor")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    person = models.OneToOneField(Person, on_delete=models.PROTECT, related_name="membership")
    role = models.CharField(max_length=8, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="one_membership_per_tenant")]


class ApiKey(models.Model):
    """A tenant's key for the REST API. Only the SHA-256 of its 256-bit secret is stored, and `prefix`, by which people tell keys apart.

    From `expires_at` on it opens nothing; without one it works until it is revoked.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, default="")
    secret_hash = models.BinaryField(max_length=32, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_on = models.DateField(null=True, blank=True)

    @property
    def last_day(self) -> date | None:
        """The last day, in the service's zone, on which the key works at some time; None for a key without an end."""
        return localdate(self.expires_at - timedelta(microseconds=1)) if self.expires_at else None


class LinkSecret(models.Model):
    """A personal link's secret: 128 random bits, kept as SHA-256 only. Read before any tenant is known, so it has no scope."""

    class Kind(models.TextChoices):
        INVITATION = "invitation", _("Invitation")
        STAFF = "staff", _("Invitation of staff")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="links")
    kind = models.CharField(max_length=10, choices=Kind)
    subject_id = models.UUIDField()
    secret_hash = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    stolen = models.BooleanField(default=False)


class StaffInvitation(TenantModel):
    """A role that is offered to an address. Open until it is accepted or revoked or its time is over; `tenants.invitations` changes it.

    `asked_at` is when a mail was last promised, `sent_at` when one was last handed to the mail server.
    """

    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="staff_invitations")
    role = models.CharField(max_length=8, choices=Membership.Role)
    created_at = models.DateTimeField()
    asked_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["person"], condition=Q(accepted_at=None, revoked_at=None), name="one_open_staff_invitation"),
            models.CheckConstraint(condition=Q(accepted_at=None) | Q(revoked_at=None), name="accepted_or_revoked"),
        ]


class GuestSession(models.Model):
    """A browser that showed a personal link. Names its tenant and person; has no scope for the same reason."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="guest_sessions")
    link = models.ForeignKey(LinkSecret, on_delete=models.CASCADE, related_name="sessions")
    token_hash = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)


class SignInFailures(models.Model):
    """Wrong passwords for one account from one client, both only as a keyed hash. Belongs to no tenant: nobody is known yet."""

    key = models.BinaryField(max_length=32, primary_key=True)
    times = models.PositiveSmallIntegerField(default=0)
    until = models.DateTimeField(db_index=True)


class OutboxRow(models.Model):
    """Work that was promised in a transaction. Done, or tried again by the sweep; after five tries parked and shown (D7)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    task = models.CharField(max_length=80)
    arguments = models.JSONField(default=dict)
    due_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    done_at = models.DateTimeField(null=True, blank=True)
    parked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["due_at"], condition=Q(done_at=None, parked_at=None), name="outbox_open")]


class TenantKey(models.Model):
    """The key that seals a tenant's data keys, itself wrapped by the master key. Lives in the database alias `keys`."""

    tenant_id = models.UUIDField(primary_key=True)
    wrapped = models.BinaryField()
    created_at = models.DateTimeField()


class SealedKey(models.Model):
    """One data key, sealed to its tenant. Deleting the row is what makes the bytes under it unreadable.

    `holder` says what kind of row names it, in another database: only the sweep of that kind may find that nothing does any more.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant_id = models.UUIDField(db_index=True)
    holder = models.CharField(max_length=12)
    sealed = models.BinaryField()
    created_at = models.DateTimeField()
