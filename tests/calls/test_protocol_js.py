"""The page speaks the protocol of the server: protocol.js names the same messages with the same fields, and what it writes is understood."""

from __future__ import annotations

import json
import types
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from calls import protocol
from calls.protocol.reading import parse

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SCRIPT = Path(protocol.__file__).parents[1] / "static" / "calls" / "protocol.js"
TABLES = ("LOBBY_SENT", "LOBBY_HEARD", "CALL_SENT", "CALL_HEARD")
WORDS = {str: "text", bool: "bool", int: "number", list: "list", dict: "object"}
SAMPLES: dict[str, Any] = {
    "purpose": "record-voice",
    "granted": True,
    "rev": 1,
    "sdp": "v=0\r\n",
    "tracks": [{"mid": "0", "source": "screen-audio"}],
    "source": "cam",
    "muted": False,
    "tiles": [{"participant": "11111111-1111-4111-8111-111111111111", "source": "cam", "height": 180}],
    "pinned": "11111111-1111-4111-8111-111111111111",
    "participant": "11111111-1111-4111-8111-111111111111",
}


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """An empty page with the module as `protocol`."""
    context = await browser.new_context()
    empty = await context.new_page()
    await empty.evaluate(
        "async text => { globalThis.protocol = await import(URL.createObjectURL(new Blob([text], {type: 'text/javascript'}))); }",
        SCRIPT.read_text(),
    )
    yield empty
    await context.close()


def word(hint: Any) -> str:
    """What protocol.js calls the type of a field; null may stand for a value that is not there."""
    origin = get_origin(hint)
    if origin is Annotated:
        return word(get_args(hint)[0])
    if origin is Literal:
        return "text"
    if origin in (types.UnionType, Union):
        return word(get_args(hint)[0])
    return WORDS.get(origin or hint, "object")


def described(table: protocol.Table) -> dict[str, dict[str, str]]:
    hints = {kind: get_type_hints(message, include_extras=True) for kind, message in table.items()}
    return {kind: {field.name: word(hints[kind][field.name]) for field in fields(message)} for kind, message in table.items()}


@pytest.mark.parametrize("name", TABLES)
async def test_both_sides_name_the_same_messages_and_fields(page: Page, name: str) -> None:
    assert await page.evaluate("name => protocol[name]", name) == described(getattr(protocol, name))


@pytest.mark.parametrize("name", ["LOBBY_SENT", "CALL_SENT"])
async def test_every_message_that_the_page_writes_is_understood(page: Page, name: str) -> None:
    table: protocol.Table = getattr(protocol, name)
    for kind, message in table.items():
        content = {field.name: SAMPLES[field.name] for field in fields(message)}
        text = await page.evaluate("([kind, content, name]) => protocol.written(kind, content, protocol[name])", [kind, content, name])
        assert protocol.written(parse(text, table)) == {"kind": kind, **content}


async def test_both_sides_know_the_same_limits(page: Page) -> None:
    assert await page.evaluate("[protocol.LARGEST, protocol.MOST_TILES]") == [protocol.LARGEST, protocol.MOST_TILES]


async def test_the_page_does_not_write_what_is_no_message(page: Page) -> None:
    for kind, content in [("ready", {"me": "somebody"}), ("decide", {"purpose": "record-voice"}), ("admit", {})]:
        refused = await page.evaluate(
            "([kind, content]) => { try { return protocol.written(kind, content, protocol.LOBBY_SENT); } catch (error) { return error.name; } }",
            [kind, content],
        )
        assert refused == "TypeError"


async def test_the_page_passes_over_what_a_newer_server_may_say(page: Page) -> None:
    parse = "text => protocol.parse(text, protocol.CALL_HEARD)"

    assert await page.evaluate(parse, json.dumps({"kind": "unheard-of"})) is None
    assert await page.evaluate(parse, json.dumps({"kind": "left", "participant": 7, "reason": "left"})) is None
    assert await page.evaluate(parse, json.dumps({"kind": "refused", "code": "no-consent"})) == {"kind": "refused", "code": "no-consent"}
