"""The worker's database side on a real database: leases, readings, outages, and what is written of who came and went."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import Error as DatabaseError
from django.db import connection, connections
from django.db.models import F

from calls import control, placement, services
from calls.leases import give_up_after
from calls.media.orders import CallView, Errand, Joined, Left, Look, Lost, Outcome, Release, Renewed, Unconfirmed
from calls.models import Call, Participant, Placement, Worker
from compliance.models import LogEntry
from consent import services as consent
from tenants import scope
from tenants.permissions import Actor
from tests.calls.processes import PATIENCE
from tests.calls.sittings import AT, Sitting
from tests.environment import SERVER

State = Participant.State

pytestmark = pytest.mark.django_db(transaction=True)


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

    def hang(order: Errand, stays: control.Stays | None) -> Outcome:
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


@pytest.mark.django_db(transaction=True, databases=["default", "keys"])
@pytest.mark.parametrize("taken", [False, True], ids=["ours", "taken"])
def test_an_errand_is_told_in_its_own_transaction_whether_the_call_stays_ours(sitting: Sitting, taken: bool) -> None:
    """What was so before it began may not be so at its end."""

    def look(order: Errand, stays: control.Stays | None) -> Outcome:
        assert stays is not None
        if taken:
            taken_by(sitting, placement.register("127.0.0.1:1"))
        with scope.entered(sitting.cast.acme):
            return Outcome(order.call_id, order, "" if stays() else "lost")

    sitting.control._handlers = {Errand: look}
    sitting.start()
    sitting.look()
    sitting.control.ask(Errand(str(sitting.call.pk), 1))
    told = sitting.until(lambda answer: isinstance(answer, Outcome))
    assert told.failed == ("lost" if taken else "")


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
