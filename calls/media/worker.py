"""The worker's side of both kinds of connection: a participant's pipe becomes a member of a room, a note becomes a look (D8).

What must never happen here: somebody is in a room whom the database did not let in; one connection's fault reaches another; a room
goes on after its lease has lapsed. The packet path is fenced by the end of the leases (`Edge.allow`), so a process that stood still
sends and taps nothing when it wakes, and what somebody else took meanwhile is off every track before the fence is lifted. The newest
`CallView` decides who is in, and nothing that arrives by a connection is believed beyond its token. The database is asked by another
thread (`calls.control`): `Order` values go there, `Answer` values come back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

from . import clock, conversation, wire
from .background import Background
from .carried import Carried, Closed, MarksOf, Pipe, decided_marks
from .edge import Edge
from .orders import Answer, CallView, Joined, Left, Look, Lost, Order, Outcome, Release, Renewed, Unconfirmed
from .probes import Probes
from .reception import Reception
from .room import Room

LOOK_PATIENCE = 4.0  # seconds a pipe waits for the database to say whether it may open
WATCH_EVERY = 0.5  # seconds between two looks at the leases, and between two signs of life on every pipe
PAUSED_FOR = 3.0  # seconds for which a call whose lease has lapsed waits for its renewal; the fence lets nothing through meanwhile
EMPTY_FOR = 60.0  # seconds an empty room keeps its lease
CLOSING = "closing a call"
ALIVE = {"kind": wire.ALIVE}


class Worker:
    """All calls of this process. `ask` hands an order to the database's thread; that thread's answers go to `tell`, on the loop.

    `follow`, where set, is told every answer in the same turn, after the rooms have followed it; `marks_of` says what is shown of a member.
    `last_speakers` is given to each room.
    Counters: `pipes`, `notes`, `probes`, `faults`, and one for each code or reason by which something was refused.
    """

    def __init__(self, edge: Edge, pipe_key: bytes, ask: Callable[[Order], None], last_speakers: int = 0) -> None:
        self.forwarded = 0.0  # packets a second to listeners; read by another thread
        self.leaves_at: float | None = None  # when the calls are to be moved (`clock.now`), as the registry says
        self.follow: Callable[[Answer], None] | None = None
        self.marks_of: MarksOf = decided_marks
        self.background = Background()
        self.counters = self.background.counters
        self._edge = edge
        self._reception = Reception(pipe_key, self.background, Probes(edge), self._noted, self._serve_participant)
        self._ask = ask
        self._last_speakers = last_speakers
        self._calls: dict[str, Carried] = {}
        self._waiting: dict[str, list[tuple[float, asyncio.Future[Answer]]]] = {}
        self._draining = False
        self._watch: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int = 0, advertise: str = "") -> str:
        """Open the control address and return the one by which other processes reach it: at `advertise`, or at `host`. Raises OSError."""
        self._edge.allow(0.0)  # until the first heartbeat nobody believes in this worker
        address = await self._reception.listen(host, port, advertise)
        self._watch_leases()
        return address

    @property
    def address(self) -> str:
        """The control address, once it is open."""
        return self._reception.address

    def confirmed_at(self, call_id: str) -> float | None:
        """When the database last confirmed what is known of this call (`clock.now`); None for a call that is not carried here."""
        carried = self._calls.get(call_id)
        return carried.view.read_at if carried else None

    def room(self, call_id: str) -> Room | None:
        """The room of a call that is carried here."""
        carried = self._calls.get(call_id)
        return carried.room if carried else None

    async def move(self) -> None:
        """Close every pipe with `moved` and every room, and give the calls back; the pages find another worker. Who comes is sent on."""
        self._draining = self._reception.full = True
        moving = list(self._calls.values())
        for carried in moving:
            self._close(carried, "moved")
        await self.background.done(CLOSING)
        for carried in moving:
            self._ask(Release(carried.view.call_id, carried.view.fence))

    async def drain(self) -> None:
        """As `move`, and nothing is listened to any more."""
        self._reception.close()
        if self._watch:
            self._watch.cancel()
        await self.move()
        await self.background.cancel()

    # What the database says

    def tell(self, answer: Answer) -> None:
        """Take in what the database's thread found."""
        if isinstance(answer, Renewed):
            self._renew(answer)
        elif not isinstance(answer, Outcome):
            self._take_in(answer)
        if self.follow is not None:
            self.follow(answer)

    def _take_in(self, answer: CallView | Lost | Unconfirmed) -> None:
        carried = self._calls.get(answer.call_id)
        if isinstance(answer, CallView):
            self._apply(answer, carried)
        elif isinstance(answer, Lost) and carried:
            self._close(carried, "moved")
        elif isinstance(answer, Unconfirmed):
            self.counters["unconfirmed"] += 1
        waiting = self._waiting.pop(answer.call_id, [])
        still = [(asked, future) for asked, future in waiting if asked > answer.read_at]
        if still:
            self._waiting[answer.call_id] = still
        for asked, future in waiting:
            if asked <= answer.read_at and not future.done():
                future.set_result(answer)

    def _renew(self, renewed: Renewed) -> None:
        """What is not ours any more is off its tracks in this turn; then the packet path may go on until these leases end."""
        for call_id, carried in list(self._calls.items()):
            if renewed.fences.get(call_id) == carried.view.fence:
                carried.lease_until = max(carried.lease_until, renewed.until)
            elif carried.view.held_as_of < renewed.read_at:
                carried.room.cut("moved")
                self._close(carried, "moved")
        self._edge.allow(renewed.until)
        self.leaves_at = None if renewed.drain_in is None else clock.now() + renewed.drain_in

    def _apply(self, view: CallView, carried: Carried | None) -> None:
        if carried and carried.view.fence != view.fence:
            self._close(carried, "moved")
            carried = None
        if carried is None:
            if view.ended or self._draining:
                return
            carried = self._calls[view.call_id] = Carried(view, Room(view.call_id, self._edge, last_speakers=self._last_speakers), self.marks_of)
        carried.view, carried.lease_until = view, view.lease_until
        if view.ended:
            self._close(carried, "ended")
            return
        for participant_id, pipe in list(carried.pipes.items()):
            if reason := carried.why_not(participant_id, pipe.epoch):
                pipe.end(reason)
        carried.show_marks()

    def _close(self, carried: Carried, reason: str) -> None:
        """Take the call off this worker; its pipes are closed and its room in the background."""
        if carried.closed_for:
            return
        carried.closed_for = reason
        self._calls.pop(carried.view.call_id, None)
        self.background.spawn(self._closing(carried, reason), CLOSING)

    async def _closing(self, carried: Carried, reason: str) -> None:
        pipes = list(carried.pipes.values())
        for pipe in pipes:
            pipe.end(reason)
        for pipe in pipes:
            await pipe.gone.wait()
        with self.background.faults():
            await carried.room.close(reason)

    def _watch_leases(self) -> None:
        """The database's thread may be stuck, so leases are watched here: what was not renewed in time is closed, unasked."""
        self._watch = asyncio.get_running_loop().call_later(WATCH_EVERY, self._watch_leases)  # first: one fault must not be the last turn
        forwarded = 0.0
        for carried in list(self._calls.values()):
            with self.background.faults("a call's turn was not finished"):
                forwarded += self._watch_call(carried)
        self.forwarded = forwarded

    def _watch_call(self, carried: Carried) -> float:
        """Close it when it may not go on, else give its pages a sign of life. Returns what it forwards, in packets a second."""
        now = clock.now()
        if carried.lease_until + PAUSED_FOR <= now:
            self.counters["lapsed"] += 1
            self._close(carried, "moved")
            return 0.0
        if not carried.pipes and carried.empty_since + EMPTY_FOR <= now:
            self._close(carried, "moved")
            self._ask(Release(carried.view.call_id, carried.view.fence))
            return 0.0
        for pipe in list(carried.pipes.values()):
            pipe.send(ALIVE)
        return carried.room.forwarded()

    # Connections

    def _noted(self, call_id: str) -> None:
        if call_id in self._calls:
            self._ask(Look(call_id))

    async def _serve_participant(self, claims: wire.Claims, connection: wire.Connection) -> None:
        try:
            carried = await self._carried(claims)
            while before := carried.pipes.get(claims.participant):
                before.end("replaced")
                await before.gone.wait()
            who = carried.admit(claims)  # the wait may have changed everything
        except Closed as closed:
            self.counters[closed.reason] += 1
            connection.send({"kind": "closed", "reason": closed.reason})
            return
        pipe = carried.pipes[claims.participant] = Pipe(connection, claims.epoch)
        self.counters["pipes"] += 1
        try:
            with pipe.until_ended(), self.background.faults():
                pipe.send(ALIVE)
                member = carried.room.admit(claims.participant, who.person_id, who.name, who.role, pipe.send)
                self._ask(Joined(claims.call, claims.fence, claims.participant, claims.epoch, datetime.now(UTC)))
                carried.show_marks()
                await conversation.heed(member, pipe, self.counters)
                pipe.reason = "left"
        finally:
            await self._gone(claims, carried, pipe)

    async def _gone(self, claims: wire.Claims, carried: Carried, pipe: Pipe) -> None:
        try:
            with self.background.faults():
                pipe.connection.send({"kind": "closed", "reason": pipe.reason})
                await carried.room.remove(claims.participant, pipe.reason)
        finally:
            del carried.pipes[claims.participant]
            carried.empty_since = clock.now()
            if pipe.reason != "replaced":
                self._ask(Left(claims.call, claims.fence, claims.participant, claims.epoch, datetime.now(UTC)))
            pipe.gone.set()

    async def _carried(self, claims: wire.Claims) -> Carried:
        """The call, once a view says that this participant is in it; the database is asked when the newest one does not. Raises Closed."""
        carried = self._calls.get(claims.call)
        with contextlib.suppress(Closed):
            if carried:
                carried.admit(claims)
                return carried
        if self._draining:
            raise Closed("moved")
        answer = await self._looked(Look(claims.call, claims.fence))
        if isinstance(answer, CallView) and answer.ended:
            raise Closed("ended")
        carried = self._calls.get(claims.call)
        if carried is None or isinstance(answer, Unconfirmed):
            raise Closed("moved" if isinstance(answer, Lost) else "worker-lost")
        carried.admit(claims)
        return carried

    async def _looked(self, look: Look) -> Answer | None:
        """The first answer that was read after now, or None when the database is silent."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(look.call_id, []).append((clock.now(), future))
        self._ask(look)
        try:
            return await asyncio.wait_for(future, LOOK_PATIENCE)
        except TimeoutError:
            return None
