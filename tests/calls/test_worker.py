"""The media worker's two kinds of connection, on real sockets with a real room; the test stands in for the database's thread."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from calls.media import clock, conversation, reception, wire
from calls.media.orders import Admitted, Joined, Left, Look, Lost, Unconfirmed
from tests.calls.houses import CALL, GAIL, GUS, HANA, PATIENCE, PEOPLE, House, closed, last_words, rest, until_kind


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


async def test_a_worker_gives_a_sign_of_life_first_and_again_and_again(house: House) -> None:
    gail = await house.joined(GAIL)
    async with asyncio.timeout(PATIENCE):
        first = await gail.receive()
        again = await anext(message async for message in gail.messages() if message["kind"] == wire.ALIVE)
    assert first == again == {"kind": wire.ALIVE}


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


async def test_a_fault_is_logged_by_its_kind_and_place_and_never_by_its_words(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), house.worker.background.faults():
        raise LookupError("Gail, +358 40 1234567")
    assert "LookupError at test_worker.py:" in caplog.text
    assert "Gail" not in caplog.text
    assert house.worker.counters["faults"] == 1
