"""How long the media worker may carry a call: its lease, its heartbeat, what another has taken, and how it gives calls back."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from calls.media import clock
from calls.media import worker as module
from calls.media.edge import Edge
from calls.media.orders import Left, Lost, Release, Renewed, Unconfirmed
from calls.media.worker import Worker
from tests.calls.houses import CALL, GAIL, GUS, HANA, KEY, PATIENCE, House, closed, last_words


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
