"""The device check shows how a recording would keep its reader, by the answers given, and no answer is needed to go on."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from .people import Attendee, created_meeting

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_the_picture_as_a_recording_would_keep_it_follows_the_answers(people: dict[str, Attendee], live_cast: Any) -> None:
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    await gail.page.goto(links["Gail"])
    await gail.go_on("welcome")
    await gail.answer(False)
    kept = gail.page.locator("[data-as-kept]")
    picture = kept.locator("video")

    await gail.go_on("answers")
    await expect(gail.page.locator("[data-preview][data-on]")).to_be_visible()
    await expect(kept.get_by_text("Your picture would not be kept")).to_be_visible()
    await expect(kept.locator('.mark[data-mark="declined"]')).to_have_count(3)
    assert await picture.evaluate("video => video.srcObject") is None

    await gail.page.locator('[data-step="devices"] [data-do="back"]').click()
    await gail.page.locator('[data-purpose="record-camera"] [data-answer="yes"]').click()
    await gail.go_on("answers")
    await expect(kept.locator('[data-purpose="record-camera"] .mark')).to_have_attribute("data-mark", "agreed")
    await expect(kept.locator('.mark[data-mark="declined"]')).to_have_count(2)
    await picture.evaluate("video => new Promise(done => video.requestVideoFrameCallback(done))")
    await gail.inspect("3 as kept")
