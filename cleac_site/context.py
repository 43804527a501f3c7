"""What every template may use."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from tenants.identity import identity_of
from tenants.permissions import ABILITIES, may


def site(request: HttpRequest) -> dict[str, Any]:
    """The contact address, the tenant and membership of a staff page, and what the reader may do (`{% if "meetings_see" in can %}`)."""
    return {
        "contact_email": settings.CLEAC.contact_email,
        "tenant": getattr(request, "tenant", None),
        "membership": getattr(request, "membership", None),
        "can": {ability.replace(".", "_") for ability in ABILITIES if may(identity_of(request).roles, ability)},
    }
