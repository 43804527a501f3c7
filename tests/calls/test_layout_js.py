"""Where the tiles of the room stand: nobody is left out, cut off, covered or tiny, with 1 to 25 people, on phones and desktops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from calls import protocol

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SCRIPT = Path(protocol.__file__).parents[1] / "static" / "calls" / "layout.js"
STAGES = {"desktop": (1264, 656), "desktop with a panel": (900, 656), "phone": (374, 690), "phone on its side": (828, 280), "small phone": (304, 420)}
LEAST = 112  # px: a phone on its side with a column of people beside whoever is large
SAME = 0.01  # px: sums of fractions
CASTS = {
    "grid": lambda ids: {"main": [], "beside": "", "rest": ids},
    "one large": lambda ids: {"main": ids[:1], "beside": "", "rest": ids[1:]},
    "a screen": lambda ids: {"main": ["screen"], "beside": "", "rest": ids},
    "two screens": lambda ids: {"main": ["screen", "another"], "beside": "", "rest": ids},
    "a screen and a person": lambda ids: {"main": ["screen"], "beside": ids[0], "rest": ids[1:]},
}


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """An empty page with the module as `layout`."""
    context = await browser.new_context()
    empty = await context.new_page()
    await empty.evaluate(
        "async source => { globalThis.layout = await import(URL.createObjectURL(new Blob([source], {type: 'text/javascript'}))); }",
        SCRIPT.read_text(),
    )
    yield empty
    await context.close()


async def pages_of(page: Page, stage: tuple[int, int], cast: dict[str, Any]) -> list[dict[str, dict[str, float]]]:
    """The boxes of every page, by tile."""
    found: list[dict[str, dict[str, float]]] = await page.evaluate(
        """([width, height, cast]) => {
          const first = layout.planned({width, height}, cast, 0);
          return Array.from({length: first.pages}, (_, at) => Object.fromEntries(layout.planned({width, height}, cast, at).boxes));
        }""",
        [*stage, cast],
    )
    return found


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    across = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    down = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    return across > SAME and down > SAME


@pytest.mark.parametrize("shape", CASTS)
@pytest.mark.parametrize("stage", STAGES)
async def test_everybody_stands_on_one_page_whole_and_large_enough_to_be_seen(page: Page, stage: str, shape: str) -> None:
    width, height = STAGES[stage]
    for count in range(1, 26):
        cast = CASTS[shape]([f"person {number}" for number in range(count)])
        large = [*cast["main"], *([cast["beside"]] if cast["beside"] else [])]

        pages = await pages_of(page, STAGES[stage], cast)

        assert [tile for boxes in pages for tile in boxes if tile not in large] == cast["rest"]
        for boxes in pages:
            assert set(large) <= set(boxes)
            for tile, box in boxes.items():
                place = (stage, shape, count, tile, box)
                assert box["width"] >= LEAST, place
                assert box["x"] >= -SAME, place
                assert box["y"] >= -SAME, place
                assert box["x"] + box["width"] <= width + SAME, place
                assert box["y"] + box["height"] <= height + SAME, place
            assert [(one, other) for one, other in combinations(boxes, 2) if overlap(boxes[one], boxes[other])] == [], (stage, shape, count)


async def test_whoever_is_large_is_larger_than_everybody_else(page: Page) -> None:
    for stage, (width, height) in STAGES.items():
        for shape in ("one large", "a screen"):
            for count in range(2, 26):
                [boxes, *_] = await pages_of(page, (width, height), CASTS[shape]([f"person {number}" for number in range(count)]))
                first, *others = (min(box["height"], box["width"] * 9 / 16) for box in boxes.values())
                assert first > 1.2 * max(others), (stage, shape, count)


async def test_a_person_beside_a_screen_is_larger_than_the_others_and_smaller_than_the_screen(page: Page) -> None:
    for stage in STAGES:
        for count in range(2, 26):
            [boxes, *_] = await pages_of(page, STAGES[stage], CASTS["a screen and a person"]([f"person {number}" for number in range(count)]))
            screen, beside, *others = (min(box["height"], box["width"] * 9 / 16) for box in boxes.values())
            assert screen > 1.2 * beside, (stage, count)
            assert beside > 1.2 * max(others), (stage, count)


async def test_sixteen_people_fit_on_one_page_of_a_desktop_and_twenty_five_too(page: Page) -> None:
    for count in (16, 25):
        assert len(await pages_of(page, STAGES["desktop"], CASTS["grid"]([str(number) for number in range(count)]))) == 1


async def test_a_page_beyond_the_last_one_is_the_last_one(page: Page) -> None:
    """Somebody left while the last page was looked at."""
    plan = await page.evaluate("layout.planned({width: 374, height: 600}, {main: [], beside: '', rest: [...Array(16).keys()].map(String)}, 9)")
    assert (plan["page"], plan["pages"]) == (1, 2)
