"""Which worker carries which call: one answer for everybody, leases that lapse, fences that only grow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models import F

from calls import placement
from calls.models import Placement, Worker
from tenants.errors import Refused
from tenants.models import Tenant


@pytest.fixture
def acme(db: None) -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def racing_acme(transactional_db: None) -> Tenant:
    """Acme with rows that other threads see."""
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def workers(db: None) -> list[UUID]:
    return [placement.register(f"127.0.0.1:{port}") for port in (4001, 4002)]


def address_of(worker_id: UUID) -> str:
    return Worker.objects.get(pk=worker_id).control_address


def pass_time(call_id: UUID, seconds: float) -> None:
    """As if the lease had been taken so many seconds earlier."""
    Placement.objects.filter(pk=call_id).update(lease_until=F("lease_until") - timedelta(seconds=seconds))


def fall_silent(worker_id: UUID, seconds: float = 7) -> None:
    Worker.objects.filter(pk=worker_id).update(seen_at=F("seen_at") - timedelta(seconds=seconds))


def holder(place: placement.Place) -> UUID:
    return Worker.objects.get(control_address=place.address).pk


def test_a_call_stays_where_it_was_placed(acme: Tenant, workers: list[UUID]) -> None:
    call_id = uuid4()
    first = placement.worker_for(call_id, acme)
    assert first.fence == 1
    assert [placement.worker_for(call_id, acme) for _ in range(3)] == [first] * 3
    assert placement.where(call_id) == first.address


def test_calls_go_to_the_worker_that_carries_fewest(acme: Tenant, workers: list[UUID]) -> None:
    places = [placement.worker_for(uuid4(), acme).address for _ in range(6)]
    assert sorted(places.count(address_of(worker)) for worker in workers) == [3, 3]


def test_without_a_living_worker_the_refusal_has_a_name(acme: Tenant, workers: list[UUID]) -> None:
    fall_silent(workers[0])
    placement.beat(workers[1], address_of(workers[1]), draining=True)
    with pytest.raises(Refused) as refused:
        placement.worker_for(uuid4(), acme)
    assert (refused.value.code, refused.value.status) == ("no-media-worker", 503)


def test_a_worker_that_falls_silent_or_drains_gets_no_new_call(acme: Tenant, workers: list[UUID]) -> None:
    fall_silent(workers[0])
    assert {placement.worker_for(uuid4(), acme).address for _ in range(4)} == {address_of(workers[1])}


def test_a_lapsed_lease_moves_the_call_to_a_living_worker_with_a_higher_fence(acme: Tenant, workers: list[UUID]) -> None:
    call_id = uuid4()
    first = placement.worker_for(call_id, acme)
    dead = holder(first)
    fall_silent(dead)
    assert placement.worker_for(call_id, acme) == first  # its lease is in force: nobody may know that it is dead
    pass_time(call_id, 11)

    second = placement.worker_for(call_id, acme)

    assert second.fence == first.fence + 1
    assert second.address != first.address
    assert placement.renew(dead, [call_id]) == frozenset()
    assert placement.held(dead) == []
    assert [(held.call_id, held.tenant, held.fence) for held in placement.held(holder(second))] == [(call_id, acme, 2)]


def test_a_worker_renews_what_nobody_has_taken_from_it(acme: Tenant, workers: list[UUID]) -> None:
    """A lease that lapsed while the database was away goes on under its fence; one that somebody took meanwhile does not."""
    kept, lapsed, taken, foreign = uuid4(), uuid4(), uuid4(), uuid4()
    fall_silent(workers[1])
    for call_id in (kept, lapsed, taken):
        placement.worker_for(call_id, acme)
    for call_id in (lapsed, taken):
        pass_time(call_id, 4)
    placement.beat(workers[1], address_of(workers[1]))
    fall_silent(workers[0])
    assert placement.worker_for(taken, acme).address == address_of(workers[1])

    assert placement.renew(workers[0], [kept, lapsed, taken, foreign]) == {kept, lapsed}

    assert {held.call_id: held.fence for held in placement.held(workers[0])} == {kept: 1, lapsed: 1}
    assert placement.where(lapsed) == address_of(workers[0])
    assert placement.where(taken) == address_of(workers[1])
    assert (placement.is_held(workers[0], lapsed, 1), placement.is_held(workers[0], taken, 1)) == (True, False)


def say(worker_id: UUID, *, forwarded: float = 0.0, core_share: float = 0.0, capacity: int = 10_000) -> None:
    """A heartbeat with this load."""
    placement.beat(worker_id, address_of(worker_id), placement.Load(forwarded, core_share, capacity))


def test_a_call_goes_where_the_least_load_is_predicted(acme: Tenant, workers: list[UUID]) -> None:
    """What was placed a moment ago is not in a worker's own figures yet, so a first guess stands for it."""
    busy, idle = workers
    say(busy, forwarded=2 * placement.FIRST_GUESS + 1)
    say(idle)

    places = [placement.worker_for(uuid4(), acme).address for _ in range(4)]

    assert places == [address_of(idle)] * 3 + [address_of(busy)]


@pytest.mark.parametrize("load", [{"core_share": 0.61}, {"forwarded": 10_000.0}])
def test_when_all_have_enough_to_do_a_new_call_is_refused_by_name_and_a_running_one_is_not(
    acme: Tenant, workers: list[UUID], load: dict[str, float]
) -> None:
    running = uuid4()
    placement.worker_for(running, acme)
    placement.release(holder(placement.worker_for(running, acme)), [running])
    for worker in workers:
        say(worker, **load)

    with pytest.raises(Refused) as refused:
        placement.worker_for(uuid4(), acme)

    assert (refused.value.code, refused.value.status) == ("busy", 503)
    assert placement.worker_for(running, acme).fence == 2


def test_whoever_was_told_to_drain_gets_no_new_call_and_knows_its_deadline(acme: Tenant, workers: list[UUID]) -> None:
    placement.drain(workers[0], timedelta(seconds=30))
    placement.beat(workers[0], address_of(workers[0]))

    assert {placement.worker_for(uuid4(), acme).address for _ in range(3)} == {address_of(workers[1])}
    assert 0.0 < (placement.drain_in(workers[0]) or 0.0) <= 30.0
    assert placement.drain_in(workers[1]) is None


def test_an_operator_sees_every_worker_with_its_load(acme: Tenant, workers: list[UUID]) -> None:
    say(workers[0], forwarded=12.0, core_share=0.1)
    placement.worker_for(uuid4(), acme)
    fall_silent(workers[0])

    first, second = placement.workers()

    assert (first.id, first.calls, first.lives) == (workers[1], 1, True)
    assert (second.id, second.load, second.lives) == (workers[0], placement.Load(12.0, 0.1, 10_000), False)


def test_a_call_given_back_is_placed_at_once_with_a_higher_fence(acme: Tenant, workers: list[UUID]) -> None:
    call_id = uuid4()
    first = placement.worker_for(call_id, acme)
    placement.release(holder(first), [call_id])
    assert placement.where(call_id) is None
    assert placement.worker_for(call_id, acme).fence == first.fence + 1


def test_only_the_holder_can_give_a_call_back(acme: Tenant, workers: list[UUID]) -> None:
    call_id = uuid4()
    first = placement.worker_for(call_id, acme)
    other = next(worker for worker in workers if worker != holder(first))
    placement.release(other, [call_id])
    assert placement.worker_for(call_id, acme) == first


def test_a_worker_that_retires_leaves_its_calls_to_the_others(acme: Tenant, workers: list[UUID]) -> None:
    calls = [uuid4() for _ in range(4)]
    for call_id in calls:
        placement.worker_for(call_id, acme)
    placement.retire(workers[0])
    assert {placement.worker_for(call_id, acme).address for call_id in calls} == {address_of(workers[1])}


def test_a_worker_whose_row_was_taken_away_comes_back_with_its_next_heartbeat(workers: list[UUID]) -> None:
    Worker.objects.filter(pk=workers[0]).delete()
    placement.beat(workers[0], "127.0.0.1:4001")
    assert address_of(workers[0]) == "127.0.0.1:4001"


def test_rows_of_workers_long_silent_are_forgotten(workers: list[UUID]) -> None:
    fall_silent(workers[0], 3601)
    placement.register("127.0.0.1:4003")
    assert set(Worker.objects.values_list("control_address", flat=True)) == {"127.0.0.1:4002", "127.0.0.1:4003"}


@pytest.mark.parametrize("lapsed", [False, True])
def test_consumers_that_ask_at_once_agree(racing_acme: Tenant, lapsed: bool) -> None:
    for port in range(4001, 4006):
        placement.register(f"127.0.0.1:{port}")
    call_id = uuid4()
    if lapsed:
        placement.worker_for(call_id, racing_acme)
        pass_time(call_id, 11)
    together = Barrier(6)

    def ask(_: int) -> Any:
        try:
            together.wait(30)
            return placement.worker_for(call_id, racing_acme)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        places = set(pool.map(ask, range(6)))

    assert len(places) == 1
    assert places.pop().fence == (2 if lapsed else 1)
