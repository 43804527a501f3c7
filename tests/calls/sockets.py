"""One media worker, and pages with a socket each, for tests of both consumers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client
from django.utils import timezone

from calls import services
from calls.consumers.base import in_thread
from calls.control import Control
from calls.media.edge import Edge
from calls.media.orders import Answer
from calls.media.worker import Worker
from calls.models import Invitation, Participant
from calls.models import Worker as WorkerRow
from cleac_site.asgi import application
from tenants import identity
from tenants import queries as house_queries
from tenants import services as house
from tenants.credentials import hashed
from tenants.models import GuestSession, Person
from tenants.permissions import Actor
from tests.calls import scenes
from tests.calls.scenes import acme

PATIENCE = 30.0
ORIGIN = settings.CLEAC.public_url
State = Participant.State


class Media:
    """One media worker with its database thread, in this process."""

    async def start(self) -> Media:
        loop = asyncio.get_running_loop()
        self.edge = await Edge.bind("127.0.0.1", 0)
        self.worker = Worker(self.edge, settings.CLEAC.pipe_key.get_secret_value().encode(), lambda order: self.control.ask(order))
        address = await self.worker.listen("127.0.0.1")

        def answered(answer: Answer) -> None:
            loop.call_soon_threadsafe(self.worker.tell, answer)

        self.control = Control(address, answered)
        self.control.start()
        async with asyncio.timeout(PATIENCE):
            while not await in_thread(WorkerRow.objects.exists):
                await asyncio.sleep(0.01)
        return self

    async def stop(self) -> None:
        self.control.drain()
        await self.worker.drain()
        await asyncio.to_thread(self.control.stop, PATIENCE)
        await self.edge.close()


class Page:
    """One socket of one browser, and everything it was ever told."""

    def __init__(self, kind: str, ticket: str, cookie: str, **headers: str) -> None:
        given = {"origin": ORIGIN, "cookie": cookie} | headers
        protocols = ["cleac.1", f"ticket.{ticket}"]
        pairs = [(name.encode(), value.encode()) for name, value in given.items() if value]
        self.socket = WebsocketCommunicator(application, f"/ws/{kind}", headers=pairs, subprotocols=protocols)
        self.heard: list[dict[str, Any]] = []

    async def open(self) -> Page:
        assert await self.socket.connect(PATIENCE) == (True, "cleac.1")
        return self

    async def next(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these kinds."""
        while True:
            message: dict[str, Any] = json.loads(await self.socket.receive_from(PATIENCE))
            self.heard.append(message)
            if message["kind"] in kinds:
                return message

    async def close_code(self) -> int:
        """What the server closes with; everything said before is heard."""
        while True:
            output = await self.socket.receive_output(PATIENCE)
            if output["type"] == "websocket.close":
                return int(output["code"])
            self.heard.append(json.loads(output["text"]))

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json_to({"kind": kind, **fields})

    async def reason(self) -> str:
        """Why the server closed."""
        assert await self.close_code() == 1000
        assert self.heard[-1]["kind"] == "closed"
        return str(self.heard[-1]["reason"])


class Scene:
    """Hana's meeting, and browsers of the cast."""

    def __init__(self, cast: Any) -> None:
        self.cast = cast
        self.pages: list[Page] = []
        self.cookies: dict[str, str] = {}
        with acme(cast):
            self.meeting = scenes.meeting(cast)

    def person(self, name: str) -> Person:
        found: Person = getattr(self.cast, name)
        return found

    def cookie(self, name: str) -> str:
        if name not in self.cookies:
            if name == "hana":
                self.client = Client()
                self.client.force_login(self.cast.hana_user, backend="allauth.account.auth_backends.AuthenticationBackend")
                self.cookies[name] = f"{settings.SESSION_COOKIE_NAME}={self.client.session.session_key}"
            else:
                self.cookies[name] = f"cleac_guest={scenes.guest_token(self.cast, self.meeting, self.person(name))}"
        return self.cookies[name]

    def ticket(self, name: str, kind: str) -> str:
        cookie, _, secret = self.cookie(name).partition("=")
        session = identity.Cookie(identity.STAFF if cookie == settings.SESSION_COOKIE_NAME else identity.GUEST, secret)
        with acme(self.cast):
            participant = scenes.entered(self.meeting, self.person(name))
            return services.issue_ticket(participant=participant, kind=kind, session_ref=session.ref, at=timezone.now())

    async def page(self, name: str, kind: str, **headers: str) -> Page:
        """A page with a good ticket, not yet open."""
        made = Page(kind, await in_thread(self.ticket, name, kind), await in_thread(self.cookie, name), **headers)
        self.pages.append(made)
        return made

    async def lobby(self, name: str) -> Page:
        page = await (await self.page(name, "lobby")).open()
        await page.next("lobby")
        return page

    async def call(self, name: str) -> Page:
        """In the room: admitted, and the worker has said so."""
        await self.do(lambda: scenes.admitted(self.meeting, self.person(name)))
        page = await (await self.page(name, "call")).open()
        await page.next("welcome")
        await self.until(name, State.JOINED)
        return page

    async def do(self, work: Callable[[], Any]) -> Any:
        """Something that happens elsewhere, in Acme's scope, committed."""

        def inside() -> Any:
            with acme(self.cast):
                return work()

        return await in_thread(inside)

    async def participant(self, name: str) -> Participant:
        found: Participant = await self.do(lambda: Participant.objects.get(person=self.person(name)))
        return found

    async def until(self, name: str, state: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await self.participant(name)).state != state:
                await asyncio.sleep(0.02)

    async def step(self, service: Callable[..., Any], name: str, by: str = "hana") -> None:
        participant = await self.participant(name)
        await self.do(lambda: service(participant=participant, by=Actor.person(self.person(by)), at=timezone.now()))


def guest_session(cookie: str) -> GuestSession:
    """The session behind a guest's cookie."""
    found = house_queries.guest_session_by_hash(hashed(cookie.partition("=")[2]))
    assert found is not None
    return found


async def ended_by(scene: Scene, way: str, name: str) -> None:
    """Take away what the person's sockets rest on."""
    person, at = scene.person(name), timezone.now()
    if way == "removal":
        await scene.step(services.remove, name)
    elif way == "sign-out" and name == "hana":
        await in_thread(scene.client.post, "/account/logout/")
    elif way == "sign-out":
        session = await in_thread(guest_session, scene.cookie(name))
        await scene.do(lambda: house.end_guest_session(session=session, by=Actor.person(person), at=at))
    elif way == "role change":
        membership = scene.cast.memberships[name.capitalize()]
        await scene.do(lambda: house.change_role(membership=membership, role="member", by=Actor.person(scene.cast.ada), at=at))
    elif way == "leaving the staff":
        membership = scene.cast.memberships[name.capitalize()]
        await scene.do(lambda: house.remove_member(membership=membership, by=Actor.person(scene.cast.ada), at=at))
    elif way == "revocation":
        by = Actor.person(scene.cast.hana)
        await scene.do(lambda: services.revoke_invitation(invitation=Invitation.objects.get(person=person), by=by, at=at))


async def out_of_the_room(scene: Scene, media: Media, name: str) -> None:
    """Wait until the media worker has nobody of this name in the room."""
    participant, call = str((await scene.participant(name)).pk), str((await scene.participant(name)).call_id)
    async with asyncio.timeout(PATIENCE):
        while (room := media.worker.room(call)) and participant in {one["participant"] for one in room.people()}:
            await asyncio.sleep(0.01)
