"""The receipt check in real Chromium: a guest copies the code of the own answer, a stranger holds it against the log, and each answer can be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from playwright.async_api import expect

from compliance import log
from compliance.models import LogEntry
from consent.models import Decision
from tenants import scope
from tenants.permissions import Actor
from tenants.throttle import WRONG_RECEIPTS
from tests.calls import scenes
from tests.recordings.sittings import made

from .people import Attendee

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


def answered(cast: Any) -> tuple[int, str]:
    """Gail said yes to her voice: the number of the entry, and the secret of her session."""
    sitting = made(cast)
    sitting.answer("gail", "record-voice")
    with scope.entered(cast.acme):
        number = Decision.objects.get(person=cast.gail).entry.index
        return number, scenes.guest_token(cast, sitting.meeting, cast.gail)


def alter(cast: Any, number: int) -> None:
    """Somebody changes, past the product, what the entry says."""
    with scope.entered(cast.acme), connection.cursor() as cursor:
        entry = LogEntry.objects.get(index=number)
        changed = json.dumps(entry.record | {"kind": "consent.refused"})
        cursor.execute("UPDATE compliance_logentry SET record = %s WHERE id = %s", [changed, entry.pk])


def empty(cast: Any, number: int) -> None:
    with scope.entered(cast.acme):
        log.blank([LogEntry.objects.get(index=number)], by=Actor.job("test"), at=timezone.now(), reason="retention")


async def test_a_guest_copies_the_code_of_an_answer_and_whoever_has_it_can_read_what_the_log_says(
    visitor: Callable[..., Awaitable[Any]], live_cast: Any, live_url: str
) -> None:
    number, token = await asyncio.to_thread(answered, live_cast)
    gail = Attendee("Gail", await visitor(reduced_motion="reduce"))
    await gail.visitor.context.add_cookies([{"name": "cleac_guest", "value": token, "url": live_url}])
    await gail.page.goto("/my/")
    await gail.page.get_by_text(f"Receipt: entry number {number} of the log").click()
    code = await gail.page.locator("details[open] code").inner_text()
    await gail.inspect("receipt code")

    stranger = Attendee("Stranger", await visitor(reduced_motion="reduce"))
    await stranger.page.goto("/receipt")
    await stranger.inspect("receipt form")

    async def hold(text: str, words: str, step: str) -> None:
        await stranger.page.get_by_label("Code").fill(text)
        await stranger.page.get_by_role("button", name="Check").click()
        await expect(stranger.page.get_by_role("status").filter(has_text=words)).to_be_visible()
        await stranger.inspect(f"receipt {step}")

    await hold(code, f"In the log: entry number {number}", "found")
    await hold(code[:-8], "Not in the log", "unknown")
    await asyncio.to_thread(alter, live_cast, number)
    await hold(code, "but altered", "altered")
    await asyncio.to_thread(empty, live_cast, number)
    await hold(code, "emptied since", "emptied")
    for _time in range(WRONG_RECEIPTS.times - 1):
        token_of_form = await stranger.page.locator("[name=csrfmiddlewaretoken]").input_value()
        origin = {"Referer": f"{live_url}/receipt"}
        await stranger.page.request.post("/receipt", form={"code": "nonsense", "csrfmiddlewaretoken": token_of_form}, headers=origin)
    await stranger.page.get_by_label("Code").fill("nonsense")
    await stranger.page.get_by_role("button", name="Check").click()
    await expect(stranger.page.get_by_role("status").filter(has_text="Too many codes were tried")).to_be_visible()
    stranger.visitor.errors[:] = [one for one in stranger.visitor.errors if "429" not in one]  # what the browser itself says of that answer
    await stranger.inspect("receipt too many")
