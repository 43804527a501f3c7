"""The one signal of the house: somebody's access may have changed. Whoever holds something open for that person looks again.

It says whose access, never what changed: a receiver reads the truth from the database, so a lost or doubled signal harms nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import Signal, receiver

from . import queries

access_changed = Signal()  # arguments: tenant_id, person_id (UUIDs)


def send_access_changed(*, tenant_id: UUID, person_id: UUID) -> None:
    """Send `access_changed` once the current transaction has been committed, or at once outside of one."""
    transaction.on_commit(partial(access_changed.send, sender=None, tenant_id=tenant_id, person_id=person_id))


@receiver(post_delete, sender=Session, dispatch_uid="tenants.session_ended")
def session_ended(sender: type[Session], instance: Session, **kwargs: Any) -> None:
    """A staff session is gone: signed out, ended from elsewhere, or its key was changed.

    Django announces a sign-out before the session is deleted; a receiver that looked then would still find it.
    """
    user_id = instance.get_decoded().get("_auth_user_id")
    if user_id:
        for membership in queries.memberships_of_user(UUID(user_id)):
            send_access_changed(tenant_id=membership.tenant_id, person_id=membership.person_id)
