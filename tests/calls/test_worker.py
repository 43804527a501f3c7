"""The media worker's two kinds of connection, on real sockets with a real room; the test stands in for the database's thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from calls.media import clock, conversation, reception, wire
from calls.media import worker as module
from calls.media.edge import Edge
from calls.media.orders import Admitted, CallView, Joined, Left, Look, Lost, Order, Release, Renewed, Unconfirmed
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


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    opened = await House().open()
    yield opened
    await opened.close()


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


async def test_whom_the_database_lets_in_is_in_the_room_under_the_name_of_the_database(house: House) -> None:
    hana = await house.joined(HANA)
    await house.joined(GAIL)
    met = await until_kind(hana, "joined")
    assert (met["person"]["participant"], met["person"]["name"], met["person"]["role"]) == (GAIL, "Gail", "guest")
    assert house.present() == {HANA, GAIL}
    order = await house.until(Joined)
    assert isinstance(order, Joined)
    assert (order.call_id, order.fence, order.participant_id, order.epoch) == (CALL, 1, GAIL, 0)


async def test_a_pipe_is_refused_by_the_newest_view_and_not_before_it_was_read_again(house: House) -> None:
    await house.joined(HANA)
    assert await last_words(await house.pipe(GUS)) == closed("removed")
    assert house.view is not None
    house.view = replace(house.view, people=PEOPLE | {GUS: Admitted("gus", "Gus", "guest", 0)})  # let in, and no note came
    await house.joined(GUS)
    assert house.present() == {HANA, GUS}


@pytest.mark.parametrize(
    ("token", "view", "reason"),
    [
        ({"epoch": 1}, {}, "signed-out"),
        ({"fence": 2}, {}, "moved"),
        ({"tenant": str(UUID(int=9))}, {}, "moved"),
        ({}, {"ended": True}, "ended"),
        ({}, {"people": {}}, "removed"),
    ],
)
async def test_a_pipe_that_may_not_open_is_told_why(house: House, token: dict[str, Any], view: dict[str, Any], reason: str) -> None:
    assert house.view is not None
    house.view = replace(house.view, **view)
    assert await rest(await house.pipe(GAIL, **token)) == [closed(reason)]
    assert house.present() == set()


async def test_a_call_that_is_carried_elsewhere_sends_its_pipes_away(house: House) -> None:
    house.view = None
    pipe = await house.pipe(GAIL)
    await house.until(Look)
    house.worker.tell(Lost(CALL, clock.now()))
    assert await rest(pipe) == [closed("moved")]


async def test_while_the_database_is_silent_nobody_is_let_in(house: House) -> None:
    house.view = None
    pipe = await house.pipe(GAIL)
    await house.until(Look)
    house.worker.tell(Unconfirmed(CALL, 0.0, clock.now()))
    assert await rest(pipe) == [closed("worker-lost")]


async def test_an_answer_read_before_the_question_does_not_decide(house: House) -> None:
    view, house.view = house.view, None
    assert view is not None
    pipe = await house.pipe(GAIL)
    await house.until(Look)
    house.worker.tell(Lost(CALL, view.read_at))
    house.worker.tell(replace(view, read_at=clock.now()))
    await house.until(Joined)
    assert house.present() == {GAIL}
    pipe.close()


@pytest.mark.parametrize("first", [{"token": "a.b"}, {"token": 7}, {"token": "x", "more": 1}, {"kind": "publish"}, {}])
async def test_a_stranger_is_closed_without_a_word_and_disturbs_nobody(house: House, first: dict[str, Any]) -> None:
    await house.joined(HANA)
    reader, writer = await asyncio.open_connection(*wire.parse_address(house.address))
    writer.write(wire.pack(first))
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.close()
    assert house.present() == {HANA}


async def test_a_stranger_who_says_nothing_is_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "FIRST_FRAME_PATIENCE", 0.01)
    reader, writer = await asyncio.open_connection(*wire.parse_address(house.address))
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.close()
    assert house.worker.counters["wire-no-token"] == 1


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x01{", b"\x00\x00\x00\x0d" + b'{"a":1,"a":2}'])
async def test_a_bad_frame_closes_its_own_pipe_only(house: House, raw: bytes) -> None:
    hana, gail = await house.joined(HANA), await house.joined(GAIL)
    gail._writer.write(raw)
    assert await last_words(gail) == closed("worker-lost")
    assert (await until_kind(hana, "left"))["participant"] == GAIL
    assert house.present() == {HANA}


@pytest.mark.parametrize(
    "message", [{"kind": "dance"}, {"kind": 7}, {}, {"kind": "publish"}, {"kind": "mute", "source": [], "muted": 1}, {"kind": "show"}]
)
async def test_a_message_that_cannot_be_acted_on_is_refused_and_the_pipe_stays(house: House, message: dict[str, Any]) -> None:
    gail = await house.joined(GAIL)
    gail.send(message)
    assert (await until_kind(gail, "refused"))["code"] in ("unknown-message", "malformed", "sdp-malformed")
    gail.send({"kind": "mute", "source": "mic", "muted": True})
    assert (await until_kind(gail, "person"))["person"]["participant"] == GAIL


async def test_losing_the_pipe_removes_the_participant(house: House) -> None:
    hana, gail = await house.joined(HANA), await house.joined(GAIL)
    gail._writer.transport.abort()
    assert await until_kind(hana, "left") == {"kind": "left", "participant": GAIL, "reason": "left"}
    order = await house.until(Left)
    assert isinstance(order, Left)
    assert (order.participant_id, order.fence, order.epoch) == (GAIL, 1, 0)
    assert house.present() == {HANA}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"people": {HANA: PEOPLE[HANA]}}, "removed"),
        ({"people": {HANA: PEOPLE[HANA]}, "left": frozenset({GAIL})}, "left"),
        ({"people": PEOPLE | {GAIL: replace(PEOPLE[GAIL], epoch=1)}}, "signed-out"),
    ],
)
async def test_whom_a_new_view_lets_in_no_longer_is_out_and_the_others_stay(house: House, changed: dict[str, Any], reason: str) -> None:
    hana, gail = await house.joined(HANA), await house.joined(GAIL)
    house.read(**changed)
    assert await last_words(gail) == closed(reason)
    assert await until_kind(hana, "left") == {"kind": "left", "participant": GAIL, "reason": reason}
    await house.until(Left)
    assert house.present() == {HANA}


async def test_a_call_that_ends_ends_for_everybody(house: House) -> None:
    hana, gail = await house.joined(HANA), await house.joined(GAIL)
    house.read(ended=True)
    assert await last_words(hana) == closed("ended")
    assert await last_words(gail) == closed("ended")
    assert house.worker.room(CALL) is None


async def test_marks_of_a_new_view_reach_every_page(house: House) -> None:
    hana = await house.joined(HANA)
    await house.joined(GAIL)
    house.read(marks={"gail": {"mic": "agreed", "cam": "declined"}})
    seen = await until_kind(hana, "person")
    assert (seen["person"]["participant"], seen["person"]["marks"]) == (GAIL, {"mic": "agreed", "cam": "declined"})


async def test_a_second_pipe_of_one_participant_replaces_the_first(house: House) -> None:
    first = await house.joined(GAIL)
    second = await house.joined(GAIL)
    assert await last_words(first) == closed("replaced")
    assert house.present() == {GAIL}
    assert not [order for order in house.orders if isinstance(order, Left)]
    second.close()
    await house.until(Left)


async def test_a_lost_lease_closes_the_call(house: House) -> None:
    gail = await house.joined(GAIL)
    house.worker.tell(Lost(CALL, clock.now()))
    assert await last_words(gail) == closed("moved")
    assert house.worker.room(CALL) is None


async def test_a_lease_that_nobody_renews_closes_the_call_without_being_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSED_FOR", 0.0)
    gail = await house.joined(GAIL)
    house.read(lease_until=clock.now())
    assert await last_words(gail) == closed("moved")
    assert house.worker.counters["lapsed"] == 1


async def test_one_fault_in_a_turn_of_the_watch_is_not_its_last_turn(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else would close a call whose lease has lapsed."""
    gail = await house.joined(GAIL)
    turns: list[None] = []

    def forwarded() -> float:
        turns.append(None)
        raise ZeroDivisionError

    monkeypatch.setattr(house.worker.room(CALL), "forwarded", forwarded)
    async with asyncio.timeout(PATIENCE):
        while len(turns) < 2:
            await asyncio.sleep(0.05)
    monkeypatch.setattr(module, "PAUSED_FOR", 0.0)
    house.read(lease_until=clock.now())

    assert await last_words(gail) == closed("moved")
    assert house.worker.counters["faults"] >= 2


async def test_the_packet_path_may_act_until_the_leases_end_and_not_longer(house: House) -> None:
    await house.joined(GAIL)
    allowed, now = [], clock.now()
    house.edge.path.allow = lambda until_us: allowed.append(until_us) if until_us else None  # 0 shuts it
    house.worker.tell(Renewed({CALL: 1}, now, now + 3))
    assert len(allowed) == 1
    assert 0 < allowed[0] <= int((now + 3) * 1_000_000)
    assert house.present() == {GAIL}


async def test_until_the_first_heartbeat_the_packet_path_may_not_act(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = await Edge.bind("127.0.0.1", 0)
    worker, allowed = Worker(edge, KEY, lambda order: None), []
    monkeypatch.setattr(edge.path, "allow", allowed.append)
    await worker.listen("127.0.0.1")
    assert allowed == [0]
    await worker.drain()
    await edge.close()


async def test_what_somebody_else_has_taken_is_off_every_track_before_the_fence_is_lifted(house: House) -> None:
    """A process that stood still hears at its first heartbeat what it has lost: in that turn, before a packet may pass."""
    gail = await house.joined(GAIL)
    room, allowed = house.worker.room(CALL), []
    house.edge.path.allow = lambda until_us: allowed.append(list(room.members)) if until_us else None
    now = clock.now()

    house.worker.tell(Renewed({CALL: 2}, now, now + 3))

    assert allowed == [[]]
    assert await last_words(gail) == closed("moved")


async def test_a_heartbeat_from_before_the_call_was_placed_here_takes_nothing_away(house: House) -> None:
    before = clock.now()
    await house.joined(GAIL)
    house.worker.tell(Renewed({}, before, before + 3))
    assert house.present() == {GAIL}


async def test_a_reading_under_a_holding_from_before_the_heartbeat_saves_no_call_that_was_lost(house: House) -> None:
    """The call is read again after the process stood still, but whose it is was asked before."""
    gail = await house.joined(GAIL)
    asked = clock.now()
    house.read(held_as_of=asked - 4)

    house.worker.tell(Renewed({}, asked, asked + 3))

    assert house.present() == set()
    assert await last_words(gail) == closed("moved")


async def test_a_worker_gives_a_sign_of_life_first_and_again_and_again(house: House) -> None:
    gail = await house.joined(GAIL)
    async with asyncio.timeout(PATIENCE):
        first = await gail.receive()
        again = await anext(message async for message in gail.messages() if message["kind"] == wire.ALIVE)
    assert first == again == {"kind": wire.ALIVE}


async def test_a_call_that_was_taken_again_starts_in_a_new_room(house: House) -> None:
    gail = await house.joined(GAIL)
    before = house.worker.room(CALL)
    house.read(fence=2)
    assert await last_words(gail) == closed("moved")
    await house.joined(GAIL, fence=2)
    assert house.worker.room(CALL) is not before


async def test_an_empty_room_is_given_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EMPTY_FOR", 0.0)
    house.read()
    assert await house.until(Release) == Release(CALL, 1)
    assert house.worker.room(CALL) is None


async def test_a_note_makes_the_worker_look_at_a_call_that_it_carries_and_at_no_other(house: House) -> None:
    await house.joined(HANA)
    house.orders.clear()
    notes = await house.control()
    notes.send({"look_again": str(UUID(int=99))})
    notes.send({"look_again": CALL})
    assert await house.until(Look) == Look(CALL)
    assert len(house.orders) == 1


@pytest.mark.parametrize("note", [{"look_again": 7}, {"look_again": "x"}, {"remove": GAIL}, {"look_again": CALL, "remove": GAIL}])
async def test_a_note_that_says_anything_else_closes_its_connection(house: House, note: dict[str, Any]) -> None:
    await house.joined(GAIL)
    notes = await house.control()
    notes.send(note)
    assert await rest(notes) == []
    assert house.present() == {GAIL}


async def test_a_page_that_takes_nothing_is_cut_off_and_the_others_go_on(house: House) -> None:
    hana, gail = await house.joined(HANA), await house.joined(GAIL)
    gail._writer.transport.pause_reading()
    member = house.worker.room(CALL).members[GAIL]
    async with asyncio.timeout(PATIENCE):
        while GAIL in house.present():
            member.send({"kind": "offer", "sdp": "x" * 200_000})
            await asyncio.sleep(0)
    assert (await until_kind(hana, "left"))["participant"] == GAIL


async def test_a_frame_too_large_to_send_costs_the_listener_its_own_pipe(house: House) -> None:
    await house.joined(HANA)
    gail = await house.joined(GAIL)
    house.worker.room(CALL).members[GAIL].send({"kind": "offer", "sdp": "x" * wire.FRAME_LIMIT})
    assert await last_words(gail) == closed("worker-lost")
    assert house.present() == {HANA}


async def test_a_flood_of_messages_is_answered_in_the_end_and_holds_up_nobody(house: House) -> None:
    gail, hana = await house.joined(GAIL), await house.joined(HANA)
    for number in range(conversation.BURST + 3):
        gail.send({"kind": f"flood-{number}"})
    hana.send({"kind": "mute", "source": "cam", "muted": True})
    await until_kind(hana, "person")
    for _ in range(conversation.BURST + 3):
        await until_kind(gail, "refused")


async def test_draining_tells_every_page_to_move_and_turns_newcomers_away(house: House) -> None:
    hana, gail = await house.joined(HANA), await house.joined(GAIL)
    await house.worker.drain()
    assert await last_words(hana) == closed("moved")
    assert await last_words(gail) == closed("moved")
    assert len([order for order in house.orders if isinstance(order, Left)]) == 2
    with pytest.raises(Exception, match="no-media-worker"):
        await house.pipe(GUS)


async def test_when_a_call_was_last_confirmed_is_known_to_who_must_fail_closed(house: House) -> None:
    await house.joined(GAIL)
    before = house.worker.confirmed_at(CALL)
    house.worker.tell(Unconfirmed(CALL, before or 0.0, clock.now()))
    assert house.worker.confirmed_at(CALL) == before
    house.read()
    assert (house.worker.confirmed_at(CALL) or 0.0) > (before or 0.0)
    assert house.worker.confirmed_at(str(UUID(int=99))) is None


async def test_a_fault_is_logged_by_its_kind_and_place_and_never_by_its_words(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), house.worker.background.faults():
        raise LookupError("Gail, +358 40 1234567")
    assert "LookupError at test_worker.py:" in caplog.text
    assert "Gail" not in caplog.text
    assert house.worker.counters["faults"] == 1
