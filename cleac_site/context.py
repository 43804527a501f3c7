"""What every template may use."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    """The contact address, and the tenant and membership of a staff page."""
    return {
        "contact_email": settings.CLEAC.contact_email,
        "tenant": getattr(request, "tenant", None),
        "membership": getattr(request, "membership", None),
    }
