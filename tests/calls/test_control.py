"""The worker's database side on a real database, and the whole worker as a process: leases, readings, outages, SIGKILL, SIGTERM."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import Error as DatabaseError
from django.db import connection, connections
from django.db.models import F
from django.utils import timezone

from calls import control, placement, services, tasks
from calls.control import Control
from calls.leases import give_up_after
from calls.media import wire
from calls.media.orders import Answer, CallView, Errand, Joined, Left, Look, Lost, Outcome, Release, Renewed, Unconfirmed
from calls.models import Call, Meeting, Participant, Placement, Worker
from compliance.models import LogEntry
from consent import services as consent
from tenants import scope
from tenants.permissions import Actor
from tests.calls.processes import Process, pipe_to
from tests.environment import SERVER

PATIENCE = 60.0
AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
State = Participant.State

pytestmark = pytest.mark.django_db(transaction=True)


class Sitting:
    """A call of Acme with Hana, Gail and Gus in it, and the thread that looks after it."""

    def __init__(self, cast: Any) -> None:
        self.cast = cast
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.control = Control(f"127.0.0.1:{4000 + os.getpid() % 1000}", self.answers.put, wish=lambda call_id, reading: f"wish for {call_id}")
        with scope.entered(cast.acme):
            meeting = Meeting.objects.create(tenant=cast.acme, title="Offer", host=cast.hana, created_at=AT)
            self.call = Call.objects.create(tenant=cast.acme, meeting=meeting, started_at=AT)
            self.hana = self.enters(cast.hana, "host", State.ADMITTED)
            self.gail = self.enters(cast.gail, "guest", State.ADMITTED)
            self.gus = self.enters(cast.gus, "guest", State.WAITING)

    def enters(self, person: Any, role: str, state: str) -> Participant:
        found: Participant = Participant.objects.create(tenant=self.cast.acme, call=self.call, person=person, role=role, state=state, entered_at=AT)
        return found

    def change(self, participant: Participant, **fields: Any) -> None:
        with scope.entered(self.cast.acme):
            Participant.objects.filter(pk=participant.pk).update(**fields)

    def state_of(self, participant: Participant) -> str:
        with scope.entered(self.cast.acme):
            return str(Participant.objects.get(pk=participant.pk).state)

    def entries(self) -> list[str]:
        with scope.entered(self.cast.acme):
            return list(LogEntry.objects.filter(kind__startswith="participant.").order_by("index").values_list("kind", flat=True))

    def start(self, patience: float = control.RETURN) -> None:
        """The thread runs and carries the call; people have `patience` seconds to come back to it."""
        self.control.return_within = patience
        self.control.start()
        deadline = time.monotonic() + PATIENCE
        while True:
            if self.control.worker_id and Worker.objects.filter(pk=self.control.worker_id).exists():
                break
            assert time.monotonic() < deadline
            self.control.join(0.01)
        placement.worker_for(self.call.pk, self.cast.acme)

    def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The next answer that is wanted; earlier ones are dropped."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if wanted(answer):
                return answer

    def look(self, wanted: Callable[[CallView], bool] = lambda view: True) -> CallView:
        """What the thread reads when it is told to."""
        self.control.ask(Look(str(self.call.pk), 1))
        found: CallView = self.until(lambda answer: isinstance(answer, CallView) and wanted(answer))
        return found


@pytest.fixture
def sitting(cast: Any) -> Iterator[Sitting]:
    found = Sitting(cast)
    yield found
    if found.control.is_alive():
        found.control.stop(PATIENCE)
    assert not found.control.is_alive()


def test_a_reading_holds_who_is_let_in_and_nobody_else(sitting: Sitting) -> None:
    sitting.start()
    view = sitting.look()
    assert {key: (who.name, who.role, who.epoch) for key, who in view.people.items()} == {
        str(sitting.hana.pk): ("Hana", "host", 0),
        str(sitting.gail.pk): ("Gail", "guest", 0),
    }
    assert (view.call_id, view.tenant_id, view.fence) == (str(sitting.call.pk), str(sitting.cast.acme.pk), 1)
    assert view.wish == f"wish for {sitting.call.pk}"
    assert not view.ended
    assert view.read_at < view.lease_until <= time.monotonic() + placement.LEASE.total_seconds()
    assert "Gail" not in repr(view)


def test_a_note_shows_a_change_and_so_does_the_timer_without_one(sitting: Sitting) -> None:
    sitting.start()
    sitting.look()
    sitting.change(sitting.gus, state=State.ADMITTED)
    assert str(sitting.gus.pk) in sitting.look(lambda view: len(view.people) == 3).people
    sitting.change(sitting.gus, state=State.REMOVED, epoch=F("epoch") + 1)
    sitting.until(lambda answer: isinstance(answer, CallView) and len(answer.people) == 2)
    sitting.change(sitting.gail, state=State.LEFT)
    assert sitting.look(lambda view: len(view.people) == 1).left == {str(sitting.gail.pk)}


def test_permits_follow_decisions(sitting: Sitting) -> None:
    cast = sitting.cast
    consent.ensure_catalogue(tenant=cast.acme, by=Actor.operator("test"), at=AT)
    sitting.start()
    assert sitting.look().permits == {}
    with scope.entered(cast.acme):
        for purpose, granted in (("record-voice", True), ("record-camera", False)):
            consent.serve(person=cast.gail, call_id=sitting.call.pk, purposes=[purpose], at=AT)
            consent.decide(call_id=sitting.call.pk, person=cast.gail, purpose=purpose, granted=granted, by=Actor.person(cast.gail), at=AT)
    view = sitting.look(lambda view: bool(view.permits))
    assert {person: set(sources) for person, sources in view.permits.items()} == {str(cast.gail.pk): {"mic"}}
    assert {source: view.marks[str(cast.gail.pk)][source] for source in ("mic", "cam")} == {"mic": "agreed", "cam": "declined"}
    with scope.entered(cast.acme):
        consent.decide(call_id=sitting.call.pk, person=cast.gail, purpose="record-voice", granted=False, by=Actor.person(cast.gail), at=AT)
    sitting.look(lambda view: not view.permits)


def test_a_call_that_has_ended_is_given_back(sitting: Sitting) -> None:
    sitting.start()
    with scope.entered(sitting.cast.acme):
        Call.objects.filter(pk=sitting.call.pk).update(state=Call.State.ENDED, ended_at=AT)
    assert sitting.look().ended
    sitting.control.ask(Look(str(sitting.call.pk)))
    sitting.until(lambda answer: isinstance(answer, Lost))
    assert placement.where(sitting.call.pk) is None


def test_a_call_that_is_not_placed_here_is_lost(sitting: Sitting) -> None:
    sitting.start()
    stranger = str(uuid4())
    sitting.control.ask(Look(stranger, 1))
    sitting.until(lambda answer: isinstance(answer, Lost) and answer.call_id == stranger)


def taken_by(sitting: Sitting, worker_id: Any) -> None:
    """Somebody else has taken the call after its lease had lapsed."""
    Placement.objects.update(worker=worker_id, fence=F("fence") + 1, lease_until=F("lease_until") + timedelta(hours=1))


def test_a_call_that_was_taken_is_lost_and_found_again_by_its_fence(sitting: Sitting) -> None:
    sitting.start()
    sitting.look()
    other = placement.register("127.0.0.1:1")
    taken_by(sitting, other)
    sitting.until(lambda answer: isinstance(answer, Lost))
    sitting.until(lambda answer: isinstance(answer, Renewed) and not answer.fences)
    placement.retire(other)
    place = placement.worker_for(sitting.call.pk, sitting.cast.acme)
    assert place.fence == 3
    sitting.control.ask(Look(str(sitting.call.pk), place.fence))
    assert sitting.until(lambda answer: isinstance(answer, CallView)).fence == 3


def test_a_lease_that_lapsed_goes_on_under_its_fence_when_nobody_has_taken_the_call(sitting: Sitting) -> None:
    sitting.start()
    sitting.look()
    Placement.objects.update(lease_until=F("lease_until") - timedelta(seconds=60))
    told = sitting.until(lambda answer: isinstance(answer, Renewed) and answer.read_at > time.monotonic() - control.EVERY)
    sitting.until(lambda answer: isinstance(answer, Renewed) and answer.read_at > told.read_at)
    assert placement.worker_for(sitting.call.pk, sitting.cast.acme).fence == 1
    assert sitting.look().fence == 1


def test_a_heartbeat_says_until_when_nobody_else_may_take_the_calls(sitting: Sitting) -> None:
    """Counted from before the heartbeat was sent, so never later than the database's own lease."""
    sitting.start()
    sitting.look()
    told = sitting.until(lambda answer: isinstance(answer, Renewed) and bool(answer.fences))
    assert told.fences == {str(sitting.call.pk): 1}
    assert told.until == told.read_at + placement.LEASE.total_seconds()
    assert told.read_at <= time.monotonic()


@pytest.mark.django_db(transaction=True, databases=["default", "keys"])
def test_the_heartbeat_goes_on_while_the_reading_of_calls_hangs(sitting: Sitting) -> None:
    """Whatever the thread waits for that reads calls, a disk or a lock, no lease is lost by it."""
    over = threading.Event()

    def hang(order: Errand, ours: bool) -> Outcome:
        over.wait(PATIENCE)
        return Outcome(order.call_id, order)

    sitting.control._handlers = {Errand: hang}
    sitting.start()
    sitting.look()
    sitting.control.ask(Errand(str(sitting.call.pk), 1))
    began = time.monotonic()
    try:
        sitting.until(lambda answer: isinstance(answer, Renewed) and answer.read_at > began + placement.LEASE.total_seconds())
        assert placement.where(sitting.call.pk) is not None
    finally:
        over.set()


def test_who_came_is_not_written_once_somebody_else_has_taken_the_call(sitting: Sitting) -> None:
    """What a thread knows may be old: its process may have stood still. The database is asked once more before history is written."""
    sitting.start()
    sitting.look()
    taken_by(sitting, placement.register("127.0.0.1:1"))
    sitting.control.ask(Joined(str(sitting.call.pk), 1, str(sitting.gail.pk), 0, AT))
    sitting.control.ask(Look(str(sitting.call.pk), 1))
    sitting.until(lambda answer: isinstance(answer, Lost))
    assert sitting.state_of(sitting.gail) == State.ADMITTED
    assert sitting.entries() == []


def test_what_is_half_written_when_somebody_else_takes_the_call_is_not_committed(sitting: Sitting) -> None:
    """The thread has asked whose the call is and waits for a lock, as a process does that stands still; meanwhile the call is taken."""
    sitting.start()
    sitting.look()
    with scope.entered(sitting.cast.acme):
        Call.objects.select_for_update().get(pk=sitting.call.pk)
        sitting.control.ask(Joined(str(sitting.call.pk), 1, str(sitting.gail.pk), 0, AT))
        deadline = time.monotonic() + PATIENCE
        while not waits_for(connection.connection.info.backend_pid):
            assert time.monotonic() < deadline
        taken_by(sitting, placement.register("127.0.0.1:1"))
    sitting.control.ask(Look(str(sitting.call.pk), 1))
    sitting.until(lambda answer: isinstance(answer, Lost))
    assert sitting.state_of(sitting.gail) == State.ADMITTED
    assert sitting.entries() == []


def waits_for(holder: int) -> bool:
    """Does any session wait for a lock of this one?"""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)))", [holder])
        return bool(cursor.fetchone()[0])


def test_who_stands_still_in_a_transaction_holds_up_others_for_a_moment_only(sitting: Sitting) -> None:
    """A process that is stopped keeps its connection, and everything that it has locked."""
    locked, lost = threading.Event(), threading.Event()

    def stands_still() -> None:
        try:
            give_up_after("200ms", "default")
            with scope.entered(sitting.cast.acme):
                Call.objects.select_for_update().get(pk=sitting.call.pk)
                locked.set()
                lost.wait(PATIENCE)
        except DatabaseError:
            pass
        finally:
            connections.close_all()

    thread = threading.Thread(target=stands_still)
    thread.start()
    assert locked.wait(PATIENCE)
    try:
        with scope.entered(sitting.cast.acme), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '30s'")
            services.end(call=sitting.call, by=Actor.person(sitting.cast.hana), at=AT)
    finally:
        lost.set()
        thread.join(PATIENCE)


def test_who_came_and_went_is_written_once_in_order_by_a_named_job(sitting: Sitting) -> None:
    sitting.start()
    sitting.look()
    told = (str(sitting.call.pk), 1, str(sitting.gail.pk))
    sitting.control.ask(Joined(*told, 0, AT))
    sitting.control.ask(Joined(*told, 0, AT))
    sitting.look()
    assert sitting.state_of(sitting.gail) == State.JOINED
    sitting.control.ask(Left(*told, 0, AT))
    sitting.look()
    assert sitting.state_of(sitting.gail) == State.ADMITTED
    assert sitting.entries() == ["participant.joined", "participant.lost"]
    with scope.entered(sitting.cast.acme):
        assert set(LogEntry.objects.filter(kind="participant.joined").values_list("by_kind", "by_id")) == {("job", "media-worker")}


@pytest.mark.parametrize(("fence", "epoch"), [(2, 0), (1, 1)])
def test_what_another_fence_or_epoch_saw_is_not_written(sitting: Sitting, fence: int, epoch: int) -> None:
    sitting.start()
    sitting.look()
    sitting.control.ask(Joined(str(sitting.call.pk), fence, str(sitting.gail.pk), epoch, AT))
    sitting.look()
    assert sitting.state_of(sitting.gail) == State.ADMITTED


def test_a_refused_arrival_holds_up_nothing(sitting: Sitting) -> None:
    sitting.start()
    sitting.look()
    sitting.control.ask(Joined(str(sitting.call.pk), 1, str(sitting.gus.pk), 0, AT))
    sitting.control.ask(Joined(str(sitting.call.pk), 1, str(sitting.gail.pk), 0, AT))
    sitting.look()
    assert (sitting.state_of(sitting.gus), sitting.state_of(sitting.gail)) == (State.WAITING, State.JOINED)


def test_an_empty_call_is_given_back_when_the_loop_says_so(sitting: Sitting) -> None:
    sitting.start()
    sitting.look()
    sitting.control.ask(Release(str(sitting.call.pk), 1))
    sitting.control.ask(Look(str(sitting.call.pk), 1))
    sitting.until(lambda answer: isinstance(answer, Lost))
    assert placement.where(sitting.call.pk) is None


def test_while_the_database_is_away_every_call_is_unconfirmed_since_its_last_reading(sitting: Sitting) -> None:
    sitting.start()
    seen = sitting.look()
    name = connection.settings_dict["NAME"]
    with psycopg.connect(SERVER, autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            ours = connection.cursor().connection.info.backend_pid
            others = "datname = %s AND usename = current_user AND pid <> %s"
            server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}", [name, ours])
            told = sitting.until(lambda answer: isinstance(answer, Unconfirmed))
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert told.call_id == str(sitting.call.pk)
    assert seen.read_at <= told.since < told.read_at
    again = sitting.until(lambda answer: isinstance(answer, CallView) and answer.read_at > told.read_at)
    assert again.fence == 1


def test_a_worker_that_stops_writes_what_it_was_told_and_leaves_nothing_behind(sitting: Sitting) -> None:
    sitting.start()
    sitting.look()
    sitting.control.drain()
    sitting.control.ask(Joined(str(sitting.call.pk), 1, str(sitting.gail.pk), 0, AT))
    sitting.control.stop(PATIENCE)
    assert sitting.state_of(sitting.gail) == State.JOINED
    assert not Worker.objects.exists()
    assert placement.where(sitting.call.pk) is None


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(**environment: str) -> Process:
        started.append(Process(**environment))
        return started[-1]

    yield start
    for one in started:
        one.end(signal.SIGKILL)


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
