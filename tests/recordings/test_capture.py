"""Capture from the publisher's packet to the sealed journal: a real edge, room, worker and database's thread on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from django.conf import settings
from django.db import connections
from django.utils import timezone

from calls import placement
from calls.control import Control
from calls.media.edge import Edge
from calls.media.orders import Answer, Look, Order, Unconfirmed
from calls.media.room import Room
from calls.media.worker import Worker
from calls.models import Worker as WorkerRow
from recordings import capture as recording
from recordings import services, storage
from recordings.journal import Reader
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.keys import service
from tenants.permissions import Actor
from tests.media.peers import PATIENCE, Peer
from tests.recordings.conftest import Sitting, made

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)


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

    def __init__(self, sitting: Sitting) -> None:
        self.sitting, self.peers, self.ahead = sitting, {}, 0.0
        self.orders: list[Order] = []
        self.deaf = False
        self.serial = 0

    async def open(self) -> Studio:
        self.loop = asyncio.get_running_loop()
        self.edge = await Edge.bind("127.0.0.1", 0)
        self.worker = Worker(self.edge, settings.CLEAC.pipe_key.get_secret_value().encode(), self.ask)
        address = await self.worker.listen("127.0.0.1")
        self.capture = recording.Capture(self.worker, self.ask, lambda: time.monotonic() + self.ahead)
        self.control = Control(address, self.answered, wish=recording.wish, handlers=recording.HANDLERS)
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
        if not self.deaf:
            self.loop.call_soon_threadsafe(self.worker.tell, answer)

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
            artefact, claim = Artefact.objects.get(epochs=epoch), services.claim(epoch=epoch)
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
        self.deaf = False
        self.capture.stop("moved")
        for peer in self.peers.values():
            await peer.close()
        await self.worker.drain()
        await asyncio.to_thread(self.control.stop, PATIENCE)
        await self.edge.close()


@pytest_asyncio.fixture
async def studio(transactional_db: None, cast: Any) -> AsyncIterator[Studio]:
    opened = await Studio(await aside(made, cast)).open()
    yield opened
    await opened.close()


GAIL, GUS = (("gail", "mic"), ("gail", "cam")), (("gus", "mic"), ("gus", "cam"))
VOICE_AND_CAMERA = ("record-voice", "record-camera")


async def publish(studio: Studio) -> None:
    for name in ("gail", "gus"):
        await studio.peers[name].publish("mic", "cam")


async def test_only_who_agreed_is_captured_and_exactly_what_was_sent(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", *VOICE_AND_CAMERA)
    await aside(studio.sitting.answer, "gus", *VOICE_AND_CAMERA, granted=False)
    await publish(studio)
    started = await aside(studio.sitting.start)
    await studio.until(lambda: all(studio.mark("gail", source) == "captured" for source in ("mic", "cam")), *GAIL, *GUS)
    assert [studio.mark("gus", source) for source in ("mic", "cam")] == ["declined", "declined"]
    opened = [order for order in studio.orders if isinstance(order, recording.OpenEpoch)]
    assert {(order.person_id, order.source) for order in opened} == {(str(studio.sitting.cast.gail.pk), source) for source in ("mic", "cam")}
    await aside(studio.stop_recording, started)
    epochs = await studio.closed(2)
    assert {(epoch.track.person_id, epoch.track.source) for epoch in epochs} == {(studio.sitting.cast.gail.pk, s) for s in ("mic", "cam")}
    for epoch in epochs:
        sent = list(studio.peers["gail"].sending[epoch.track.source].sent.values())
        kept = studio.packets(epoch)
        first = sent.index(kept[0])
        assert kept == sent[first : first + len(kept)]
        assert studio.stored(epoch).complete
    assert (len(epochs), {epoch.cut for epoch in epochs}) == (2, {"stopped"})
    states = [message["state"] for message in studio.peers["gus"].said("recording")]
    await studio.until(lambda: studio.peers["gus"].said("recording")[-1]["state"] == "off")
    assert states[:3] == ["off", "starting", "on"]


async def test_a_withdrawal_cuts_the_journal_and_leaves_the_call_alone_and_a_new_yes_has_a_new_key(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    await aside(studio.sitting.start)
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    await aside(studio.sitting.answer, "gail", "record-voice", granted=False)
    await studio.until(lambda: bool(studio.peers["gail"].said("applied")), *GAIL)
    after = studio.serial
    assert studio.peers["gail"].said("applied")[-1] == {"kind": "applied", "source": "mic", "mark": "declined"}
    heard = str(studio.sitting.who["gail"].pk), "mic"
    await studio.until(lambda: max(studio.peers["gus"].serials(*heard), default=0) > after, *GAIL)
    (first,) = await studio.closed(1, *GAIL)
    assert (first.cut, first.complete, studio.stored(first).end.reason) == ("withdrawn", True, "withdrawn")
    assert max(int.from_bytes(packet[-4:]) for packet in studio.packets(first)) <= after
    await aside(studio.sitting.answer, "gail", "record-voice")
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    second = studio.epochs()[-1]
    assert (second.number, second.decision != first.decision, bytes(second.entry_hash) != bytes(first.entry_hash)) == (2, True, True)
    with scope.entered(studio.sitting.cast.acme):
        assert len(set(Artefact.objects.values_list("sealed_key", flat=True))) == 2


async def test_without_confirmation_capture_ends_visibly_and_begins_anew_when_it_is_confirmed(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    await aside(studio.sitting.start)
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    studio.deaf = True
    confirmed = studio.worker.confirmed_at(studio.call_id)
    assert confirmed is not None
    studio.worker.tell(Unconfirmed(studio.call_id, confirmed, time.monotonic()))
    studio.ahead = 5.0
    await studio.until(lambda: studio.mark("gail", "mic") in ("stopping", "fault"), *GAIL)
    assert studio.peers["gus"].said("recording")[-1]["state"] == "fault"
    studio.deaf, studio.ahead = False, 0.0
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    first, second = studio.epochs()
    assert (first.cut, second.number) == ("unconfirmed", 2)
    assert studio.peers["gus"].said("recording")[-1]["state"] == "on"


async def test_who_goes_takes_the_capture_along(studio: Studio) -> None:
    await aside(studio.sitting.answer, "gail", "record-voice")
    await publish(studio)
    await aside(studio.sitting.start)
    await studio.until(lambda: studio.mark("gail", "mic") == "captured", *GAIL)
    await studio.room.remove(str(studio.sitting.who["gail"].pk), "left")
    (epoch,) = await studio.closed(1)
    assert (epoch.cut, epoch.complete) == ("left", True)
