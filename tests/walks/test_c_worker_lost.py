"""Path (c), the worker dies: the media worker is killed in the middle of a recording, and everything goes on without anybody's help.

What was stored is opened and decoded, and held against the moment of the kill on the clock of the burned-in capture times.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from cleac_site import watchdog
from recordings.models import Recording
from tenants import scope
from tests import stack as stacks
from tests.environment import WEB_PORT

from .people import NUMBERS, PATIENCE, Attendee, admitted, created_meeting, marked, until
from .stored import Stretch, held, start_not_before, stretches

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SLOW = PATIENCE * 1000  # ms
LONG = 180.0  # seconds until a process counts as not starting, and the sweep, due every 15 s, as not having come
LOST_AT_MOST = 3000  # ms before a crash (D19)
NAMES = ("Gail", "Hana")
TRACKS = [(name, source) for name in NAMES for source in ("cam", "mic")]


@dataclass
class Pair:
    """Hana and Gail in a call that is being recorded."""

    hana: Attendee
    gail: Attendee

    @property
    def both(self) -> list[Attendee]:
        return [self.hana, self.gail]

    async def see_and_hear_each_other(self) -> None:
        for one, other in ((self.hana, self.gail), (self.gail, self.hana)):
            await one.sees(other.name)
            await one.hears(other.name)


@pytest_asyncio.fixture(loop_scope="session")
async def pair(people: dict[str, Attendee], live_cast: Any) -> Pair:
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(True)
    await hana.in_the_room()
    await gail.page.goto(links["Gail"])
    await gail.walk_in(True)
    await admitted(hana, gail)
    await hana.control("record").click()
    await marked([hana, gail], Hana="captured", Gail="captured")
    return Pair(hana, gail)


def killed(stack: stacks.Stack) -> float:
    """Kill the media worker; another one starts as the supervisor would start it. Returns the moment before, in ms since 1970."""
    fallen = stack.processes["media"]
    moment = time.time() * 1000
    fallen.send_signal(signal.SIGKILL)
    assert fallen.wait(PATIENCE) == -signal.SIGKILL
    another(stack)
    return moment


def another(stack: stacks.Stack) -> None:
    """A media worker in the place of the one that has ended."""
    with (stack.logs / "media.log").open("ab") as log:
        options = {"cwd": stacks.ROOT, "env": stacks.child_environment(), "stdout": log, "stderr": log}
        command = stacks.commands(WEB_PORT)["media"]
        stack.processes["media"] = subprocess.Popen(command, **options, preexec_fn=watchdog.die_with_parent)


async def started_again(stack: stacks.Stack, said_before: int) -> None:
    """The new worker says that it takes calls. `said_before`: bytes that were in the log when the old one was killed."""

    async def found() -> bool:
        assert stack.processes["media"].poll() is None
        return b"media worker ready" in (stack.logs / "media.log").read_bytes()[said_before:]

    await until("the new media worker is ready", found, LONG)


def recording_of(tenant: Any) -> Recording:
    """The only one there is."""
    with scope.entered(tenant):
        found: Recording = Recording.objects.get()
        return found


async def open_now(tenant: Any) -> list[Stretch]:
    """What is being written, as soon as that is something of every track."""

    async def found() -> list[Stretch]:
        there = await asyncio.to_thread(stretches, tenant, closed_at=None)
        return there if [(one.name, one.source) for one in there if one.people] == TRACKS else []

    result: list[Stretch] = await until("every track is being written", found, LONG)
    return result


async def swept(tenant: Any, before: list[Stretch]) -> list[Stretch]:
    """The stretches that the dead worker left open, when the jobs' own timetable has closed them."""

    async def found() -> list[Stretch]:
        there = await asyncio.to_thread(stretches, tenant, pk__in=[one.epoch for one in before])
        return there if all(one.closed_at for one in there) else []

    result: list[Stretch] = await until("the sweep has closed what the dead worker left", found, LONG)
    return result


async def stopped(tenant: Any) -> None:
    async def found() -> bool:
        return bool((await asyncio.to_thread(recording_of, tenant)).stopped_at)

    await until("the recording is stopped", found, LONG)


def all_but_the_last_moment(old: list[Stretch], before: list[Stretch], moment: float) -> None:
    """What could be read before the kill is as it was, nothing is missing after it, and at most three seconds before the kill it ends."""
    start = start_not_before(old)  # the least that it can be, so that the loss is not made to look smaller
    for stretch, earlier in zip(old, before, strict=True):
        assert stretch.items[: len(earlier.items)] == earlier.items
        assert stretch.missing() == 0
        assert moment - (start + stretch.arrived[-1].at_us / 1000) <= LOST_AT_MOST
        if stretch.source == "cam":
            last = stretch.stamps[-1].captured
            assert last <= moment <= last + LOST_AT_MOST


def whose(found: list[Stretch]) -> None:
    """Each stretch holds its own person's pictures or beeps and nobody else's."""
    for stretch in found:
        assert stretch.people == {NUMBERS[stretch.name]}


async def test_a_worker_that_is_killed_costs_three_seconds_at_most_and_nobody_has_to_do_anything(
    pair: Pair, live_cast: Any, stack: stacks.Stack
) -> None:
    """Hana and Gail see and hear each other again without a click, are kept again under new keys, and what was kept stays readable."""
    await pair.see_and_hear_each_other()
    recording = recording_of(live_cast.acme)
    before = await open_now(live_cast.acme)

    for attendee in pair.both:
        await attendee.note_network()
    said = (stack.logs / "media.log").stat().st_size
    moment = killed(stack)

    for attendee in pair.both:
        await attendee.was_told_of_a_cut()
    await started_again(stack, said)
    for attendee in pair.both:
        await attendee.in_the_room()
    await marked(pair.both, Hana="captured", Gail="captured")
    await pair.see_and_hear_each_other()

    old = await swept(live_cast.acme, before)
    assert {stretch.cut for stretch in old} == {"worker-lost"}
    assert all(stretch.end is None for stretch in old)
    all_but_the_last_moment(old, before, moment)
    whose(old)
    assert recording_of(live_cast.acme).incomplete

    again = await open_now(live_cast.acme)
    with held(live_cast.acme, pk__in=[stretch.epoch for stretch in again]) as journals:
        await pair.hana.control("people").click()
        await pair.hana.page.get_by_role("button", name="End the call for everyone").click()
        await pair.hana.page.get_by_role("button", name="End the call", exact=True).click()
        await stopped(live_cast.acme)
        new = [journal.read() for journal in journals]

    for attendee in pair.both:
        await expect(attendee.page.get_by_role("heading", name="The call has ended")).to_be_visible()
    assert {stretch.recording for stretch in new} == {recording.pk}
    assert {stretch.sealed_key for stretch in new}.isdisjoint(stretch.sealed_key for stretch in old)
    for stretch, earlier in zip(new, old, strict=True):
        assert stretch.number > earlier.number
        assert stretch.end is not None
        assert (stretch.cut, stretch.end.reason) == ("ended", "ended")
        assert stretch.source != "cam" or stretch.stamps[0].captured > moment
    whose(new)
