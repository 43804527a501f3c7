"""The demo as one JSON object: whom to sign in as, which meetings there are, what was recorded. Its shape is a contract with other programs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import reverse

from cleac_site import demo
from tenants import queries as house
from tenants import scope

from . import queries
from .making import HOUSE
from .notes import Notes, Staged


def shown(known: Notes) -> dict[str, Any]:
    """`tenants`, `people`, `meetings` and `recordings`, with addresses of the site as the settings name it."""
    tenant = house.tenant_by_slug(HOUSE)
    assert tenant is not None  # whoever asks has made it
    with scope.reading(tenant):
        staged = [_meeting(one) for one in (known.recorded, known.open)]
        recording = queries.recording(known.recorded.recording)
        recordings = [{"id": str(recording.pk), "tenant": HOUSE, "state": recording.state}] if recording is not None else []
    return {
        "tenants": [{"slug": slug, "api_key": known.keys[slug]} for slug in demo.MEMBERS],
        "people": [{"name": one.name, "role": one.role, "tenant": one.tenant, "sign_in": one.url} for one in demo.sign_in_links()],
        "meetings": [one for one in staged if one is not None],
        "recordings": recordings,
    }


def _meeting(staged: Staged) -> dict[str, Any] | None:
    """The host's link asks for a sign-in first, a guest's for nothing."""
    found = queries.meeting(staged.meeting)
    if found is None:
        return None
    base = settings.CLEAC.public_url.rstrip("/")
    links = {found.host.name: base + reverse("meeting_room", args=[HOUSE, found.pk])}
    links |= {name: f"{base}/j#{secret}" for name, secret in staged.links.items()}
    return {"id": str(found.pk), "tenant": HOUSE, "state": found.state.lower(), "links": links}
