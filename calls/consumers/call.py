"""The call's socket: between the page and the services on one side, between the page and the media worker's pipe on the other."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings

from consent import queries as asked
from tenants.errors import Refused

from .. import placement, protocol, queries, services
from ..media import wire
from ..models import Participant, Ticket
from .base import Socket, in_thread
from .seat import Gone, Present, Seat, decide

logger = logging.getLogger(__name__)
State = Participant.State

# What the page is told when its pipe closes; for whatever is not named here it comes back with a new ticket.
REASONS = frozenset({"ended", "removed", "signed-out", "replaced"})
PLACED_WITHIN = 5.0  # seconds to find a worker that answers: a lease and the time to take it over
AGAIN = (0.1, 0.3)  # seconds between two tries, drawn so that a whole call does not ask at once
FIRST_WORD = 4.5  # seconds that a worker has to say that somebody is in the room, or why not
ASK_EVERY = 0.3  # seconds after which the placement is read again while it says nothing
SILENT = 2.0  # seconds without a word, where a sign of life is due twice a second
SILENCE_LOOK = 0.25  # seconds between two looks for it


class CallConsumer(Socket):
    """Passes media messages to the worker and the worker's to the page; everything else it carries out itself."""

    kind = Ticket.Kind.CALL
    sent = protocol.CALL_SENT

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pipe: wire.Connection | None = None
        self._heard_at = 0.0  # when the worker last said something (time.monotonic)
        self._waiting: list[protocol.Waiter] = []
        self._ends_at: datetime | None = None  # for want of a host

    @property
    def _seat(self) -> Seat:
        assert self.seat is not None
        return self.seat

    async def started(self) -> None:
        await in_thread(self._seat.look, may_speak)
        self._pipe = await self._connected()
        await self.tell(await in_thread(self._seat.look, welcome))
        self.watch(partial(self._pump, self._pipe), "pipe")
        self.watch(self._notice_silence, "silence")
        await self.looked()

    async def _connected(self) -> wire.Connection:
        """The pipe to the worker that carries the call, once that worker has said that the participant is in the room.

        One that is dead or hangs is asked until its lease has lapsed and the call is placed elsewhere. Raises Gone: `worker-lost` when
        nobody is found, `busy` when all workers have enough to do; after both the page comes back. Else as the worker says.
        """
        deadline = time.monotonic() + PLACED_WITHIN
        while True:
            try:
                pipe = await self._dialled()
                if pipe is not None:
                    return pipe
                reason = "no-media-worker"
            except Refused as refused:
                reason = refused.code
            if reason == "busy" or time.monotonic() >= deadline:
                logger.warning("no pipe: %s", reason)
                raise Gone("busy" if reason == "busy" else "worker-lost")
            await asyncio.sleep(random.uniform(*AGAIN))  # noqa: S311 - reason: a pause, no secret

    async def _dialled(self) -> wire.Connection | None:
        """One try; None when the worker says nothing or sends us away. Raises Refused, and Gone where the worker lets nobody in."""
        seat = self._seat
        place = await in_thread(placement.worker_for, seat.call_id, seat.tenant)
        token = wire.participant_token(
            settings.CLEAC.pipe_key.get_secret_value().encode(),
            address=place.address,
            tenant=seat.tenant.pk,
            call=seat.call_id,
            participant=seat.participant_id,
            fence=place.fence,
            epoch=seat.epoch,
            now=time.time(),
        )
        pipe = await wire.connect(place.address, token)
        first = await self._first_word(pipe, place)
        if first is None or first.get("kind") == "closed":
            pipe.close()
            if first is not None and first.get("reason") in REASONS:
                raise Gone(first["reason"])
            return None
        self._heard_at = time.monotonic()
        return pipe

    async def _first_word(self, pipe: wire.Connection, place: placement.Place) -> dict[str, Any] | None:
        """What the worker says to the token; None when the call was placed elsewhere meanwhile, or nothing came for too long.

        The kernel of a process that hangs takes connections as ever, so only its word counts.
        """
        seat, deadline = self._seat, time.monotonic() + FIRST_WORD
        receiving = asyncio.ensure_future(pipe.receive())
        try:
            while not (await asyncio.wait({receiving}, timeout=ASK_EVERY))[0]:
                if time.monotonic() > deadline or await in_thread(placement.worker_for, seat.call_id, seat.tenant) != place:
                    return None
            return receiving.result()
        finally:
            receiving.cancel()

    async def _pump(self, pipe: wire.Connection) -> None:
        """Worker to page, until the pipe closes."""
        reason = "worker-lost"
        try:
            async for message in pipe.messages():
                self._heard_at = time.monotonic()
                if message.get("kind") == "closed":
                    told = message.get("reason")
                    reason = told if isinstance(told, str) and told in REASONS else "worker-lost"
                    break
                if message.get("kind") in protocol.FROM_WORKER:
                    await self.pass_on(message)
        except Refused as refused:
            logger.warning("pipe closed: %s", refused.code)
        # The worker knows that somebody is out, the database why.
        await self.look()
        await self.end(reason)

    async def _notice_silence(self) -> None:
        """A worker that hangs closes nothing. Asked twice, because what it said may wait where this process has stood still itself."""
        before = 0.0
        while True:
            await asyncio.sleep(SILENCE_LOOK)
            silent_since = self._heard_at
            if silent_since == before and time.monotonic() - silent_since > SILENT:
                logger.warning("pipe closed: worker-silent")
                await self.end("worker-lost")
                return
            before = silent_since

    async def looked(self) -> None:
        waiting, ends_at, at = await in_thread(self._seat.look, what_changes)
        if waiting != self._waiting:
            self._waiting = waiting
            await self.tell(protocol.Waiting(waiting))
        if ends_at != self._ends_at:
            self._ends_at = ends_at
            await self.tell(protocol.Hostless(ends_at and max(0, round((ends_at - at).total_seconds()))))

    async def stopped(self, seat: Seat) -> None:
        if self._pipe is not None:
            self._pipe.close()

    # Media: to the worker

    async def _to_worker(self, message: protocol.Message) -> None:
        await in_thread(self._seat.look, may_speak)
        if self._pipe is None or not self._pipe.send(protocol.written(message)):
            raise Gone("worker-lost")

    on_publish = on_subscribed = on_restart = on_mute = on_show = _to_worker

    # The person's own

    async def on_decide(self, message: protocol.Decide) -> None:
        await in_thread(self._seat.act, lambda present: decide(present, message.purpose, message.granted, "room"))

    async def on_leave(self, message: protocol.Leave) -> None:
        await in_thread(self._seat.act, leave)
        raise Gone("left")

    # The host's

    async def on_admit(self, message: protocol.Admit) -> None:
        await self._as_host(message.participant, services.admit)

    async def on_deny(self, message: protocol.Deny) -> None:
        await self._as_host(message.participant, services.deny)

    async def on_remove(self, message: protocol.Remove) -> None:
        await self._as_host(message.participant, services.remove)

    async def on_end(self, message: protocol.End) -> None:
        await in_thread(self._seat.act, end)
        raise Gone("ended")

    async def _as_host(self, participant_id: str, step: Callable[..., object]) -> None:
        def act(present: Present) -> None:
            _require_host(present)
            other = queries.participant_in(present.participant.call, participant_id)
            step(participant=other, by=present.actor, at=present.at)

        await in_thread(self._seat.act, act)
        await self.look()


def may_speak(present: Present) -> None:
    """Raises Gone unless the participant is let in."""
    state = present.participant.state
    if state not in queries.IN_THE_CALL:
        raise Gone("replaced" if state == State.LEFT else "removed")


def welcome(present: Present) -> protocol.Welcome:
    """The first message: the call, and oneself. Raises Gone unless let in."""
    may_speak(present)
    participant = present.participant
    marks = asked.marks(participant.call_id).get(str(participant.person_id), {})
    own = protocol.Person(str(participant.pk), participant.person.name, participant.role, False, False, False, marks)
    started_at = participant.call.started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    relays = services.relays_for(participant=participant, at=present.at)
    return protocol.Welcome(str(participant.pk), participant.call.meeting.title, started_at, [own], {"ice_servers": relays})


def who_waits(present: Present) -> list[protocol.Waiter]:
    """Those before the door, for a host; nobody for everybody else. Raises Gone unless let in."""
    may_speak(present)
    if not present.is_host:
        return []
    return [protocol.Waiter(str(one.pk), one.person.name) for one in queries.waiting(present.participant.call)]


def what_changes(present: Present) -> tuple[list[protocol.Waiter], datetime | None, datetime]:
    """Who waits, when the call ends for want of a host, and when that was read. Raises Gone unless let in."""
    return who_waits(present), queries.ends_without_host(present.participant.call), present.at


def leave(present: Present) -> None:
    """Go, by one's own wish."""
    services.leave(participant=present.participant, by=present.actor, at=present.at)


def end(present: Present) -> None:
    """End the call for everybody. Raises Refused("not-allowed", 403) unless a host asks."""
    _require_host(present)
    services.end(call=present.participant.call, by=present.actor, at=present.at)


def _require_host(present: Present) -> None:
    may_speak(present)
    if not present.is_host:
        raise Refused("not-allowed", 403)
