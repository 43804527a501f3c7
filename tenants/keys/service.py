"""The private half: opens sealed data keys. It judges nothing; whoever may call it has checked purpose, permission and holds before."""

from __future__ import annotations

from uuid import UUID

from ..errors import Refused
from ..models import SealedKey, TenantKey
from . import store, wrapping


def unseal(*, sealed_key_id: UUID, tenant_id: UUID, context: bytes) -> bytes:
    """A data key in clear, for the tenant and the claim that it was sealed under.

    Raises `Refused`: `key-gone` (410) when it was destroyed, `key-foreign` (404) under another tenant or claim, `keys-locked` (503)
    when the master key is not the one that the tenant's key was wrapped with, `keys-away` (503) when the store does not answer.
    """
    with store.asked():
        row = SealedKey.objects.filter(pk=sealed_key_id).first()
        owner = TenantKey.objects.filter(pk=tenant_id).first()
    if row is None:
        raise Refused("key-gone", 410)
    if row.tenant_id != tenant_id:
        raise Refused("key-foreign", 404)
    if owner is None:
        raise Refused("key-gone", 410)
    try:
        tenant_key = wrapping.open_tenant_key(tenant_id, bytes(owner.wrapped))
    except wrapping.Unopened:
        raise Refused("keys-locked", 503) from None
    try:
        return wrapping.open_data_key(tenant_key, bytes(row.sealed), tenant_id=tenant_id, row_id=row.pk, context=context)
    except wrapping.Unopened:
        raise Refused("key-foreign", 404) from None
