"""Pages of recordings in a real browser: readable in light and dark, on a phone and on a desktop, with targets that can be hit."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.async_api import expect

from compliance.models import Hold
from recordings import forgetting
from tenants import scope
from tenants.permissions import Actor
from tests.calls import scenes
from tests.recordings import stored
from tests.recordings.sittings import made
from tests.recordings.stored import Stored
from tests.site.test_pages_look import SCHEMES, WIDTHS, Arrive, faults, faults_of, options

pytestmark = [pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def recorded(live_cast: Any) -> Stored:
    """Finished in one transaction, so that no job of the running site takes part."""
    with scope.entered(live_cast.acme):
        return stored.as_answered(made(live_cast))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_pages_for_staff_have_no_accessibility_fault(visitor: Arrive, recorded: Stored, scheme: str, width: int) -> None:
    hana = await visitor(**options(scheme, width))
    await hana.page.goto(recorded.cast.links["Hana"])
    one = f"/t/acme/recordings/{recorded.recording.pk}/"

    assert await faults_of(hana.page, {"recordings": "/t/acme/recordings/", "recording": one}) == {}

    await expect(hana.page.get_by_role("radio", checked=True)).to_have_count(0)
    link = hana.page.get_by_role("navigation", name="Acme").get_by_role("link", name="Recordings", include_hidden=True)  # on a phone in a sheet
    await expect(link).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_pages_for_guests_have_no_accessibility_fault(visitor: Arrive, recorded: Stored, live_url: str, scheme: str, width: int) -> None:
    gail = await visitor(**options(scheme, width))
    token = scenes.guest_token(recorded.cast, recorded.sitting.meeting, recorded.cast.gail)
    await gail.context.add_cookies([{"name": "cleac_guest", "value": token, "url": live_url}])
    one = f"/my/recordings/{recorded.recording.pk}/"

    assert await faults_of(gail.page, {"mine": "/my/recordings/", "my part": one, "erase": f"{one}erase"}) == {}

    keep, erase = gail.page.get_by_role("link", name="Keep my part"), gail.page.get_by_role("button", name="Erase my part")
    for rule in ("background-color", "color", "font-weight", "border-color", "height"):
        looks = await erase.evaluate("(found, rule) => getComputedStyle(found)[rule]", rule)
        await expect(keep).to_have_css(rule, looks)
    await erase.click()
    await expect(gail.page.get_by_role("heading", level=1)).to_have_text(re.compile("Being erased|Erased on"))
    assert await faults(gail.page) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_pages_of_what_nobody_may_play_have_no_accessibility_fault(
    visitor: Arrive, recorded: Stored, live_url: str, scheme: str, width: int
) -> None:
    """Everybody's part is restricted while Hana stands before the form that opens it; Gail's waits, Gus' is under a hold."""
    cast = recorded.cast
    hana, gail = await visitor(**options(scheme, width)), await visitor(**options(scheme, width))
    await hana.page.goto(cast.links["Hana"])
    token = scenes.guest_token(cast, recorded.sitting.meeting, cast.gail)
    await gail.context.add_cookies([{"name": "cleac_guest", "value": token, "url": live_url}])
    staff, own = f"/t/acme/recordings/{recorded.recording.pk}/", f"/my/recordings/{recorded.recording.pk}/"
    await hana.page.goto(staff)
    with scope.entered(cast.acme):
        later = timezone.now() + timedelta(hours=72)
        Hold.objects.create(tenant=cast.acme, person_id=cast.gus.pk, reason="claim", placed_at=timezone.now())
        for person in (cast.gail, cast.gus):
            forgetting.restrict(person=person, recording=None, by=Actor.person(cast.dora), at=timezone.now(), erase_from=later)

    await hana.page.get_by_role("radio").first.check()
    await hana.page.get_by_role("button", name="Open the recording").click()

    await expect(hana.page.get_by_role("heading", name="It was not opened")).to_be_visible()
    assert await faults(hana.page) == []
    assert await faults_of(hana.page, {"recordings": "/t/acme/recordings/", "recording": staff}) == {}
    await expect(hana.page.get_by_text("Kept under a legal hold.")).to_be_visible()
    assert await faults_of(gail.page, {"home": "/my/", "mine": "/my/recordings/", "my part": own, "erase": f"{own}erase"}) == {}
    hana.errors[:] = [text for text in hana.errors if "status of 404" not in text]
