"""Plain builders for tests: each makes one row the way the services would, and nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tenants.credentials import hashed, new_key
from tenants.models import ApiKey, Tenant


def api_key(tenant: Tenant, *scopes: str, expires_at: datetime | None = None, revoked_at: datetime | None = None) -> str:
    """A key of `tenant`; returns the secret that its holder shows."""
    secret = new_key()
    kept: dict[str, Any] = {"expires_at": expires_at, "revoked_at": revoked_at}
    ApiKey.objects.create(tenant=tenant, name="test", secret_hash=hashed(secret), scopes=list(scopes), **kept)
    return secret
