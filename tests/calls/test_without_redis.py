"""Sockets of pages while Redis is away or hangs, and when it is back: a real Redis that is ended, stopped, and started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from channels.layers import get_channel_layer

from calls import queries, services
from calls.consumers import base
from calls.models import Participant
from tests.calls.redises import OwnRedis
from tests.calls.sockets import PATIENCE, Media, Scene, ended_by, out_of_the_room

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hung_up")]


@pytest.fixture(autouse=True)
def own_redis(tmp_path: Path, settings: Any) -> Iterator[OwnRedis]:
    """What this process's sockets are told by; the service's log says that it was away, without a traceback."""
    server = OwnRedis(tmp_path)
    (host,) = settings.CHANNEL_LAYERS["default"]["CONFIG"]["hosts"]
    settings.CHANNEL_LAYERS = {"default": settings.CHANNEL_LAYERS["default"] | {"CONFIG": {"hosts": [host | {"address": server.url}]}}}
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def no_traceback(own_redis: OwnRedis, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []


async def listening(own_redis: OwnRedis, scene: Scene, name: str) -> None:
    """Wait until Redis carries the notes for this participant's pages."""
    group = f"asgi__group__{queries.participant_group((await scene.participant(name)).pk)}"
    with redis.Redis.from_url(own_redis.url) as asked:
        async with asyncio.timeout(PATIENCE):
            while asked.pubsub_numsub(group)[0][1] == 0:
                await asyncio.sleep(0.05)


async def test_a_page_that_opens_while_redis_is_away_gets_in_and_learns_of_changes_by_itself(
    scene: Scene,
    media: Media,
    own_redis: OwnRedis,
) -> None:
    own_redis.kill()

    gus = await scene.lobby("gus")
    await gus.say("ready")
    await gus.next("moved")
    gail = await scene.call("gail")
    await scene.step(services.admit, "gus")

    assert (await gus.next("admitted", "closed"))["kind"] == "admitted"
    await ended_by(scene, "sign-out", "gail")
    assert await gail.reason() == "signed-out"
    await out_of_the_room(scene, media, "gail")


@pytest.mark.parametrize("opened", ["before", "while"])
async def test_once_redis_is_back_a_page_is_told_of_changes(
    scene: Scene,
    own_redis: OwnRedis,
    monkeypatch: pytest.MonkeyPatch,
    opened: str,
) -> None:
    """The page never looks by itself here, so what it learns it was told."""
    monkeypatch.setattr(base, "LOOK_EVERY", 3600.0)
    if opened == "before":
        gus = await scene.lobby("gus")
        await listening(own_redis, scene, "gus")
    own_redis.kill()
    if opened == "while":
        gus = await scene.lobby("gus")
    await gus.say("ready")
    await scene.until("gus", Participant.State.WAITING)

    own_redis.start()
    await listening(own_redis, scene, "gus")
    await scene.step(services.admit, "gus")

    assert (await gus.next("admitted", "closed"))["kind"] == "admitted"


async def test_a_redis_that_hangs_is_waited_for_by_one_note_and_carries_them_again_when_it_wakes(
    scene: Scene,
    own_redis: OwnRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the first page that opened nobody waits: a note is refused because Redis is known to be away, not for want of an answer."""
    monkeypatch.setattr(base, "LOOK_EVERY", 3600.0)
    gail = await scene.lobby("gail")
    await listening(own_redis, scene, "gail")
    own_redis.hang()

    gus = await scene.lobby("gus")
    for _ in range(20):
        with pytest.raises(redis.ConnectionError, match="Redis is away"):
            await get_channel_layer().group_send("nobody", {"type": "look.again"})
    own_redis.wake()

    for name, page in (("gus", gus), ("gail", gail)):
        await page.say("ready")
        await scene.until(name, Participant.State.WAITING)
        await listening(own_redis, scene, name)
    await carried()
    for name, page in (("gus", gus), ("gail", gail)):
        await scene.step(services.admit, name)
        assert (await page.next("admitted", "closed"))["kind"] == "admitted"


async def carried() -> None:
    """Wait until a note can be sent again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await get_channel_layer().group_send("nobody", {"type": "look.again"})
                return
            except redis.RedisError:
                await asyncio.sleep(0.05)
