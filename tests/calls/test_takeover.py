"""The whole worker as a process, killed or asked to stop: who takes its call next, and what becomes of the people who were in it."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from calls import control, placement, services, tasks
from calls.media import wire
from calls.media.orders import CallView, Joined, Left
from calls.models import Call, Participant, Placement, Worker
from compliance.models import LogEntry
from tenants import scope
from tenants.permissions import Actor
from tests.calls.processes import PATIENCE, Process, pipe_to
from tests.calls.sittings import AT, Sitting

State = Participant.State
pytestmark = pytest.mark.django_db(transaction=True)


def first_frame(place: placement.Place, sitting: Sitting, participant: Participant) -> dict[str, Any]:
    """What the worker at `place` says to a participant's new pipe after one muting."""

    async def asked() -> dict[str, Any]:
        pipe = await pipe_to(place, participant)
        pipe.send({"kind": "mute", "source": "mic", "muted": True})
        async with asyncio.timeout(PATIENCE):
            message = await anext(message async for message in pipe.messages() if message["kind"] != wire.ALIVE)
        pipe.close()
        return message

    return asyncio.run(asked())


def test_after_the_kill_of_a_worker_the_next_one_takes_the_call_with_a_higher_fence(sitting: Sitting, process: Any) -> None:
    killed = process()
    address = killed.ready()
    first = placement.worker_for(sitting.call.pk, sitting.cast.acme)
    assert (first.address, first.fence) == (address, 1)
    assert first_frame(first, sitting, sitting.gail)["person"]["name"] == "Gail"
    killed.end(signal.SIGKILL)
    heir = process().ready()
    expire(address)

    second = placement.worker_for(sitting.call.pk, sitting.cast.acme)

    assert (second.address, second.fence) == (heir, 2)
    assert first_frame(second, sitting, sitting.gail)["person"]["name"] == "Gail"
    stale = placement.Place(heir, first.fence)
    assert first_frame(stale, sitting, sitting.gail) == {"kind": "closed", "reason": "moved"}


def killed_with_people_in_it(worker: Process, place: placement.Place, sitting: Sitting) -> None:
    """Hana, Gail and Gus are in the room, and written down as such, when the worker dies without a word."""

    async def all_in() -> None:
        pipes = [await pipe_to(place, one) for one in (sitting.hana, sitting.gail, sitting.gus)]
        deadline = time.monotonic() + PATIENCE
        while sitting.entries() != ["participant.joined"] * 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        worker.end(signal.SIGKILL)
        for pipe in pipes:
            pipe.close()

    asyncio.run(all_in())


def expire(address: str) -> None:
    """The time passes that a dead worker's lease lasts."""
    Worker.objects.filter(control_address=address).update(seen_at=F("seen_at") - timedelta(seconds=60))
    Placement.objects.update(lease_until=F("lease_until") - timedelta(seconds=60))


def test_who_does_not_come_back_after_the_kill_of_a_worker_is_written_down_as_gone(sitting: Sitting, process: Any) -> None:
    """Hana, Gail and Gus are in the call when its worker is killed. Gail comes back to the next one; the others never do."""
    sitting.change(sitting.gus, state=State.ADMITTED)
    killed = process()
    killed.ready()
    first = placement.worker_for(sitting.call.pk, sitting.cast.acme)
    killed_with_people_in_it(killed, first, sitting)
    expire(first.address)
    sitting.start(patience=6.0)
    sitting.look()

    sitting.control.ask(Joined(str(sitting.call.pk), 2, str(sitting.gail.pk), 0, AT))
    sitting.until(lambda answer: isinstance(answer, CallView) and len(answer.left) == 2)

    assert [sitting.state_of(one) for one in (sitting.hana, sitting.gail, sitting.gus)] == [State.LEFT, State.JOINED, State.LEFT]
    assert sitting.entries()[3:] == ["participant.left"] * 2
    with scope.entered(sitting.cast.acme):
        assert set(LogEntry.objects.filter(kind="participant.left").values_list("by_kind", "by_id")) == {("job", "media-worker")}
        assert Participant.objects.get(pk=sitting.hana.pk).left_at is not None
        back = services.enter_lobby(
            meeting=sitting.call.meeting, person=sitting.cast.hana, host=True, by=Actor.person(sitting.cast.hana), at=timezone.now()
        )
        assert back.state == State.LOBBY


def test_who_was_seen_since_the_takeover_stays_whatever_the_database_said_before(sitting: Sitting) -> None:
    """Somebody who came back and lost the line again is the business of the line, not of the take-over."""
    for one in (sitting.hana, sitting.gail):
        sitting.change(one, state=State.JOINED)
    sitting.start(patience=6.0)
    sitting.look()
    taken_before = time.monotonic()
    for one in (sitting.hana, sitting.gail):
        sitting.control.ask(Joined(str(sitting.call.pk), 1, str(one.pk), 0, AT))
    sitting.control.ask(Left(str(sitting.call.pk), 1, str(sitting.gail.pk), 0, AT))

    sitting.look(lambda view: view.read_at > taken_before + 6.0 + control.EVERY)

    assert [sitting.state_of(one) for one in (sitting.hana, sitting.gail)] == [State.JOINED, State.ADMITTED]
    assert sitting.entries() == ["participant.lost"]


def test_a_takeover_is_settled_once_and_not_while_the_call_has_ended(sitting: Sitting) -> None:
    sitting.change(sitting.gail, state=State.JOINED)
    with scope.entered(sitting.cast.acme):
        Call.objects.filter(pk=sitting.call.pk).update(state=Call.State.ENDED, ended_at=AT)
        call = Call.objects.get(pk=sitting.call.pk)
        assert services.leave_unseen(call=call, seen=(), by=Actor.job("media-worker"), at=AT) == []
        Call.objects.filter(pk=sitting.call.pk).update(state=Call.State.OPEN, ended_at=None)

        gone = [services.leave_unseen(call=call, seen=(), by=Actor.job("media-worker"), at=AT) for _ in range(2)]

    assert [[one.pk for one in left] for left in gone] == [[sitting.gail.pk], []]
    assert sitting.entries() == ["participant.left"]


def test_a_call_whose_people_all_stay_away_is_swept(sitting: Sitting) -> None:
    """The worker was killed and nobody asks for another: the sweep notices, half a minute after the lease, and only once."""
    for one in (sitting.hana, sitting.gail):
        sitting.change(one, state=State.JOINED)
    dead = placement.register("127.0.0.1:1")
    placement.worker_for(sitting.call.pk, sitting.cast.acme)

    tasks.sweep()
    assert sitting.entries() == []
    Placement.objects.update(lease_until=F("lease_until") - placement.LEASE - tasks.ABANDONED + timedelta(seconds=20))
    tasks.sweep()
    assert sitting.entries() == []
    Placement.objects.update(lease_until=F("lease_until") - timedelta(seconds=30))
    tasks.sweep()
    tasks.sweep()

    assert sitting.entries() == ["participant.left"] * 2
    assert [sitting.state_of(one) for one in (sitting.hana, sitting.gail, sitting.gus)] == [State.LEFT, State.LEFT, State.WAITING]
    assert Worker.objects.filter(pk=dead).exists()


def test_a_worker_that_is_asked_to_stop_gives_its_calls_back_and_exits_cleanly(sitting: Sitting, process: Any) -> None:
    worker = process()
    worker.ready()
    first = placement.worker_for(sitting.call.pk, sitting.cast.acme)
    first_frame(first, sitting, sitting.gail)
    code, said = worker.end(signal.SIGTERM)
    assert (code, [line for line in said.splitlines() if "Traceback" in line or "ERROR" in line]) == (0, [])
    assert not Worker.objects.exists()
    assert placement.where(sitting.call.pk) is None
    assert "Gail" not in said


def test_a_taken_port_is_refused_by_the_name_of_its_option(process: Any, db: None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        code, said = process(CLEAC_MEDIA_UDP_PORT=str(taken.getsockname()[1])).end(0)
    assert code == 2
    assert "CLEAC_MEDIA_UDP_PORT" in said.splitlines()[-1]
