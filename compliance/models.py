"""What the organisation can be held to: the log's entries and heads, holds, and what people ask about their own data.

This is the floor: no import from any other app, the tenant is named by a string. Entries are written by `compliance.log`
and by nothing else; what this file adds is that the ORM cannot change or delete one by any other way.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, ClassVar, NoReturn

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager


class AppendOnlyError(RuntimeError):
    """Somebody tried to change or delete what is only ever appended."""


class Entries(models.QuerySet["LogEntry"]):
    """Entries as a set: readable, never changed or deleted; `blank` is the one exception."""

    def blank(self) -> int:
        """Remove record, salt and the columns that can point at a person; returns how many. Only `compliance.log.blank` may call it."""
        return super().update(record=None, salt=None, on_id="", by_id="")

    def update(self, **kwargs: Any) -> NoReturn:
        """Always raises AppendOnlyError."""
        raise AppendOnlyError("an entry of the log is never changed")

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Always raises AppendOnlyError."""
        raise AppendOnlyError("an entry of the log is never changed")

    def delete(self) -> NoReturn:
        """Always raises AppendOnlyError."""
        raise AppendOnlyError("an entry of the log is never deleted")

    def bulk_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Always raises AppendOnlyError: entries come one by one, each with its leaf."""
        raise AppendOnlyError("entries are appended through compliance.log")


class LogEntry(models.Model):
    """One thing that happened, committed to by one leaf of its tenant's tree. Written once; blanked at most once; never deleted.

    `record` is the whole truth of the entry and what `commitment` commits to (see `compliance.log`); the clear columns
    repeat parts of it for queries, and `log.verify` compares them. Blanked: no record, no salt, empty `on_id` and `by_id`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="+", db_index=False)
    index = models.BigIntegerField()
    kind = models.CharField(max_length=64)
    at = models.DateTimeField()
    on_type = models.CharField(max_length=64)
    on_id = models.CharField(max_length=128, blank=True)
    by_kind = models.CharField(max_length=16)
    by_id = models.CharField(max_length=128, blank=True)
    record = models.JSONField(null=True)
    salt = models.BinaryField(max_length=32, null=True)
    commitment = models.BinaryField(max_length=32)

    objects: ClassVar[Any] = ScopedManager(models.Manager.from_queryset(Entries), tenant="tenant")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "index"], name="one_entry_per_index"),
            models.CheckConstraint(condition=Q(index__gte=0), name="entry_index_from_zero"),
            models.CheckConstraint(
                condition=Q(record__isnull=True, salt__isnull=True) | Q(record__isnull=False, salt__isnull=False), name="blanked_whole"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "on_type", "on_id"], name="log_by_object"),
            models.Index(fields=["tenant", "by_kind", "by_id"], name="log_by_actor"),
            models.Index(fields=["tenant", "kind", "at"], name="log_by_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} #{self.index}"

    def save(self, *args: Any, using: str | None = None, **kwargs: Any) -> None:
        """Insert, once. Raises AppendOnlyError for an entry that is stored already."""
        if not self._state.adding:
            raise AppendOnlyError("an entry of the log is written once")
        super().save(force_insert=True, using=using)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Always raises AppendOnlyError."""
        raise AppendOnlyError("an entry of the log is never deleted")


class LogHead(models.Model):
    """How far a tenant's log has grown: number of entries and the frontier of their tree (hex, largest subtree first).

    The row is the lock of its tenant's writers.
    """

    tenant = models.OneToOneField("tenants.Tenant", primary_key=True, on_delete=models.PROTECT, related_name="+")
    size = models.BigIntegerField(default=0)
    frontier = models.JSONField(default=list)

    objects: ClassVar[Any] = ScopedManager(tenant="tenant")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(size__gte=0), name="log_size_from_zero")]

    def __str__(self) -> str:
        return f"{self.tenant_id}: {self.size}"

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Always raises AppendOnlyError."""
        raise AppendOnlyError("a log's head is never deleted")


class Hold(models.Model):
    """What is held about a person may not be destroyed while this stands (GDPR Art. 17(3), 18(2)). Placed, then lifted, never reopened."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="+")
    person_id = models.UUIDField()
    reason = models.CharField(max_length=40)
    placed_at = models.DateTimeField()
    lifted_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = ScopedManager(tenant="tenant")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(lifted_at=None) | Q(lifted_at__gte=F("placed_at")), name="lifted_after_placed"),
        ]
        indexes = [models.Index(fields=["tenant", "person_id"], condition=Q(lifted_at=None), name="standing_holds")]

    def __str__(self) -> str:
        return str(self.pk)


class RetentionRule(models.Model):
    """From a moment on the tenant keeps one kind of thing for so many days, fewer than the baseline of `compliance.terms`. Never changed."""

    class Kind(models.TextChoices):
        PACKAGE = "package", _("A copy of one's own data, to be downloaded")
        INVITATION = "invitation", _("An invitation that nobody used, and one of staff, after its end")
        ACCOUNT = "account", _("Name and address of a guest, and an invitation that was used, after the last meeting")
        EVIDENCE = "evidence", _("Evidence, after the last content that it is about")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind)
    days = models.PositiveIntegerField()
    in_force_from = models.DateTimeField()

    objects: ClassVar[Any] = ScopedManager(tenant="tenant")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "kind", "in_force_from"], name="one_rule_of_a_kind_at_a_time"),
            models.CheckConstraint(condition=Q(days__gte=1), name="kept_for_a_day_at_least"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.days} days"


class Request(models.Model):
    """What a person asks about the data that is held about them: a copy (GDPR Art. 15), or erasure (Art. 17).

    OPEN until somebody sets about it; WORKING while something stands in the way that passes by itself; FAILED is tried again at `next_at`.
    READY is an access request whose package can be downloaded until `expires_at`. DONE is final, and so is REVOKED: an erasure that was asked
    for by weaker proof and taken back before `waits_until`, until when nothing of it is destroyed. `lines` say what became of each kind of data,
    as `registry.Line`; ids, numbers and codes only. Of a finished erasure `expires_at` is when the person's own link ends too.
    """

    class Kind(models.TextChoices):
        ACCESS = "access", _("A copy of the data")
        ERASURE = "erasure", _("Erasure")

    class State(models.TextChoices):
        OPEN = "OPEN", _("Received")
        WORKING = "WORKING", _("Under way")
        READY = "READY", _("Ready to download")
        DONE = "DONE", _("Done")
        FAILED = "FAILED", _("Failed, will be tried again")
        REVOKED = "REVOKED", _("Taken back")

    class Channel(models.TextChoices):
        LINK = "link", _("Personal link")
        ACCOUNT = "account", _("Account")
        API = "api", _("Program of the organisation")
        DESK = "desk", _("Request desk")

    UNFINISHED = ("OPEN", "WORKING", "READY", "FAILED")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="+")
    person = models.ForeignKey("tenants.Person", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=7, choices=Kind)
    state = models.CharField(max_length=7, choices=State, default=State.OPEN)
    channel = models.CharField(max_length=7, choices=Channel)
    asked_at = models.DateTimeField()
    due_at = models.DateTimeField()
    next_at = models.DateTimeField(null=True, blank=True)  # when it is set about, or tried again
    waits_until = models.DateTimeField(null=True, blank=True)  # an erasure that the person did not ask for with the own proof
    started_at = models.DateTimeField(null=True, blank=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    lines = models.JSONField(default=list, blank=True)

    objects: ClassVar[Any] = ScopedManager(tenant="tenant")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["person", "kind"], condition=Q(state__in=("OPEN", "WORKING", "READY", "FAILED")), name="one_unfinished_request_of_a_kind"
            ),
            models.CheckConstraint(condition=Q(done_at=None) | Q(state="DONE"), name="done_when_it_is_done"),
            models.CheckConstraint(condition=~Q(state="READY") | Q(kind="access", expires_at__isnull=False), name="ready_is_a_package_with_an_end"),
        ]
        indexes = [models.Index(fields=["tenant", "due_at"], name="requests_by_deadline")]

    def can_be_taken_back(self, at: datetime) -> bool:
        """Is it an erasure by weaker proof whose time to be taken back is not over?"""
        return self.state == self.State.OPEN and self.waits_until is not None and at < self.waits_until

    def __str__(self) -> str:
        return str(self.pk)
