"""Three people who come into a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest_asyncio

from recordings import storage

from . import media
from .people import NUMBERS, SOCKETS, Attendee, Recorded, Trio, admitted, created_meeting, marked, until
from .stored import stretches


@pytest_asyncio.fixture(loop_scope="session")
async def people(visitor: Callable[..., Awaitable[Any]], live_cast: Any) -> dict[str, Attendee]:
    """Hana, Gail and Gus, each with a browser whose camera and microphone carry their number."""
    found = {}
    for name, number in NUMBERS.items():
        one = await visitor(viewport={"width": 1280, "height": 800}, color_scheme="light", reduced_motion="reduce")
        await media.burn_in(one.context, number)
        await one.context.add_init_script(SOCKETS)
        found[name] = Attendee(name, one)
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def trio(people: dict[str, Attendee], live_cast: Any) -> Trio:
    """A call of three: Hana and Gail agreed to everything, Gus declined everything."""
    hana, gail, gus = people["Hana"], people["Gail"], people["Gus"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(True)
    await hana.in_the_room()
    for guest, granted in ((gail, True), (gus, False)):
        await guest.page.goto(links[guest.name])
        await guest.walk_in(granted)
        await admitted(hana, guest)
    return Trio(hana, gail, gus, links)


@pytest_asyncio.fixture(loop_scope="session")
async def recorded(trio: Trio, live_cast: Any) -> Recorded:
    """Hana and Gail are kept, and what is kept of each can be seen and heard; Gus is not."""
    since, before = time.time(), frozenset(storage.store().names())
    await trio.hana.control("record").click()
    await marked(trio.everybody, Hana="captured", Gail="captured", Gus="declined")
    await until("pictures and sound of both are stored", lambda: asyncio.to_thread(both_are_stored, live_cast.acme))
    return Recorded(trio.hana, trio.gail, trio.gus, trio.links, since, before)


def both_are_stored(tenant: Any) -> bool:
    """A mark says that something is kept; a picture can be decoded from the first key frame on."""
    kept = {(one.name, one.source) for one in stretches(tenant) if NUMBERS[one.name] in one.people}
    return kept >= {(name, source) for name in ("Hana", "Gail") for source in ("cam", "mic")}
