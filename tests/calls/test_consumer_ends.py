"""Sockets whose ground is gone: a removal, a sign-out, a lost role or invitation closes the socket and the media, with or without a note."""

from __future__ import annotations

from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.utils import timezone
from redis.exceptions import RedisError

from calls.consumers.base import in_thread
from tenants import services as house
from tenants.permissions import Actor
from tests.calls import scenes
from tests.calls.sockets import Media, Scene, ended_by, guest_session, out_of_the_room

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quiet", "hung_up")]

OF_GUESTS = [(way, "gail") for way in ("removal", "sign-out", "revocation")]
OF_STAFF = [(way, "hana") for way in ("sign-out", "role change", "leaving the staff")]
WAYS = [*OF_GUESTS, *OF_STAFF]


@pytest.mark.parametrize("notes", ["with the note", "with every note lost"])
@pytest.mark.parametrize(("way", "name"), WAYS, ids=lambda value: value)
async def test_socket_and_media_close_when_their_ground_is_gone(
    scene: Scene, media: Media, monkeypatch: pytest.MonkeyPatch, way: str, name: str, notes: str
) -> None:
    """By the note at once, and without it by the socket's own look: either way the pipe closes with the socket."""
    page = await scene.call(name)
    if notes == "with every note lost":

        async def lost(group: str, message: dict[str, Any]) -> None:
            """The layer may drop a message; this one drops all."""

        monkeypatch.setattr(get_channel_layer(), "group_send", lost, raising=False)

    await ended_by(scene, way, name)

    assert await page.reason() == ("removed" if way == "removal" else "signed-out")
    await out_of_the_room(scene, media, name)


async def refuse(*what: object) -> None:
    """In place of a method of the channel layer, which is away."""
    raise RedisError


async def test_media_close_although_the_layer_is_away(scene: Scene, media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    page = await scene.call("gail")

    for method in ("group_send", "group_discard"):
        monkeypatch.setattr(get_channel_layer(), method, refuse, raising=False)
    await ended_by(scene, "sign-out", "gail")

    assert await page.reason() == "signed-out"
    await out_of_the_room(scene, media, "gail")


async def test_a_socket_whose_right_ends_while_it_opens_says_so_although_the_layer_is_away(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = get_channel_layer()

    async def meanwhile(*what: object) -> None:
        await ended_by(scene, "sign-out", "gail")

    monkeypatch.setattr(layer, "group_add", meanwhile, raising=False)
    monkeypatch.setattr(layer, "group_discard", refuse, raising=False)
    page = await (await scene.page("gail", "lobby")).open()

    assert await page.reason() == "signed-out"


@pytest.mark.parametrize(("way", "name"), WAYS, ids=lambda value: value)
async def test_a_lobby_socket_closes_too(scene: Scene, way: str, name: str) -> None:
    page = await scene.lobby(name)

    await ended_by(scene, way, name)

    assert await page.reason() in ("removed", "signed-out")


async def test_signing_out_in_one_browser_leaves_the_other_one_alone(scene: Scene) -> None:
    page = await scene.lobby("gail")
    other = await in_thread(scenes.guest_token, scene.cast, scene.meeting, scene.person("gail"))
    session = await in_thread(guest_session, f"cleac_guest={other}")
    await scene.do(lambda: house.end_guest_session(session=session, by=Actor.person(scene.person("gail")), at=timezone.now()))

    await page.say("ready")

    assert (await page.next("moved", "closed"))["kind"] == "moved"
