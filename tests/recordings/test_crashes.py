"""A process is killed before each thing that it writes: what is left is taken on by the sweep and the jobs, and ends clean.

Real processes on the real databases and the real disk: each is forked, counts what it is about to do, and is killed by the kernel there.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone

from compliance import log
from consent import gate
from recordings import capture as recording
from recordings import forgetting, queries, services, storage, tasks, vault, viewing
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.models import OutboxRow, SealedKey, Tenant
from tenants.permissions import Actor
from tests.recordings import stored
from tests.recordings.sittings import Sitting
from tests.recordings.stored import JOB, Stored

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)

WRITES = ("INSERT", "UPDATE", "DELETE")
MOST_STEPS = 60
DONE = 0


class Steps:
    """Counts what this process is about to write, to a database or to the disk, and is killed before the `last`."""

    def __init__(self, last: int) -> None:
        self.left = last

    def take(self) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(WRITES):
            self.take()
        return execute(sql, params, many, context)

    def call(self, _frame: Any, event: str, called: Any) -> None:
        """Python is about to call something that is not Python: to write to an unbuffered file, as stored objects are, or to remove one."""
        writes = isinstance(getattr(called, "__self__", None), io.FileIO) and called.__name__ == "write"
        if event == "c_call" and (writes or called is os.unlink):
            self.take()


def in_a_process(work: Callable[[], object], prepare: Callable[[ExitStack], None]) -> int:
    """Do it in a process of its own; returns 0, or the signal that ended it."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with ExitStack() as stack:
                prepare(stack)
                work()
            code = DONE
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == DONE
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else DONE


def killed_before(step: int, work: Callable[[], object]) -> bool:
    """Do it in a process that is killed before that step; False when it came to its end."""

    def prepare(stack: ExitStack) -> None:
        steps = Steps(step)
        for alias in ("default", "keys"):
            stack.enter_context(connections[alias].execute_wrapper(steps.statement))
        sys.setprofile(steps.call)

    return in_a_process(work, prepare) == signal.SIGKILL


def at_each_step(prepared: Callable[[], Callable[[], object]]) -> int:
    """What is prepared is killed before its first step, the next before its second, until one comes to its end; returns how many were killed."""
    for step in range(MOST_STEPS):
        if not killed_before(step, prepared()):
            return step
    pytest.fail("it never comes to its end")


def time_passes() -> None:
    """As long as keys may lie without a row, and as claims and promises wait."""
    SealedKey.objects.update(created_at=timezone.now() - timedelta(hours=1))
    OutboxRow.objects.filter(done_at=None).update(due_at=timezone.now())
    with scope.entered(Tenant.objects.get(slug="acme")):
        Artefact.objects.exclude(claimed_until=None).update(claimed_until=timezone.now())


def taken_on() -> None:
    """What the timetable and the jobs do until nothing is left to do."""
    for _round in range(3):
        time_passes()
        tasks.sweep()
        for row in OutboxRow.objects.filter(task__startswith="recordings.", done_at=None, parked_at=None, due_at__lte=timezone.now()):
            job(row)
    time_passes()
    tasks.sweep()


def clean(sitting: Sitting) -> None:
    """Every key is named by a row and every named key is there; every object is that of a row that is not shredded; the log holds."""
    with scope.entered(sitting.cast.acme):
        rows = list(Artefact.objects.exclude(state=Artefact.State.SHREDDED))
        assert {row.state for row in rows} <= {"READY"}
        assert set(SealedKey.objects.values_list("pk", flat=True)) == {row.sealed_key for row in rows}
        assert sorted(storage.store().names()) == sorted(row.object_name for row in rows)
        assert log.verify(sitting.cast.acme) == []


def objects(made: Stored, name: str) -> dict[str, str]:
    """SHA-256 of every finished object of somebody in a recording, by its name."""
    with scope.entered(made.cast.acme):
        files = [file for file in queries.playable(made.recording) if queries.epoch_of(file).track.person_id == getattr(made.cast, name).pk]
    return {file.object_name: sha256((settings.CLEAC.data / "objects" / file.object_name).read_bytes()).hexdigest() for file in files}


def frames(made: Stored, name: str) -> list[int]:
    """How many frames each file of somebody holds, opened as the person does who looks at the own part."""
    person = getattr(made.cast, name)
    with scope.entered(made.cast.acme):
        look = viewing.view(
            recording=queries.locked(made.recording.pk), by=Actor.person(person), person=person, whole=False, purpose="own", at=timezone.now()
        )
        files = [file for epoch in look.epochs.all() for file in epoch.artefacts.filter(kind="playback")]
        return [vault.reader(viewing=look, artefact=file, at=timezone.now()).verify() for file in files]


def state_of(made: Stored) -> str:
    with scope.entered(made.cast.acme):
        return str(queries.locked(made.recording.pk).state)


def promised(task: str, made: Stored, **ids: str) -> Callable[[], object]:
    """The promised job of a recording, ready to be done."""
    wanted = {"recording_id": str(made.recording.pk), **ids}
    (row,) = [one for one in stored.promised(task) if wanted.items() <= one.arguments.items()]
    return lambda: job(row)


def job(row: OutboxRow) -> None:
    """Do what was promised, as the job process does it."""
    getattr(tasks, row.task.removeprefix("recordings."))(tenant_id=str(row.tenant_id), row_id=str(row.pk), **row.arguments)


@pytest.fixture(autouse=True)
def nothing_else_stored() -> Iterator[None]:
    for name in list(storage.store().names()):
        storage.store().delete(name)
    yield
    for name in list(storage.store().names()):
        storage.store().delete(name)


def test_a_worker_that_dies_while_it_opens_a_stretch_leaves_no_key_behind(sitting: Sitting) -> None:
    """Between the key and its row, among the rows, after the commit: a key without a row goes, and so does a stretch without a journal."""
    sitting.answer("gail", "record-voice")
    began = sitting.start()
    with scope.entered(sitting.cast.acme):
        permit = gate.permits(sitting.call.pk)[str(sitting.cast.gail.pk)]["mic"]
    who = (str(sitting.who["gail"].pk), str(sitting.cast.gail.pk), "mic", permit.decision_id)
    call_id, tenant_id = str(sitting.call.pk), sitting.cast.acme.pk

    def opening() -> Callable[[], object]:
        order = recording.OpenEpoch(call_id, 1, tenant_id, began.pk, *who, uuid4())
        return lambda: recording.HANDLERS[recording.OpenEpoch](order, lambda: True)

    assert at_each_step(opening) > 5

    with scope.entered(sitting.cast.acme):
        named = set(Artefact.objects.exclude(sealed_key=None).values_list("sealed_key", flat=True))
    assert set(SealedKey.objects.values_list("pk", flat=True)) > named
    time_passes()
    tasks.sweep()
    assert set(SealedKey.objects.values_list("pk", flat=True)) == named
    with scope.entered(sitting.cast.acme):
        assert {epoch.cut for epoch in Epoch.objects.all()} == {"worker-lost"}  # the one whose commit came before the kill
        services.stop(recording=began, by=JOB, at=timezone.now())
    taken_on()
    clean(sitting)
    assert not SealedKey.objects.exists()


def test_an_order_that_comes_again_because_its_commit_was_never_heard_of_leaves_no_second_stretch(sitting: Sitting) -> None:
    """The key of the first went with its answer: that stretch is closed as never begun, and the next order opens one that counts."""
    sitting.answer("gail", "record-voice")
    began = sitting.start()
    with scope.entered(sitting.cast.acme):
        permit = gate.permits(sitting.call.pk)[str(sitting.cast.gail.pk)]["mic"]
    who = (str(sitting.who["gail"].pk), str(sitting.cast.gail.pk), "mic", permit.decision_id)
    first, second = (recording.OpenEpoch(str(sitting.call.pk), 1, sitting.cast.acme.pk, began.pk, *who, uuid4()) for _ in range(2))

    answers = [recording.HANDLERS[recording.OpenEpoch](order, lambda: True) for order in (first, first, second)]

    assert [answer.failed for answer in answers] == ["", "asked-again", ""]
    with scope.entered(sitting.cast.acme):
        epochs = list(Epoch.objects.order_by("number"))
        assert [(epoch.pk, epoch.cut) for epoch in epochs] == [(first.epoch_id, "unused"), (second.epoch_id, "")]
        kept = Artefact.objects.get(epochs=second.epoch_id)
        assert not Recording.objects.get().incomplete
    assert list(SealedKey.objects.values_list("pk", flat=True)) == [kept.sealed_key]


def test_a_job_that_dies_while_it_finishes_loses_nothing_and_leaves_nothing(sitting: Sitting) -> None:
    """Killed while it writes the files, between key and row, and while journals and their keys go: the next try makes every file whole."""
    made: list[Stored] = []

    def finishing() -> Callable[[], object]:
        made.append(stored.captured(sitting, ("gail", "mic"), ("gus", "mic")))
        promised("recordings.finalise", made[-1])()
        return promised("recordings.finish", made[-1], participant_id=str(sitting.who["gail"].pk))

    assert at_each_step(finishing) > 10
    taken_on()

    clean(sitting)
    for one in made:
        assert (state_of(one), frames(one, "gail"), frames(one, "gus")) == ("READY", [100], [100])


def test_an_erasure_that_dies_at_any_step_comes_to_its_end_and_everybody_elses_part_stays_to_the_bit(sitting: Sitting) -> None:
    """Among the rows, between the commit and the keys, between the keys and the objects, between two objects."""
    made: list[Stored] = []
    before: dict[str, str] = {}

    def erasing() -> Callable[[], object]:
        made.append(stored.finished(sitting, ("gail", "mic"), ("gail", "cam"), ("gus", "mic")))
        before.update(objects(made[-1], "gus"))
        with scope.entered(sitting.cast.acme):
            gail = sitting.cast.gail
            forgetting.restrict(person=gail, recording=made[-1].recording, by=Actor.person(gail), at=timezone.now())
        return promised("recordings.redact", made[-1])

    assert at_each_step(erasing) > 5
    taken_on()

    clean(sitting)
    with scope.entered(sitting.cast.acme):
        assert set(queries.artefacts_of(sitting.cast.gail).values_list("state", flat=True)) == {"SHREDDED"}
    assert {name: value for one in made for name, value in objects(one, "gus").items()} == before
    assert all(frames(one, "gus") == [100] for one in made)
