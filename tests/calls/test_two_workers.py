"""Two real media workers and a real call: one is killed, hangs, or is drained, and the people are with the other."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from calls import placement
from calls.consumers.base import in_thread
from calls.media import wire
from calls.models import Participant, Placement, Worker
from tests.calls import scenes
from tests.calls.processes import PATIENCE, Process, pipe_to
from tests.calls.redises import OwnRedis
from tests.calls.sockets import Page, Scene

State = Participant.State
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hung_up")]


class Pair:
    """Two workers by their control address."""

    def __init__(self) -> None:
        self.workers: dict[str, Process] = {}

    def start(self) -> None:
        for process in [Process(), Process()]:
            self.workers[process.ready()] = process

    def carrying(self, scene: Scene) -> tuple[str, Process]:
        """Where the scene's call is, and that worker."""
        with scenes.acme(scene.cast):
            address = placement.where(scenes.call_of(scene.meeting).pk)
        assert address is not None
        return address, self.workers[address]


@pytest.fixture
def pair(transactional_db: None) -> Iterator[Pair]:
    found = Pair()
    found.start()
    yield found
    for process in found.workers.values():
        process.end(signal.SIGKILL)


async def back(scene: Scene, name: str) -> Page:
    """As the page does by itself: a new ticket, a new socket, until it is welcome."""
    while True:
        page = await (await scene.page(name, "call")).open()
        if (await page.next("welcome", "closed"))["kind"] == "welcome":
            return page
        await asyncio.sleep(0.2)


def fence_of_the_call() -> int:
    return Placement.objects.get().fence


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_dies_or_hangs_is_noticed_and_its_people_meet_again_on_the_other(
    scene: Scene, pair: Pair, number: signal.Signals
) -> None:
    """Nobody tells the page: the pipe breaks, or nothing comes over it any more. When the hanging one wakes, it has nothing to say."""
    hana, gail = await scene.call("hana"), await scene.call("gail")
    address, worker = await in_thread(pair.carrying, scene)

    worker.running.send_signal(number)

    assert [await page.reason() for page in (hana, gail)] == ["worker-lost"] * 2
    hana, gail = await back(scene, "hana"), await back(scene, "gail")
    assert (await hana.next("joined"))["person"]["name"] == "Gail"
    other, _ = await in_thread(pair.carrying, scene)
    assert other != address
    assert await in_thread(fence_of_the_call) == 2

    worker.running.send_signal(signal.SIGCONT)
    if number == signal.SIGSTOP:
        async with asyncio.timeout(PATIENCE):  # it lives again, and knows that it carries nothing
            while not await in_thread(lambda: any(one.address == address and one.lives for one in placement.workers())):
                await asyncio.sleep(0.1)
    await gail.say("mute", source="mic", muted=True)
    assert (await hana.next("person", "left"))["kind"] == "person"
    assert [await in_thread(pair.carrying, scene), await in_thread(fence_of_the_call)] == [(other, pair.workers[other]), 2]
    assert [(await scene.participant(name)).state for name in ("hana", "gail")] == [State.JOINED] * 2


def media(*words: str) -> tuple[int, str]:
    """The command's exit code, and what it said."""
    said = io.StringIO()
    try:
        call_command("media", *words, stdout=said, stderr=said)
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    finally:
        connections.close_all()
    return 0, said.getvalue()


async def test_draining_moves_the_calls_and_leaves_the_worker_without_any(scene: Scene, pair: Pair) -> None:
    hana = await scene.call("hana")
    address, worker = await in_thread(pair.carrying, scene)

    draining = asyncio.ensure_future(asyncio.to_thread(media, "drain", address))
    assert await hana.reason() == "worker-lost"
    await back(scene, "hana")

    assert await draining == (0, f"{address} carries no call and gets none\n")
    assert (await in_thread(pair.carrying, scene))[0] != address
    assert worker.running.poll() is None
    code, said = await asyncio.to_thread(media, "list", "--json")
    listed = {one["address"]: one for one in json.loads(said)}
    assert code == 0
    assert {name: (one["calls"], one["draining"]) for name, one in listed.items()} == {
        name: (int(name != address), name == address) for name in pair.workers
    }


async def test_until_the_deadline_a_call_stays_and_a_later_word_may_shorten_it(scene: Scene, pair: Pair) -> None:
    hana = await scene.call("hana")
    address, _ = await in_thread(pair.carrying, scene)
    draining = asyncio.ensure_future(asyncio.to_thread(media, "drain", address, "--deadline", "600"))
    async with asyncio.timeout(PATIENCE):
        while not await in_thread(Worker.objects.filter(control_address=address, draining=True).exists):
            await asyncio.sleep(0.05)

    gail = await scene.call("gail")

    assert (await hana.next("joined"))["person"]["name"] == "Gail"
    assert (await in_thread(pair.carrying, scene))[0] == address
    assert (await asyncio.to_thread(media, "drain", address))[0] == 0
    assert [await page.reason() for page in (hana, gail)] == ["worker-lost"] * 2
    assert (await draining)[0] == 0


async def test_a_worker_is_not_drained_while_nobody_else_takes_its_calls(scene: Scene, pair: Pair) -> None:
    hana = await scene.call("hana")
    address, _ = await in_thread(pair.carrying, scene)
    other = next(name for name in pair.workers if name != address)
    assert (await asyncio.to_thread(media, "drain", other))[0] == 0

    code, said = await asyncio.to_thread(media, "drain", address)

    assert (code, said) == (1, "media: no other media worker takes calls: start one first\n")
    await hana.say("mute", source="mic", muted=True)
    await hana.next("person")


def test_an_unknown_worker_is_wrong_use_and_none_at_all_a_fault(transactional_db: None) -> None:
    assert media("drain", "127.0.0.1:1") == (2, "no media worker is called 127.0.0.1:1")
    assert media("list") == (1, "no media worker\n")


@pytest.fixture
def redis_of_its_own(tmp_path: Path) -> Iterator[OwnRedis]:
    """A Redis that only these workers use."""
    server = OwnRedis(tmp_path)
    yield server
    server.kill()


def test_without_redis_calls_go_on_and_a_dead_worker_is_noticed(cast: Any, redis_of_its_own: OwnRedis) -> None:
    """Redis ends while Hana is in the call: the heartbeat goes on, Gail gets in and is written down, and after a kill the other has the call."""
    url = redis_of_its_own.url
    workers = {process.ready(): process for process in [Process(REDIS_URL=url), Process(REDIS_URL=url)]}
    with scenes.acme(cast):
        meeting = scenes.meeting(cast)
        hana, gail = (scenes.admitted(meeting, person) for person in (cast.hana, cast.gail))
        call = scenes.call_of(meeting)
    try:
        first = placement.worker_for(call.pk, cast.acme)
        assert first_word(first, hana) == {"kind": wire.ALIVE}
        redis_of_its_own.kill()

        before = Worker.objects.get(control_address=first.address).seen_at
        assert first_word(first, gail) == {"kind": wire.ALIVE}
        until(lambda: joined(cast) == 2)
        until(lambda: Worker.objects.get(control_address=first.address).seen_at > before)

        workers[first.address].end(signal.SIGKILL)
        until(lambda: placement.worker_for(call.pk, cast.acme) != first)
        second = placement.worker_for(call.pk, cast.acme)
        assert (second.address in workers, second.fence) == (True, 2)
        assert first_word(second, gail) == {"kind": wire.ALIVE}
    finally:
        for process in workers.values():
            process.end(signal.SIGKILL)


def joined(cast: Any) -> int:
    """How often somebody was written down as in a call."""
    with scenes.acme(cast):
        return scenes.kinds().count("participant.joined")


def first_word(place: placement.Place, participant: Participant) -> dict[str, Any] | None:
    """What a worker says first to a participant's new pipe, which is closed then."""

    async def asked() -> dict[str, Any] | None:
        pipe = await pipe_to(place, participant)
        async with asyncio.timeout(PATIENCE):
            word = await pipe.receive()
        pipe.close()
        return word

    return asyncio.run(asked())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
