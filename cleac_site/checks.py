"""Start-up checks with ids and hints: Cleac refuses an unsafe start instead of running half-safe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections

from tenants.row_security import role_walks_past

DATABASE_ROLE = "Give DATABASE_URL a role that owns the database and is NOSUPERUSER NOBYPASSRLS."


@checks.register(checks.Tags.security)
def redis_is_real(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Signalling and jobs need a Redis; there is no in-memory stand-in (D3)."""
    if settings.CLEAC.redis_url or settings.DEV:
        return []
    return [checks.Error("No Redis is configured.", hint="Set REDIS_URL.", id="cleac.E001")]


@checks.register(checks.Tags.database)
def row_security_holds(app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Tenants are kept apart by PostgreSQL too (D9), which a superuser and a role with BYPASSRLS do not notice."""
    if "default" not in (databases or ()):
        return []
    try:
        role = role_walks_past(connections["default"])
    except DatabaseError:  # whoever needs the database next says so
        return []
    if not role:
        return []
    if settings.DEV:
        return [checks.Warning(f"Row security does not hold for the database role {role}.", hint=DATABASE_ROLE, id="cleac.W002")]
    return [checks.Error(f"Row security does not hold for the database role {role}.", hint=DATABASE_ROLE, id="cleac.E002")]
