"""People without a browser in a call whose worker is killed: both come back on another worker, and hear each other anew."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import Any

import pytest

from calls import placement
from calls.consumers.base import in_thread
from calls.media.client import Participant
from tests import stack as stacks
from tests.calls import scenes
from tests.calls.processes import Process

from .test_c_worker_lost import killed

pytestmark = [pytest.mark.asyncio(loop_scope="session")]


def planned(cast: Any) -> tuple[str, str]:
    """The room of a meeting of Hana's, and Gail's personal link."""
    with scenes.acme(cast):
        meeting = scenes.meeting(cast, guests=())
        secret = scenes.link(cast, meeting, cast.gail)
    return f"/t/acme/meetings/{meeting.pk}/room/", f"/j#{secret}"


async def hear_each_other(hana: Participant, gail: Participant) -> None:
    await hana.until("Gail is heard", lambda: hana.hears("Gail", "mic"))
    await gail.until("Hana is heard", lambda: gail.hears("Hana", "mic"))


async def test_two_people_whose_worker_was_killed_come_back_by_themselves_on_another_and_hear_each_other(stack: stacks.Stack, live_cast: Any) -> None:
    second = Process()
    async with AsyncExitStack() as ending:
        ending.callback(second.end, signal.SIGKILL)
        of_second = await in_thread(second.ready)
        room, link = await in_thread(planned, live_cast)
        hana, gail = Participant("Hana", 1, stack.url), Participant("Gail", 2, stack.url)
        for one in (hana, gail):
            ending.push_async_callback(one.close)
        await hana.sign_in(live_cast.links["Hana"], room)
        await hana.answer(lambda purpose: True)
        await hana.join("mic")
        await gail.open_link(link)
        await asyncio.gather(gail.answer(lambda purpose: True), hana.admit("Gail"))
        await gail.join("mic")
        await hear_each_other(hana, gail)
        carrying = await in_thread(placement.where, hana.call)

        if carrying == of_second:
            second.running.kill()
        else:
            killed(stack)
        await asyncio.gather(hana.come_back(), gail.come_back())

        await hear_each_other(hana, gail)
        assert await in_thread(placement.where, hana.call) not in (None, carrying)
        await hana.end()
