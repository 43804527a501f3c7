"""Pages of recordings in a real browser: readable in light and dark, on a phone and on a desktop, with targets that can be hit."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tenants import scope
from tests.calls import scenes
from tests.recordings import stored
from tests.recordings.conftest import made
from tests.recordings.stored import Stored
from tests.site.test_pages_look import SCHEMES, WIDTHS, Arrive, faults, faults_of, options

pytestmark = [pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def recorded(live_cast: Any) -> Stored:
    """Finished in one transaction, so that no job of the running site takes part."""
    with scope.entered(live_cast.acme):
        sitting = made(live_cast)
        sitting.answer("gus", "record-camera", granted=False)
        return stored.finished(sitting, ("gail", "mic"), ("gail", "cam"), ("gus", "mic"))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_pages_for_staff_have_no_accessibility_fault(visitor: Arrive, recorded: Stored, scheme: str, width: int) -> None:
    hana = await visitor(**options(scheme, width))
    await hana.page.goto(recorded.cast.links["Hana"])
    one = f"/t/acme/recordings/{recorded.recording.pk}/"

    assert await faults_of(hana.page, {"recordings": "/t/acme/recordings/", "recording": one}) == {}

    await expect(hana.page.get_by_role("radio", checked=True)).to_have_count(0)
    await expect(hana.page.get_by_role("navigation", name="Acme").get_by_role("link", name="Recordings")).to_have_attribute("aria-current", "page")


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
