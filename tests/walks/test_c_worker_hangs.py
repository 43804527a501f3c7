"""Path (c), the worker hangs or is drained: a second media worker takes the recorded call over, and nobody touches anything.

A worker that hangs is worse than one that is dead: it wakes up again, and must then neither deliver nor write.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from django.db import connections
from playwright.async_api import expect

from calls import placement
from calls.models import Placement
from recordings import storage
from recordings.models import Artefact
from tenants import scope
from tests import stack as stacks
from tests.calls.processes import Process
from tests.calls.test_two_workers import media

from .people import PATIENCE, marked, until
from .stored import Stretch, held, stretches
from .test_c_worker_lost import LONG, SLOW, TRACKS, Pair, another, open_now, pair, recording_of, started_again, stopped, swept, whose  # noqa: F401 - reason: a fixture that this module uses too

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def second(pair: Pair) -> AsyncIterator[str]:  # noqa: F811 - reason: the fixture of above
    """The control address of another media worker, which has no call yet."""
    process = Process()
    yield await asyncio.to_thread(process.ready)
    await asyncio.to_thread(process.end, signal.SIGTERM)


async def asked(work: Any, *arguments: Any) -> Any:
    """Ask the database in a thread of its own."""

    def run() -> Any:
        try:
            return work(*arguments)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


def carrier() -> str:
    """The control address of whoever has the call; empty between two."""
    worker = Placement.objects.select_related("worker").get().worker
    return worker.control_address if worker else ""


def journals(tenant: Any, epochs: Iterable[UUID]) -> list[bytes]:
    """The files of these stretches as they are now."""
    with scope.entered(tenant):
        names = Artefact.objects.filter(epochs__in=epochs, kind=Artefact.Kind.JOURNAL).order_by("pk").values_list("object_name", flat=True)
        return [storage.store().open(name).read() for name in names]


async def taken_over(pair: Pair, tenant: Any, second: str) -> list[Stretch]:  # noqa: F811 - reason: as above
    """Both are with the second worker, see and hear each other, and are recorded there. What is being written."""
    await until("the second worker has the call", lambda: asked(lambda: carrier() == second), LONG)
    for attendee in pair.both:
        await attendee.in_the_room()
    await pair.see_and_hear_each_other()
    await marked(pair.both, Hana="captured", Gail="captured")

    async def found() -> list[Stretch]:
        there = await asyncio.to_thread(stretches, tenant, fence=2)
        return there if [(one.name, one.source) for one in there if one.people] == TRACKS else []

    result: list[Stretch] = await until("every track is being written in a new part", found, LONG)
    return result


async def ended(pair: Pair, tenant: Any, new: list[Stretch]) -> list[Stretch]:  # noqa: F811 - reason: as above
    """Hana ends the call; what the new part holds then."""
    with held(tenant, pk__in=[stretch.epoch for stretch in new]) as kept:
        await pair.hana.control("people").click()
        await pair.hana.page.get_by_role("button", name="End the call for everyone").click()
        await pair.hana.page.get_by_role("button", name="End the call", exact=True).click()
        await stopped(tenant)
        found = [journal.read() for journal in kept]
    for attendee in pair.both:
        await expect(attendee.page.get_by_role("heading", name="The call has ended")).to_be_visible(timeout=SLOW)
    return found


async def test_a_worker_that_hangs_loses_the_call_to_another_and_has_nothing_to_say_when_it_wakes(
    pair: Pair,  # noqa: F811 - reason: as above
    second: str,
    live_cast: Any,
    stack: stacks.Stack,
) -> None:
    await pair.see_and_hear_each_other()
    before = await open_now(live_cast.acme)
    hanging, address = stack.processes["media"], await asked(carrier)
    assert address != second

    for attendee in pair.both:
        await attendee.note_network()
    hanging.send_signal(signal.SIGSTOP)
    try:
        for attendee in pair.both:
            await attendee.was_told_of_a_cut()
        new = await taken_over(pair, live_cast.acme, second)
        frozen = await asked(journals, live_cast.acme, [stretch.epoch for stretch in before])
    finally:
        hanging.send_signal(signal.SIGCONT)

    def lives() -> bool:
        return any(one.address == address and one.lives and (one.calls, one.load.forwarded) == (0, 0.0) for one in placement.workers())

    await until("the worker that hung lives again, with no call", lambda: asked(lives), LONG)
    await pair.see_and_hear_each_other()
    old = await swept(live_cast.acme, before)
    assert await asked(journals, live_cast.acme, [stretch.epoch for stretch in before]) == frozen
    assert {(stretch.cut, stretch.end) for stretch in old} == {("worker-lost", None)}
    assert await asked(carrier) == second
    assert hanging.poll() is None

    kept = await ended(pair, live_cast.acme, new)
    assert {stretch.recording for stretch in [*old, *kept]} == {recording_of(live_cast.acme).pk}
    assert {stretch.sealed_key for stretch in kept}.isdisjoint(stretch.sealed_key for stretch in old)
    whose([*old, *kept])


async def test_a_worker_that_is_drained_hands_the_call_over_and_seals_every_end(
    pair: Pair,  # noqa: F811 - reason: as above
    second: str,
    live_cast: Any,
    stack: stacks.Stack,
) -> None:
    await pair.see_and_hear_each_other()
    before = await open_now(live_cast.acme)
    drained = stack.processes["media"]
    said = (stack.logs / "media.log").stat().st_size

    assert (await asyncio.to_thread(media, "drain", await asked(carrier)))[0] == 0
    new = await taken_over(pair, live_cast.acme, second)

    old = await asyncio.to_thread(stretches, live_cast.acme, pk__in=[stretch.epoch for stretch in before])
    assert {(stretch.cut, stretch.end.reason if stretch.end else None) for stretch in old} == {("moved", "moved")}
    assert all(stretch.missing() == 0 for stretch in old)
    assert not recording_of(live_cast.acme).incomplete
    kept = await ended(pair, live_cast.acme, new)
    whose([*old, *kept])

    drained.terminate()
    assert await asyncio.to_thread(drained.wait, PATIENCE) == 0
    another(stack)
    await started_again(stack, said)
    assert isinstance(stack.processes["media"], subprocess.Popen)
