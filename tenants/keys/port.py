"""What everybody may ask of the key store: seal a data key, destroy it, say whether it exists. Nothing here opens a data key.

The store is another database (alias `keys`): what is written here is committed by itself and not with the caller's transaction.
So a key is sealed before the row that names it is written, and destroyed after the decision to destroy it is committed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from uuid import UUID

from django.db import connections, router
from django.utils import timezone

from ..errors import Refused
from ..models import SealedKey, TenantKey
from . import store, wrapping


def seal(*, tenant_id: UUID, key: bytes, context: bytes, holder: str) -> UUID:
    """Store a data key sealed to its tenant and claim; returns the id to name it by. The tenant's key is made on first use.

    `holder` is the kind of row that will name it ("artefact"): whoever sweeps that kind destroys keys that no such row names.
    Raises `Refused("keys-locked", 503)` when the master key is not the one that the tenant's key was wrapped with, and
    `Refused("keys-away", 503)` when the store does not answer.
    """
    row_id = uuid.uuid4()
    with store.asked():
        tenant_key = _tenant_key(tenant_id)
        sealed = wrapping.seal_data_key(tenant_key, key, tenant_id=tenant_id, row_id=row_id, context=context)
        SealedKey.objects.create(id=row_id, tenant_id=tenant_id, holder=holder, sealed=sealed, created_at=timezone.now())
    return row_id


def destroy(*, sealed_key_ids: Iterable[UUID]) -> int:
    """Delete sealed keys; returns how many there were. Asking again is harmless. SQLite overwrites the bytes with zeros."""
    connection = connections[router.db_for_write(SealedKey)]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")
    return SealedKey.objects.filter(pk__in=list(sealed_key_ids)).delete()[0]


def exists(sealed_key_id: UUID) -> bool:
    """Is there still a key of this id?"""
    return SealedKey.objects.filter(pk=sealed_key_id).exists()


def ensure(*, tenant_id: UUID) -> None:
    """The tenant has a key from now on. Of several who make it at once, the first one's is kept and read by all."""
    if not TenantKey.objects.filter(pk=tenant_id).exists():
        draft = TenantKey(tenant_id=tenant_id, wrapped=wrapping.new_tenant_key(tenant_id), created_at=timezone.now())
        TenantKey.objects.bulk_create([draft], ignore_conflicts=True)


def _tenant_key(tenant_id: UUID) -> bytes:
    """The tenant's key in clear."""
    ensure(tenant_id=tenant_id)
    row = TenantKey.objects.get(pk=tenant_id)
    try:
        return wrapping.open_tenant_key(tenant_id, bytes(row.wrapped))
    except wrapping.Unopened:
        raise Refused("keys-locked", 503) from None
