"""A camera in three layers between real browsers: each page is sent the one that its tile and its connection ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .pages import Hall, PageOf, hall, until
from .relays import Way

pytestmark = [pytest.mark.browser]

WHOLE, HALF, QUARTER = 1280, 640, 320  # widths of the three layers
RATE = 12  # pictures a second: the width is looked at here, and three layers are encoded by a processor that has other work


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Hall]:
    async with hall() as one:
        yield one


async def width_is(page: PageOf, width: int) -> None:
    """The picture of Hana comes in this width, and plays."""

    async def found() -> bool:
        return bool((await page.received("hana")).get("frameWidth") == width)

    await until(f"{page.participant} sees Hana {width} wide", found)
    await page.sees_more_of("hana")


async def test_a_small_tile_brings_the_small_layer_a_great_one_the_great_and_one_that_is_not_shown_nothing(opened: Hall) -> None:
    hana, gail, gus = [await opened.join(name) for name in ("hana", "gail", "gus")]
    gail.shows(("hana", 90))
    gus.shows(("hana", 720))
    await hana.film(rate=RATE)

    await width_is(gail, QUARTER)
    await width_is(gus, WHOLE)

    gail.shows(("hana", 720))
    await width_is(gail, WHOLE)
    gail.shows(("hana", 360))
    await width_is(gail, HALF)
    gus.shows()
    await gail.sees_more_of("hana")
    before = (await gus.received("hana"))["packetsReceived"]
    await gail.sees_more_of("hana")
    assert (await gus.received("hana"))["packetsReceived"] == before

    gus.shows(("hana", 90))
    await width_is(gus, QUARTER)
    for page in (gail, gus):
        seen = await page.received("hana")
        assert seen["packetsLost"] <= 0
        assert seen["framesDecoded"] >= seen["framesReceived"] - 2, "every picture that came could be decoded over every change"


async def test_a_connection_that_becomes_narrow_is_sent_less_and_when_it_widens_more_again(opened: Hall) -> None:
    hana, gail, gus = await opened.join("hana"), await opened.join("gail", down=Way()), await opened.join("gus")
    for page in (gail, gus):
        page.shows(("hana", 720))
    await hana.film(rate=RATE)
    await width_is(gail, WHOLE)

    assert gail.relay is not None
    gail.relay.down.rate = 600_000
    await width_is(gail, HALF)
    await width_is(gus, WHOLE)

    gail.relay.down.rate = None
    await width_is(gail, WHOLE)
