"""The lobby's socket. It hears of its own person and of nobody else: no roster, no media, no group with data of the room."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from django.db import Error as DatabaseError

from consent import services as consent
from tenants.errors import Refused

from .. import protocol, queries, services
from ..models import Participant, Ticket
from .base import Socket, in_thread
from .seat import Gone, Present, Seat, decide

logger = logging.getLogger(__name__)
State = Participant.State


class LobbyConsumer(Socket):
    """Shows the cards, takes the answers, and says when the person is let in."""

    kind = Ticket.Kind.LOBBY
    sent = protocol.LOBBY_SENT

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wants_in = False
        self._position: int | None = None
        self._let_in = False

    @property
    def _seat(self) -> Seat:
        assert self.seat is not None
        return self.seat

    async def started(self) -> None:
        greeting = await in_thread(self._seat.act, introduce)
        self._position = greeting.waiting_position
        await self.tell(greeting)
        await self._told(greeting.state)

    async def looked(self) -> None:
        state, position = await in_thread(self._seat.look, standing)
        if state == State.LOBBY and self._wants_in:
            # Another page of the same person was closed, and with it the wish to be let in.
            state, position = await in_thread(self._seat.act, ready)
        if position is not None and position != self._position:
            self._position = position
            await self.tell(protocol.Moved(position))
        await self._told(state)

    async def _told(self, state: str) -> None:
        if state in queries.IN_THE_CALL and not self._let_in:
            self._let_in = True
            await self.tell(protocol.Admitted())
        elif state == State.DENIED:
            await self.tell(protocol.Denied())
            raise Gone("denied")

    async def on_decide(self, message: protocol.Decide) -> None:
        try:
            await in_thread(self._seat.act, lambda present: decide(present, message.purpose, message.granted, "page"))
        except Refused as refused:
            if refused.code == "notice-changed":  # the page shows words that are in force no more: show the new ones
                await self.tell(await in_thread(self._seat.act, introduce))
            raise
        await self.tell(protocol.Answered(message.purpose, message.granted))

    async def on_ready(self, message: protocol.Ready) -> None:
        self._wants_in = True
        await in_thread(self._seat.act, ready)
        await self.look()

    async def stopped(self, seat: Seat) -> None:
        """Whoever closes the page waits no longer; the place in the queue is kept for a return."""
        try:
            await in_thread(seat.act, step_back)
        except (Gone, Refused, DatabaseError) as reason:
            logger.debug("nothing to step back from: %s", type(reason).__name__)


def introduce(present: Present) -> protocol.Lobby:
    """The first message; the notices in it count as shown from now on."""
    participant = present.participant
    meeting = participant.call.meeting
    consent.serve(person=participant.person, call_id=participant.call_id, purposes=meeting.purposes, at=present.at)
    cards = [protocol.Card(**asdict(card)) for card in queries.cards(participant.person, meeting, participant.call)]
    return protocol.Lobby(meeting.title, meeting.host.name, participant.state, queries.position(participant), cards)


def standing(present: Present) -> tuple[str, int | None]:
    """State and place in the queue. Raises Gone for somebody who left by another page."""
    if present.participant.state == State.LEFT:
        raise Gone("replaced")
    return present.participant.state, queries.position(present.participant)


def ready(present: Present) -> tuple[str, int | None]:
    """Wait from now on, or go straight in."""
    participant = services.ready(participant=present.participant, by=present.actor, at=present.at)
    return participant.state, queries.position(participant)


def step_back(present: Present) -> None:
    """Wait no longer."""
    services.step_back(participant=present.participant, by=present.actor, at=present.at)
