"""Start-up checks with ids and hints: Cleac refuses an unsafe start instead of running half-safe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings
from django.core import checks


@checks.register(checks.Tags.security)
def redis_is_real(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Signalling and jobs need a Redis; there is no in-memory stand-in (D3)."""
    if settings.CLEAC.redis_url or settings.DEV:
        return []
    return [checks.Error("No Redis is configured.", hint="Set REDIS_URL.", id="cleac.E001")]


@checks.register(checks.Tags.security)
def mail_is_sent(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """In production an invitation must reach the person invited."""
    if settings.DEV or settings.EMAIL_BACKEND.endswith("smtp.EmailBackend"):
        return []
    return [checks.Warning("Mail goes to the console.", hint="Set EMAIL_URL, for example smtp+tls://user:password@host:587.", id="cleac.W001")]
