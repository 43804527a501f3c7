"""What both sockets share: who may open one, what is read from it, and how it is closed when its right to be open ends.

What must never happen here: a socket outlives the right it was opened with. Each message is authorised anew; besides, every
socket looks at the database when it is told to (`look_again`, sent after the commit of whatever changed) and every two seconds
when it is not. A socket that cannot look because of a fault of ours is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections
from django.http import parse_cookie
from redis.exceptions import RedisError

from tenants.errors import Refused
from tenants.identity import cookies_of

from .. import protocol, queries
from ..protocol import reading
from .seat import Gone, Seat, taken

LOOK_EVERY = 2.0  # seconds between two looks without a note
BURST, WITHIN = 100, 10.0  # messages that a page may send within so many seconds
NORMAL, MALFORMED, BAD_TICKET, TOO_MANY = 1000, 4400, 4401, 4429  # close codes (RFC 6455 section 7.4; ours from 4000 on)

T = TypeVar("T")
logger = logging.getLogger(__name__)
# Threads of our own: a lock that one socket waits for must not hold up the pages, nor all other sockets.
threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="signalling")


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run what touches the database in a thread of the signalling pool."""
    done: T = await sync_to_async(_on_kept_connections, thread_sensitive=False, executor=threads)(work, *arguments)
    return done


def _on_kept_connections(work: Callable[..., T], *arguments: Any) -> T:
    """A file has no server that could have gone away, so SQLite's connections stay: the threads are few, and opening costs as much as a look."""
    for used in connections.all(initialized_only=True):
        if used.vendor != "sqlite":
            used.close_if_unusable_or_obsolete()
    return work(*arguments)


class NoSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # reason: channels ships no types
    """Answers every other address: refused in the handshake."""

    async def connect(self) -> None:
        await self.close()


class Socket(AsyncWebsocketConsumer):  # type: ignore[misc]  # reason: channels ships no types
    """One socket of a page. Subclasses name `kind` and `sent`, act in `started`, `looked` and one `on_<kind>` for each message."""

    kind: ClassVar[str]
    sent: ClassVar[protocol.Table]

    seat: Seat | None = None  # none before the ticket was good
    over = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tasks: list[asyncio.Task[None]] = []
        self._looking = asyncio.Lock()
        self._arrivals: deque[float] = deque(maxlen=BURST)
        self._let_go = False

    async def started(self) -> None:
        """The ticket was good. Raises Gone and Refused."""
        raise NotImplementedError

    async def looked(self) -> None:
        """Read what has changed and tell the page. Raises Gone."""
        raise NotImplementedError

    async def stopped(self, seat: Seat) -> None:
        """The socket is closed, by whichever side; called once, for the seat it had."""

    # Opening

    async def connect(self) -> None:
        """Refused in the handshake: another origin, not our protocol, or a word too much. Closed with 4401: a ticket that lets nobody in."""
        headers = dict(self.scope["headers"])
        offered = self.scope["subprotocols"]
        too_much = bool(self.scope["query_string"]) or not speaks(offered)
        if headers.get(b"origin", b"").decode("latin1") != origin() or too_much:
            self.over = True
            await self.close()
            return
        await self.accept(protocol.VERSION)
        ticket = next((text.removeprefix(protocol.TICKET) for text in offered if text.startswith(protocol.TICKET)), "")
        cookies = cookies_of(parse_cookie(headers.get(b"cookie", b"").decode("latin1")))
        try:
            self.seat = await in_thread(taken, ticket, self.kind, cookies)
            await self._open(self.seat)
        except Gone as gone:
            await self.end(gone.reason)
        except Refused as refused:
            await self.cut(BAD_TICKET if refused.code == "ticket" else NORMAL, refused)
        except DatabaseError as error:
            logger.warning("no socket was opened: %s", type(error).__name__)
            await self.end("worker-lost")

    async def _open(self, seat: Seat) -> None:
        group = queries.participant_group(seat.participant_id)
        with contextlib.suppress(RedisError, OSError):  # a page whose replacement it is not told of is closed by the worker, or does no harm
            await self.channel_layer.group_send(group, {"type": "replaced", "kind": self.kind, "by": self.channel_name})
        await self.channel_layer.group_add(group, self.channel_name)  # see `layer`: also while Redis is away
        await self.started()  # reads everything anew, so nothing that happened before the group was joined is missed
        if not self.over:
            self.watch(self._keep_looking, "keeps looking")

    # From the page

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.over or self.seat is None:
            return
        now = time.monotonic()
        if len(self._arrivals) == BURST and now - self._arrivals[0] < WITHIN:
            await self.cut(TOO_MANY, Refused("too-many-messages", 429))
            return
        self._arrivals.append(now)
        try:
            message = reading.parse(text_data, self.sent)
            await getattr(self, f"on_{message.kind}")(message)
        except reading.Malformed as malformed:
            logger.warning("%s socket closed: %s", self.kind, malformed.code)
            await self.cut(MALFORMED, malformed)
        except Gone as gone:
            await self.end(gone.reason)
        except Refused as refused:
            await self.refuse(refused)
        except DatabaseError as error:
            logger.warning("a message was not carried out: %s", type(error).__name__)
            await self.refuse(Refused("try-again", 503))

    # From elsewhere

    async def look_again(self, event: dict[str, Any]) -> None:
        """Something may have changed."""
        await self.look()

    async def replaced(self, event: dict[str, Any]) -> None:
        """The same participant opens another socket of the same kind."""
        if event["kind"] == self.kind and event["by"] != self.channel_name:
            await self.end("replaced")

    async def look(self) -> None:
        """Close if the right to be here has ended, else tell the page what is new."""
        async with self._looking:
            if self.over:
                return
            try:
                await self.looked()
            except Gone as gone:
                await self.end(gone.reason)
            except DatabaseError as error:
                logger.warning("a socket could not look: %s", type(error).__name__)

    async def _keep_looking(self) -> None:
        while not self.over:
            await asyncio.sleep(LOOK_EVERY)
            await self.look()

    def watch(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Run `work` beside the socket, unless that closes first. If it fails, the socket is closed: unwatched it must not stay open."""
        self._tasks.append(asyncio.create_task(self._watched(work), name=name))

    async def _watched(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception:
            logger.exception("%s socket closed by a fault", self.kind)
            await self.end("worker-lost")

    # To the page

    async def tell(self, message: protocol.Message) -> None:
        await self.pass_on(protocol.written(message))

    async def pass_on(self, content: dict[str, Any]) -> None:
        """Send an object that is a message already."""
        if not self.over:
            await self.send(text_data=json.dumps(content, separators=(",", ":")))

    async def refuse(self, refused: Refused) -> None:
        """Say no; the socket stays open."""
        await self.pass_on({"kind": "refused", "code": refused.code, **refused.facts})

    async def cut(self, code: int, refused: Refused) -> None:
        """Say no and close."""
        await self.refuse(refused)
        await self._close(code)

    async def end(self, reason: str) -> None:
        """Tell the page why, and close. May be called twice."""
        await self.tell(protocol.Closed(reason))
        await self._close(NORMAL)

    async def _close(self, code: int) -> None:
        if not self.over:
            self.over = True
            await self.close(code)
            await self._stop()  # a page that does not answer the closing must not hold on to anything

    async def disconnect(self, code: int) -> None:
        self.over = True
        await self._stop()

    async def _stop(self) -> None:
        """Let go of everything. Does nothing the second time."""
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._tasks.clear()
        if self.seat is not None and not self._let_go:
            self._let_go = True
            await self.stopped(self.seat)
            with contextlib.suppress(RedisError, OSError):  # a channel that is gone is told nothing, whatever the group still holds
                await self.channel_layer.group_discard(queries.participant_group(self.seat.participant_id), self.channel_name)


def speaks(offered: list[str]) -> bool:
    """Our protocol, at most one ticket, and nothing else: what a page says of itself beside its ticket is refused, not passed over."""
    tickets = [text for text in offered if text.startswith(protocol.TICKET)]
    return len(tickets) < 2 and sorted(offered) == sorted([protocol.VERSION, *tickets])


def origin() -> str:
    """The one origin whose pages may open sockets (RFC 6454)."""
    return f"{settings.PUBLIC.scheme}://{settings.PUBLIC.netloc}"
