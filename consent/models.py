"""What people are asked, in which words, and what each of them decided.

Decisions are append-only: the newest one of a person, purpose and call is in force, and nothing is ever overwritten.
`call_id` is a plain id: calls stand above consent, and a decision outlives the call.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any, ClassVar, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from compliance.models import AppendOnlyError
from tenants.models import Person, TenantModel

GIVEN, REFUSED, WITHDRAWN = "consent.given", "consent.refused", "consent.withdrawn"  # kinds of a decision's log entry


class Appended(models.QuerySet[Any]):
    """Rows that are only ever inserted, one by one: no update and no delete by any way that the ORM offers."""

    def update(self, **kwargs: Any) -> NoReturn:
        """Always raises AppendOnlyError."""
        raise AppendOnlyError("notices and decisions are never changed")

    def delete(self) -> NoReturn:
        """Always raises AppendOnlyError."""
        raise AppendOnlyError("notices and decisions are never deleted by the ORM")

    def forget(self) -> int:
        """Delete the rows, because their time is over; returns how many. Only `consent.services.forget_answers` may call it."""
        return int(super().delete()[0])

    def bulk_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Always raises AppendOnlyError: it could overwrite, and would pass by `save`."""
        raise AppendOnlyError("notices and decisions are appended through consent.services")


class Purpose(TenantModel):
    """One thing that may be done with somebody's media; each is asked on its own."""

    class Basis(models.TextChoices):
        CONSENT = "consent", _("Consent")

    key = models.SlugField(max_length=40)
    title = models.CharField(max_length=80)
    basis = models.CharField(max_length=10, choices=Basis, default=Basis.CONSENT)
    sources = models.JSONField()
    order = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], name="one_purpose_per_key")]
        ordering = ("order",)

    def __str__(self) -> str:
        return self.key


class Notice(TenantModel):
    """The words of one purpose in one language, frozen when published: a new wording is a new version."""

    purpose = models.ForeignKey(Purpose, on_delete=models.PROTECT, related_name="notices")
    version = models.PositiveIntegerField()
    language = models.CharField(max_length=8)
    title = models.CharField(max_length=120)
    what = models.TextField()
    why = models.TextField()
    who_sees = models.TextField()
    keep_text = models.TextField()
    keep_days = models.PositiveIntegerField()
    controller = models.CharField(max_length=200)
    published_at = models.DateTimeField()
    digest = models.CharField(max_length=64)

    objects: ClassVar[Any] = ScopedManager(models.Manager.from_queryset(Appended), tenant="tenant")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["purpose", "version", "language"], name="one_wording_per_version")]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert, once. Raises AppendOnlyError for a notice that is stored already."""
        if not self._state.adding:
            raise AppendOnlyError("a notice is published once; a new wording is a new version")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Always raises AppendOnlyError."""
        raise AppendOnlyError("a notice is never deleted by the ORM")


class ServedNotice(TenantModel):
    """That a notice was shown to somebody, and when: a decision without it would prove nothing."""

    notice = models.ForeignKey(Notice, on_delete=models.PROTECT, related_name="served")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    call_id = models.UUIDField()
    served_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["notice", "person", "call_id"], name="served_once_per_call")]


class Decision(TenantModel):
    """Yes or no of one person to one purpose in one call."""

    class Method(models.TextChoices):
        PAGE = "page", _("on the way in")
        ROOM = "room", _("in the call")
        LINK = "link", _("from the personal link")
        LETTER = "letter", _("by letter")

    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="decisions")
    purpose = models.ForeignKey(Purpose, on_delete=models.PROTECT, related_name="decisions")
    notice = models.ForeignKey(Notice, on_delete=models.PROTECT, related_name="+")
    served = models.ForeignKey(ServedNotice, on_delete=models.PROTECT, related_name="+")
    call_id = models.UUIDField()
    granted = models.BooleanField()
    decided_at = models.DateTimeField()
    sequence = models.PositiveIntegerField()
    method = models.CharField(max_length=6, choices=Method)
    entry = models.OneToOneField("compliance.LogEntry", on_delete=models.PROTECT, related_name="+")

    objects: ClassVar[Any] = ScopedManager(models.Manager.from_queryset(Appended), tenant="tenant")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["person", "purpose", "call_id", "sequence"], name="decisions_in_one_order")]
        indexes = [models.Index(fields=["call_id", "person", "purpose", "-sequence"], name="newest_decision")]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert, once. Raises AppendOnlyError for a decision that is stored already."""
        if not self._state.adding:
            raise AppendOnlyError("a decision is made once; a change of mind is a new one")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Always raises AppendOnlyError."""
        raise AppendOnlyError("a decision is never deleted by the ORM")

    def facts(self) -> dict[str, str | int]:
        """What the decision's log entry says beyond kind, time, actor and object: enough to replay it without this row."""
        shown_at = self.served.served_at.astimezone(UTC)
        return {
            "person": str(self.person_id),
            "purpose": self.purpose.key,
            "call": str(self.call_id),
            "notice": str(self.notice_id),
            "version": self.notice.version,
            "digest": self.notice.digest,
            "served": str(self.served_id),
            "served_at": shown_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "method": str(self.method),
            "sequence": self.sequence,
        }
