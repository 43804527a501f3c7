"""The worker's side of both kinds of connection: a participant's pipe becomes a member of a room, a note becomes a look (D8).

What must never happen here: somebody is in a room whom the database did not let in; one connection's fault reaches another; a room
goes on after its lease has lapsed. The newest `CallView` decides who is in, and nothing that arrives by a connection is believed
beyond its token. The database is asked by another thread (`calls.control`): `Order` values go there, `Answer` values come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tenants.errors import Refused

from . import faults, wire
from .edge import Edge
from .orders import Admitted, Answer, CallView, Joined, Left, Look, Lost, Order, Outcome, Release, Unconfirmed
from .room import Member, Room

log = logging.getLogger(__name__)

FIRST_FRAME_PATIENCE = 5.0  # seconds a new connection has for its token
STRANGERS = 128  # connections without a token at one time
LOOK_PATIENCE = 4.0  # seconds a pipe waits for the database to say whether it may open
WATCH_EVERY = 0.5  # seconds between two looks at the leases
EMPTY_FOR = 60.0  # seconds an empty room keeps its lease
CLOSING = "closing a call"
BURST, PER_SECOND = 60, 20  # frames of one pipe: at once, and on the long run


class Closed(Exception):
    """This pipe is not opened, or is closed; `reason` is what the page is told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Pipe:
    """One participant's pipe while the participant is in the room. Its task is the one that makes it."""

    def __init__(self, connection: wire.Connection, epoch: int) -> None:
        self.connection = connection
        self.epoch = epoch
        self.reason = "worker-lost"  # what is told when nothing better is known: a fault of ours
        self.gone = asyncio.Event()
        self._ended = False
        self._task = asyncio.current_task()

    def send(self, message: dict[str, Any]) -> None:
        """Queue a frame for the page; a page that cannot be told, or does not take its frames, loses its pipe."""
        try:
            self.connection.send(message)
        except Refused:
            self.end("worker-lost")

    def end(self, reason: str) -> None:
        """Close from our side: the page is told why, and its participant leaves the room. Nothing happens to a pipe that is going."""
        if not self._ended and self._task is not None:
            self._ended, self.reason = True, reason
            self._task.cancel()

    @contextmanager
    def until_ended(self) -> Iterator[None]:
        """Ends quietly when `end` was called; any other cancellation passes through. From then on nobody interrupts."""
        try:
            yield
        except asyncio.CancelledError:
            if not self._ended or self._task is None:
                raise
            self._task.uncancel()
        finally:
            self._task = None


MarksOf = Callable[[CallView, Member], Mapping[str, str]]


def decided_marks(view: CallView, member: Member) -> Mapping[str, str]:
    """What the member agreed to, by the view alone."""
    return view.marks.get(member.person_id, {})


class Carried:
    """One call on this worker, under one fence."""

    def __init__(self, view: CallView, room: Room, marks_of: MarksOf) -> None:
        self.view = view
        self.room = room
        self._marks_of = marks_of
        self.pipes: dict[str, Pipe] = {}
        self.empty_since = time.monotonic()
        self.closed_for = ""

    def admit(self, claims: wire.Claims) -> Admitted:
        """Who this is, by the newest view. Raises Closed."""
        if self.closed_for or claims.fence != self.view.fence or claims.tenant != self.view.tenant_id:
            raise Closed(self.closed_for or "moved")
        if reason := self.why_not(claims.participant, claims.epoch):
            raise Closed(reason)
        return self.view.people[claims.participant]

    def why_not(self, participant_id: str, epoch: int) -> str:
        """Why this participant may not be in the room; empty when all is well."""
        if self.view.ended:
            return "ended"
        admitted = self.view.people.get(participant_id)
        if admitted is None:
            return "left" if participant_id in self.view.left else "removed"
        return "" if admitted.epoch == epoch else "signed-out"

    def show_marks(self) -> None:
        """Tell the room the marks of its members, by the newest view."""
        for member in list(self.room.members.values()):
            self.room.set_marks(member.participant, self._marks_of(self.view, member))


class Worker:
    """All calls of this process. `ask` hands an order to the database's thread; that thread's answers go to `tell`, on the loop.

    `follow`, where set, is told every answer in the same turn, after the rooms have followed it; `marks_of` says what is shown of a member.
    Counters: `pipes`, `notes`, `faults`, and one for each code or reason by which something was refused.
    """

    def __init__(self, edge: Edge, pipe_key: bytes, ask: Callable[[Order], None]) -> None:
        self.address = ""
        self.follow: Callable[[Answer], None] | None = None
        self.marks_of: MarksOf = decided_marks
        self.counters: Counter[str] = Counter()
        self._edge = edge
        self._key = pipe_key
        self._ask = ask
        self._calls: dict[str, Carried] = {}
        self._waiting: dict[str, list[tuple[float, asyncio.Future[Answer]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers = 0
        self._draining = False
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None

    async def listen(self, host: str, port: int = 0) -> str:
        """Open the control address and return it; `host` is also the name by which other processes reach it. Raises OSError."""
        self._server = await asyncio.start_server(self._connected, host, port)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{shown}:{self._server.sockets[0].getsockname()[1]}"
        self._watch = asyncio.create_task(self._watch_leases())
        return self.address

    def confirmed_at(self, call_id: str) -> float | None:
        """When the database last confirmed what is known of this call (time.monotonic); None for a call that is not carried here."""
        carried = self._calls.get(call_id)
        return carried.view.read_at if carried else None

    def room(self, call_id: str) -> Room | None:
        """The room of a call that is carried here."""
        carried = self._calls.get(call_id)
        return carried.room if carried else None

    async def drain(self) -> None:
        """Close every pipe with `moved` and every room; the pages find another worker."""
        self._draining = True
        if self._server:
            self._server.close()
        if self._watch:
            self._watch.cancel()
        for carried in list(self._calls.values()):
            self._close(carried, "moved")
        while closing := {task for task in self._tasks if task.get_name() == CLOSING}:
            await asyncio.wait(closing)
        others = set(self._tasks)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    # What the database says

    def tell(self, answer: Answer) -> None:
        """Take in what the database's thread found."""
        if not isinstance(answer, Outcome):
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

    def _apply(self, view: CallView, carried: Carried | None) -> None:
        if carried and carried.view.fence != view.fence:
            self._close(carried, "moved")
            carried = None
        if carried is None:
            if view.ended or self._draining:
                return
            carried = self._calls[view.call_id] = Carried(view, Room(view.call_id, self._edge), self.marks_of)
        carried.view = view
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
        self._spawn(self._closing(carried, reason), CLOSING)

    async def _closing(self, carried: Carried, reason: str) -> None:
        pipes = list(carried.pipes.values())
        for pipe in pipes:
            pipe.end(reason)
        for pipe in pipes:
            await pipe.gone.wait()
        with self._faults():
            await carried.room.close(reason)

    async def _watch_leases(self) -> None:
        """The database's thread may be stuck, so leases are watched here: what was not renewed in time is closed, unasked."""
        while True:
            await asyncio.sleep(WATCH_EVERY)
            now = time.monotonic()
            for carried in list(self._calls.values()):
                if carried.view.lease_until <= now:
                    self.counters["lapsed"] += 1
                    self._close(carried, "moved")
                elif not carried.pipes and carried.empty_since + EMPTY_FOR <= now:
                    self._close(carried, "moved")
                    self._ask(Release(carried.view.call_id, carried.view.fence))

    # Connections

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._draining or self._strangers >= STRANGERS:
            self.counters["turned away"] += 1
            writer.transport.abort()
            return
        self._spawn(self._serve(wire.Connection(reader, writer)), "connection")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: wire.Connection) -> None:
        try:
            with self._faults():
                claims = await self._introduced(connection)
                if claims.typ == wire.CONTROL:
                    await self._read_notes(connection)
                else:
                    await self._serve_participant(claims, connection)
        finally:
            connection.close()

    async def _introduced(self, connection: wire.Connection) -> wire.Claims:
        self._strangers += 1
        try:
            async with asyncio.timeout(FIRST_FRAME_PATIENCE):
                first = await connection.receive(wire.FIRST_FRAME_LIMIT)
        except TimeoutError:
            raise Refused("wire-no-token", 403) from None
        finally:
            self._strangers -= 1
        if first is None or set(first) != {"token"}:
            raise Refused("wire-no-token", 403)
        return wire.verify(self._key, first["token"], address=self.address, now=time.time())

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """One connection's fault ends here: counted, and logged without its words, which may be a person's."""
        try:
            yield
        except Refused as refused:
            self.counters[refused.code] += 1
            log.warning("connection closed: %s", refused.code)
        except Exception as error:
            self.counters["faults"] += 1
            faults.record(error, "connection closed")

    async def _read_notes(self, connection: wire.Connection) -> None:
        async for note in connection.messages():
            if set(note) != {"look_again"} or not _is_id(note["look_again"]):
                raise Refused("wire-unknown-note")
            self.counters["notes"] += 1
            if note["look_again"] in self._calls:
                self._ask(Look(note["look_again"]))

    # Participants

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
            with pipe.until_ended(), self._faults():
                member = carried.room.admit(claims.participant, who.person_id, who.name, who.role, pipe.send)
                self._ask(Joined(claims.call, claims.fence, claims.participant, claims.epoch, datetime.now(UTC)))
                carried.show_marks()
                await self._read_messages(member, pipe)
                pipe.reason = "left"
        finally:
            await self._gone(claims, carried, pipe)

    async def _gone(self, claims: wire.Claims, carried: Carried, pipe: Pipe) -> None:
        try:
            with self._faults():
                pipe.connection.send({"kind": "closed", "reason": pipe.reason})
                await carried.room.remove(claims.participant, pipe.reason)
        finally:
            del carried.pipes[claims.participant]
            carried.empty_since = time.monotonic()
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
        self._waiting.setdefault(look.call_id, []).append((time.monotonic(), future))
        self._ask(look)
        try:
            return await asyncio.wait_for(future, LOOK_PATIENCE)
        except TimeoutError:
            return None

    async def _read_messages(self, member: Member, pipe: Pipe) -> None:
        credit, before = float(BURST), time.monotonic()
        async for message in pipe.connection.messages():
            now = time.monotonic()
            credit, before = min(BURST, credit + (now - before) * PER_SECOND) - 1, now
            if credit < 0:  # whoever floods waits, and nobody else
                await asyncio.sleep(-credit / PER_SECOND)
            try:
                self._act(member, message)
            except Refused as refused:
                self.counters[refused.code] += 1
                pipe.send({"kind": "refused", "code": refused.code, **refused.facts})

    def _act(self, member: Member, message: dict[str, Any]) -> None:
        match message.get("kind"):
            case "publish":
                member.publish(message)
            case "subscribed":
                member.subscribed(message)
            case "restart":
                member.restart()
            case "mute":
                member.mute(message)
            case "show":
                member.show(message)
            case _:
                raise Refused("unknown-message")


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False
