"""The worker of one call, put together of its real parts: edge, room, capture and the database's thread, with a peer for each guest.

What a test may do to it is what happens to a worker: answers of the database come late or not at all, and the thread hangs.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, BinaryIO

from django.conf import settings
from django.db import connections
from django.utils import timezone

from calls import placement
from calls.control import Control, Handlers, Stays
from calls.media import clock
from calls.media.edge import Edge
from calls.media.orders import Answer, CallView, Errand, Look, Order, Outcome
from calls.media.room import Room
from calls.media.worker import Worker
from calls.models import Worker as WorkerRow
from recordings import capture as recording
from recordings import journal, queries, services, storage
from recordings.journal import Reader
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.keys import service
from tenants.permissions import Actor
from tests.media.peers import PATIENCE, Peer
from tests.recordings.sittings import Sitting

GAIL, GUS = (("gail", "mic"), ("gail", "cam")), (("gus", "mic"), ("gus", "cam"))
MIC = ("gail", "mic")
VOICE_AND_CAMERA = ("record-voice", "record-camera")


@dataclass(frozen=True)
class Hang(Errand):
    """Until `over` is set the database's thread does nothing, as when the database hangs."""

    over: threading.Event


def hang(order: Hang, stays: Stays | None) -> Outcome:
    order.over.wait(PATIENCE)
    return Outcome(order.call_id, order)


async def aside(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do in a thread of its own what a web process does: some of it may not run beside a loop."""

    def run() -> Any:
        try:
            return work(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


class Door:
    """A room that lets a peer in under the person whom the database knows."""

    def __init__(self, room: Room, person_id: str) -> None:
        self._room, self._person_id = room, person_id

    def admit(self, participant: str, _person: str, name: str, role: str, send: Any) -> Any:
        return self._room.admit(participant, self._person_id, name, role, send)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._room, name)


class Studio:
    """The worker of one sitting, with a peer for each guest."""

    def __init__(self, sitting: Sitting, form: str = "python") -> None:
        self.sitting, self.form, self.peers, self.ahead = sitting, form, {}, 0.0
        self.orders: list[Order] = []
        self.answers: list[Answer] = []
        self.handlers: Handlers = {}
        self.deaf = False
        self.withheld: type[Answer] | None = None
        self.waiting: list[Answer] = []
        self.serial = 0

    async def open(self) -> Studio:
        self.loop = asyncio.get_running_loop()
        self.edge = await Edge.bind("127.0.0.1", 0, form=self.form)
        self.worker = Worker(self.edge, settings.CLEAC.pipe_key.get_secret_value().encode(), self.ask)
        address = await self.worker.listen("127.0.0.1")
        self.capture = recording.Capture(self.worker, self.ask, lambda: clock.now() + self.ahead)
        self.control = Control(address, self.answered, wish=recording.wish, handlers={**recording.HANDLERS, Hang: hang, **self.handlers})
        self.control.start()
        await self.until(lambda: bool(self.control.worker_id and WorkerRow.objects.filter(pk=self.control.worker_id).exists()))
        placement.worker_for(self.sitting.call.pk, self.sitting.cast.acme)
        self.ask(Look(self.call_id, 1))
        await self.until(lambda: self.worker.room(self.call_id) is not None)
        self.capture.start()
        for name in ("gail", "gus"):
            participant = self.sitting.who[name]
            door: Any = Door(self.room, str(participant.person_id))
            self.peers[name] = Peer(door, str(participant.pk))
        return self

    @property
    def call_id(self) -> str:
        return str(self.sitting.call.pk)

    @property
    def room(self) -> Room:
        room = self.worker.room(self.call_id)
        assert room is not None
        return room

    def ask(self, order: Order) -> None:
        self.orders.append(order)
        self.control.ask(order)

    def answered(self, answer: Answer) -> None:
        if self.withheld is not None and isinstance(answer, self.withheld):
            self.waiting.append(answer)
        elif not self.deaf:
            self.loop.call_soon_threadsafe(self.tell, answer)

    def tell(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.worker.tell(answer)

    def pass_time(self, seconds: float) -> None:
        """So much passes for capture, a second at a time, in each of which it has its turn."""
        for _ in range(round(seconds)):
            self.ahead += 1.0
            self.capture.tick()

    def hang(self) -> threading.Event:
        """The database's thread hangs from now on, until the event is set."""
        over = threading.Event()
        self.ask(Hang(self.call_id, 1, over))
        return over

    async def sending(self, work: Coroutine[Any, Any, Any], *sources: tuple[str, str]) -> Any:
        """Do something while these sources send."""
        task = asyncio.ensure_future(work)
        await self.until(task.done, *sources)
        return task.result()

    def asked(self, kind: type[Order]) -> list[Any]:
        return [order for order in self.orders if isinstance(order, kind)]

    def told(self, kind: type[Answer]) -> list[Any]:
        return [answer for answer in self.answers if isinstance(answer, kind)]

    def started(self) -> float:
        """The recording's time 0 as capture took it: by the view that counted when the first epoch was opened."""
        opened = next(number for number, answer in enumerate(self.answers) if isinstance(answer, recording.EpochOpened))
        view = [answer for answer in self.answers[:opened] if isinstance(answer, CallView)][-1]
        assert isinstance(view.wish, recording.Wish)
        return view.read_at - view.wish.age

    def serials(self, epoch: Epoch) -> list[int]:
        """The numbers that the stored packets carry."""
        return [int.from_bytes(packet[-4:]) for packet in self.packets(epoch)]

    def last_view(self) -> CallView:
        view: CallView = self.told(CallView)[-1]
        return view

    def answering_within(self, seconds: float) -> bool:
        """Was the newest view read less than so long ago?"""
        return self.edge.clock() - self.last_view().read_at < seconds

    async def capturing(self, name: str, source: str) -> Recording:
        """This source is agreed to, published, recorded, and its mark is on."""
        await aside(self.sitting.answer, name, "record-voice" if source == "mic" else "record-camera")
        await publish(self)
        found: Recording = await aside(self.sitting.start)
        await self.until(lambda: self.mark(name, source) == "captured", (name, source))
        return found

    async def until(self, true: Callable[[], bool], *sources: tuple[str, str]) -> None:
        """Until it holds; meanwhile these (name, source) send numbered packets at a picture's pace."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                for name, source in sources:
                    self.serial += 1
                    self.peers[name].send(source, self.serial)
                await asyncio.sleep(0.02)

    def mark(self, name: str, source: str) -> str:
        member = self.room.members[str(self.sitting.who[name].pk)]
        return member.marks.get(source, "")

    def epochs(self) -> list[Epoch]:
        with scope.entered(self.sitting.cast.acme):
            return list(Epoch.objects.select_related("track").order_by("opened_at"))

    def stored(self, epoch: Epoch) -> Reader:
        """The epoch's journal, opened by the key that the key store gives back for its claim."""
        with scope.entered(self.sitting.cast.acme):
            artefact, claim = Artefact.objects.get(epochs=epoch), queries.claim(epoch=epoch)
            key = service.unseal(sealed_key_id=artefact.sealed_key, tenant_id=epoch.tenant_id, context=claim.digest())
        return Reader(storage.store().open(artefact.object_name), key, claim)

    def packets(self, epoch: Epoch) -> list[bytes]:
        return [item.data for item in self.stored(epoch).items() if item.kind == b"P"]

    async def closed(self, count: int, *sources: tuple[str, str]) -> list[Epoch]:
        await self.until(lambda: sum(epoch.closed_at is not None for epoch in self.epochs()) >= count, *sources)
        return [epoch for epoch in self.epochs() if epoch.closed_at is not None]

    def stop_recording(self, found: Recording) -> None:
        with scope.entered(self.sitting.cast.acme):
            services.stop(recording=found, by=Actor.person(self.sitting.cast.hana), at=timezone.now())

    async def close(self) -> None:
        self.deaf, self.withheld = False, None
        self.capture.stop("moved")
        for peer in self.peers.values():
            await peer.close()
        await self.worker.drain()
        await asyncio.to_thread(self.control.stop, PATIENCE)
        await self.edge.close()


async def publish(studio: Studio) -> None:
    for name in ("gail", "gus"):
        await studio.peers[name].publish("mic", "cam")


class FaultyFile(io.FileIO):
    """A journal on a real disk that takes no more bytes, or cannot be cut back."""

    full = stuck = False

    def write(self, data: Any) -> int:
        if FaultyFile.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        if FaultyFile.stuck:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().truncate(size)


class FaultyStore(storage.FileStore):
    """The real store; what it creates is a `FaultyFile`."""

    def create(self, name: str) -> BinaryIO:
        super().create(name).close()
        return FaultyFile(self._journal(name), "r+b")  # type: ignore[return-value]  # reason: unbuffered files are not typed as BinaryIO


def heads(studio: Studio, epoch: Epoch) -> list[journal.RecordHead]:
    """The DATA records that the epoch's file holds."""
    with scope.entered(studio.sitting.cast.acme), storage.store().open(Artefact.objects.get(epochs=epoch).object_name) as file:
        return [head for head in journal.heads(file).records if head.type == journal.DATA]


def the_epoch(studio: Studio) -> Epoch:
    (epoch,) = studio.epochs()
    return epoch


def recording_row(studio: Studio) -> Recording:
    with scope.entered(studio.sitting.cast.acme):
        found: Recording = Recording.objects.get()
        return found


async def confirmed_capturing(studio: Studio) -> None:
    """Gail's voice is recorded, and at least one record ended before the database was last read."""
    await studio.capturing(*MIC)
    stored = studio.edge.clock()
    await studio.until(lambda: studio.last_view().read_at > stored, MIC)


async def hung(studio: Studio) -> threading.Event:
    """The database's thread hangs, and a view has just been read: for a second and more nothing will be learnt."""
    seen = len(studio.told(CallView))
    await studio.until(lambda: len(studio.told(CallView)) > seen, MIC)
    return studio.hang()


async def withdraw_unnoticed(studio: Studio) -> int:
    """Gail says no while the thread hangs; returns the number of the last packet sent before her no was committed."""
    await studio.sending(aside(studio.sitting.answer, "gail", "record-voice", granted=False), MIC)
    return studio.serial


async def recorded_after(studio: Studio, last: int) -> int:
    """Until more than a second of packets behind packet `last` lies in the file; returns how many records that makes."""
    before = len(heads(studio, the_epoch(studio)))
    await studio.until(lambda: len(heads(studio, the_epoch(studio))) >= before + 2, MIC)
    assert studio.serial > last
    return len(heads(studio, the_epoch(studio)))


def decided_us(studio: Studio) -> int:
    """When the no was decided, in microseconds of the recording, by the view that brought it."""
    person = str(studio.sitting.cast.gail.pk)
    views = [view for view in studio.told(CallView) if isinstance(view.wish, recording.Wish) and person in view.wish.refused]
    return round((views[0].read_at - views[0].wish.refused[person]["mic"] - studio.started()) * 1_000_000)


async def leave(studio: Studio) -> None:
    await studio.room.remove(str(studio.sitting.who["gail"].pk), "left")
