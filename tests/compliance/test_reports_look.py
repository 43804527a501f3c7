"""The data protection officer's home in a real browser: readable in light and dark, on a phone and on a desktop; the report comes down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenants import scope
from tests.recordings import stored
from tests.recordings.sittings import made
from tests.recordings.stored import Stored
from tests.site.test_pages_look import SCHEMES, WIDTHS, Arrive, faults_of, options

pytestmark = [pytest.mark.asyncio(loop_scope="session")]
HOME = "/t/acme/dpo/"


@pytest.fixture
def recorded(live_cast: Any) -> Stored:
    """Finished in one transaction, so that no job of the running site takes part."""
    with scope.entered(live_cast.acme):
        return stored.as_answered(made(live_cast))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_home_has_no_accessibility_fault(visitor: Arrive, recorded: Stored, scheme: str, width: int) -> None:
    dora = await visitor(**options(scheme, width))
    await dora.page.goto(recorded.cast.links["Dora"])

    assert await faults_of(dora.page, {"home": HOME}) == {}

    grounds = await dora.page.locator(".plot-bar").evaluate_all("bars => bars.map(bar => getComputedStyle(bar).fill)")
    assert set(grounds) == {"rgb(11, 92, 107)" if scheme == "light" else "rgb(127, 203, 214)"}


async def test_dora_takes_the_report_away_as_json_and_as_pdf(visitor: Arrive, recorded: Stored) -> None:
    dora = await visitor()
    await dora.page.goto(recorded.cast.links["Dora"])
    await dora.page.goto(HOME)
    kept = {}
    for form in ("JSON", "PDF"):
        async with dora.page.expect_download() as started:
            await dora.page.get_by_role("button", name=form).click()
        download = await started.value
        kept[form] = Path(await download.path()).read_bytes()

    assert json.loads(kept["JSON"])["people_asked"] == 2
    assert kept["PDF"].startswith(b"%PDF-")
