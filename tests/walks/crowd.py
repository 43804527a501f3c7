"""Guests without a browser: each has a seat, answers and a pipe of its own to the worker, so that every page has it in its roster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.db import connections
from django.utils import timezone

from calls import placement, services
from calls.media import wire
from calls.models import Meeting, Participant
from consent import queries as catalogue
from consent import services as consent
from tenants import scope
from tenants.permissions import Actor
from tests.calls import scenes

T = TypeVar("T")


class Crowd:
    """People in the room of Acme's newest meeting who send neither sound nor picture."""

    def __init__(self, cast: Any) -> None:
        self.cast = cast
        self._pipes: list[wire.Connection] = []
        self._readers: list[asyncio.Task[None]] = []

    async def comes(self, *names: str, agreed: bool = False) -> None:
        """These guests are invited, answer every question alike, and enter the room one after the other."""
        for name in names:
            await self._enter(await self._seated(name, agreed))

    async def goes(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        await asyncio.gather(*self._readers)

    async def _elsewhere(self, work: Callable[..., T], *arguments: Any, **facts: Any) -> T:
        """One step in a transaction of its own, as each is in a real call: locks of one are given back before the next."""

        def done() -> T:
            try:
                with scope.entered(self.cast.acme):
                    return work(*arguments, **facts)
            finally:
                connections.close_all()

        return await asyncio.to_thread(done)

    async def _seated(self, name: str, agreed: bool) -> Participant:
        meeting = await self._elsewhere(lambda: Meeting.objects.select_related("host").latest("created_at"))
        host = {"by": Actor.person(meeting.host), "at": timezone.now()}
        invitation, _ = await self._elsewhere(services.invite, meeting=meeting, name=name, **host)
        participant = await self._elsewhere(scenes.entered, meeting, invitation.person)
        own = {"by": Actor.person(invitation.person), "at": timezone.now()}
        for notice in await self._elsewhere(catalogue.notices, scenes.PURPOSES):
            answer = {"call_id": participant.call_id, "person": invitation.person, "purpose": notice.purpose.key, "granted": agreed, "served": notice}
            await self._elsewhere(consent.decide, **answer, **own)
        await self._elsewhere(services.ready, participant=participant, **own)
        return await self._elsewhere(services.admit, participant=participant, **host)

    async def _enter(self, participant: Participant) -> None:
        place = await self._elsewhere(placement.worker_for, participant.call_id, self.cast.acme)
        token = wire.participant_token(
            settings.CLEAC.pipe_key.get_secret_value().encode(),
            address=place.address,
            tenant=participant.tenant_id,
            call=participant.call_id,
            participant=participant.pk,
            fence=place.fence,
            epoch=participant.epoch,
            now=time.time(),
        )
        pipe = await wire.connect(place.address, token)
        self._pipes.append(pipe)
        self._readers.append(asyncio.create_task(_read(pipe)))


async def _read(pipe: wire.Connection) -> None:
    """A pipe whose frames nobody takes is cut off."""
    async for _ in pipe.messages():
        pass
