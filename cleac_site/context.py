"""What every template may use."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from tenants.identity import identity_of
from tenants.permissions import ABILITIES, may


def site(request: HttpRequest) -> dict[str, Any]:
    """What frame and menus ask: the contact address, whether a guest reads, tenant and membership, what the reader may do (`"x_see" in can`)."""
    return {
        "contact_email": settings.CLEAC.contact_email,
        "is_guest": identity_of(request).guest is not None,
        "tenant": getattr(request, "tenant", None),
        "membership": getattr(request, "membership", None),
        "can": {ability.replace(".", "_") for ability in ABILITIES if may(identity_of(request).roles, ability)},
    }
