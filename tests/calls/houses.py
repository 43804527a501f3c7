"""One media worker on real sockets, for tests that stand in for the database's thread, and what its pipes say."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

from calls.media import clock, wire
from calls.media.edge import Edge
from calls.media.orders import Admitted, CallView, Joined, Look, Order
from calls.media.worker import Worker

KEY = b"k" * 32
PATIENCE = 30.0
TENANT, CALL = str(UUID(int=1)), str(UUID(int=2))
HANA, GAIL, GUS = (str(UUID(int=number)) for number in (11, 12, 13))
PEOPLE = {
    HANA: Admitted(person_id="hana", name="Hana", role="host", epoch=0),
    GAIL: Admitted(person_id="gail", name="Gail", role="guest", epoch=0),
}


class House:
    """One worker, and what its database would answer: `view` is the truth, given at each look; None means silence."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.changed = asyncio.Event()
        now = clock.now()
        self.view: CallView | None = CallView(CALL, TENANT, 1, now, now + 3600, PEOPLE, {}, {}, held_as_of=now)
        self.connections: list[wire.Connection] = []
        self.loop = asyncio.get_running_loop()

    async def open(self) -> House:
        self.edge = await Edge.bind("127.0.0.1", 0)
        self.worker = Worker(self.edge, KEY, self.ordered)
        self.address = await self.worker.listen("127.0.0.1")
        return self

    def ordered(self, order: Order) -> None:
        self.orders.append(order)
        self.changed.set()
        if isinstance(order, Look) and order.call_id == CALL and self.view is not None:
            self.loop.call_soon(self.read)

    def read(self, **changed: Any) -> None:
        """The database was read: with these changes since the last time."""
        assert self.view is not None
        now = clock.now()
        self.view = replace(self.view, **{"read_at": now, "held_as_of": now} | changed)
        self.worker.tell(self.view)

    async def until(self, kind: type[Order]) -> Order:
        async with asyncio.timeout(PATIENCE):
            while not (found := [order for order in self.orders if isinstance(order, kind)]):
                self.changed.clear()
                await self.changed.wait()
        return found[-1]

    async def connect(self, token: str) -> wire.Connection:
        connection = await wire.connect(self.address, token)
        self.connections.append(connection)
        return connection

    async def pipe(self, participant: str, **changed: Any) -> wire.Connection:
        named = {"tenant": TENANT, "call": CALL, "participant": participant, "fence": 1, "epoch": 0, "now": time.time()}
        return await self.connect(wire.participant_token(KEY, address=self.address, **(named | changed)))

    async def joined(self, participant: str, **changed: Any) -> wire.Connection:
        """A pipe whose participant is in the room."""
        self.orders = [order for order in self.orders if not isinstance(order, Joined)]
        connection = await self.pipe(participant, **changed)
        await self.until(Joined)
        return connection

    async def control(self) -> wire.Connection:
        return await self.connect(wire.control_token(KEY, address=self.address, now=time.time()))

    def present(self) -> set[str]:
        room = self.worker.room(CALL)
        return {person["participant"] for person in room.people()} if room else set()

    async def close(self) -> None:
        for connection in self.connections:
            connection.close()
        await self.worker.drain()
        await self.edge.close()


async def rest(connection: wire.Connection) -> list[dict[str, Any]]:
    """Every frame until the worker closes."""
    async with asyncio.timeout(PATIENCE):
        return [message async for message in connection.messages()]


async def until_kind(connection: wire.Connection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        async for message in connection.messages():
            if message["kind"] == kind:
                return message
    raise AssertionError(f"the pipe ended before {kind}")


async def last_words(connection: wire.Connection) -> dict[str, Any]:
    return (await rest(connection))[-1]


def closed(reason: str) -> dict[str, str]:
    return {"kind": "closed", "reason": reason}
