"""Finishing that is interrupted: jobs that die, stand still or meet, journals that cannot be read, and what the next sweep makes of it."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from compliance.models import LogEntry
from recordings import finishing, forgetting, queries, storage, tasks
from recordings.journal import MAGIC, Item, Writer
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.keys import port
from tenants.models import OutboxRow, SealedKey
from tests.recordings import footage, stored
from tests.recordings.finishes import JOB, SPAN, opened, state, stopped, work_off
from tests.recordings.sittings import Sitting

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)


def finish(sitting: Sitting, recording: Recording) -> None:
    """The job of Gail's files, as the sweep's message starts it."""
    ids = {"recording_id": str(recording.pk), "participant_id": str(sitting.who["gail"].pk)}
    tasks.finish(tenant_id=str(sitting.cast.acme.pk), **ids)


def claimed(sitting: Sitting, recording: Recording) -> list[Artefact]:
    """What a job that dies afterwards leaves."""
    tasks.finalise(tenant_id=str(sitting.cast.acme.pk), recording_id=str(recording.pk))
    with scope.entered(sitting.cast.acme):
        return finishing.claim(recording=recording, participant_id=sitting.who["gail"].pk, at=timezone.now())


def test_two_jobs_that_finish_the_same_files_at_once_are_one(sitting: Sitting, recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep orders again what takes long: the second job finds the first one at work, and touches neither its files nor its rows."""
    recording, epochs = recorded
    tasks.finalise(tenant_id=str(sitting.cast.acme.pk), recording_id=str(recording.pk))
    begun, may_go_on = threading.Event(), threading.Event()
    create = storage.FileStore.create_object

    def slow(store: storage.FileStore, name: str) -> Any:
        begun.set()
        assert may_go_on.wait(30)
        return create(store, name)

    def first() -> None:
        try:
            finish(sitting, recording)
        finally:
            connections.close_all()

    monkeypatch.setattr(storage.FileStore, "create_object", slow)
    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert begun.wait(30)
        finish(sitting, recording)
        with scope.entered(sitting.cast.acme):
            assert {part.state for part in Artefact.objects.filter(kind=Artefact.Kind.PLAYBACK)} == {"WRITING"}
    finally:
        may_go_on.set()
        thread.join(30)
    assert state(sitting) == "READY"
    assert opened(sitting, epochs["cam"]).verify() == len(footage.pictures(1, SPAN))


def test_what_a_job_left_that_died_is_done_by_the_next(sitting: Sitting, recorded: Any, time_machine: Any) -> None:
    """One file was written in part and one not at all; while the claim holds nobody touches them."""
    recording, epochs = recorded
    first, second = claimed(sitting, recording)
    storage.store().create_object(first.object_name).close()
    work_off(sitting)
    assert state(sitting) == "FINALISING"
    assert first.object_name in set(storage.store().names())

    time_machine.move_to(timezone.now() + finishing.CLAIM + timedelta(seconds=1), tick=False)
    tasks.sweep()
    work_off(sitting)

    assert state(sitting) == "READY"
    assert opened(sitting, epochs["cam"]).verify() == len(footage.pictures(1, SPAN))
    assert not {first.object_name, second.object_name} & set(storage.store().names())


def stood_still(sitting: Sitting, recording: Recording, time_machine: Any) -> tuple[list[Artefact], list[finishing.Part]]:
    """What a job had claimed before it stood still past its claim, while another job finished the recording."""
    late = claimed(sitting, recording)
    with scope.entered(sitting.cast.acme):
        parts = [finishing.Part(artefact) for artefact in late]
    time_machine.move_to(timezone.now() + finishing.CLAIM + timedelta(seconds=1), tick=False)
    tasks.sweep()
    work_off(sitting)
    return late, parts


def test_a_job_that_stood_still_past_its_claim_commits_nothing_and_harms_nothing(sitting: Sitting, recorded: Any, time_machine: Any) -> None:
    recording, epochs = recorded
    late, parts = stood_still(sitting, recording, time_machine)
    before = {source: opened(sitting, epoch).read(0, 1 << 30) for source, epoch in epochs.items()}

    for part in parts:
        part.write(None)
        with scope.entered(sitting.cast.acme):
            part.commit(JOB, timezone.now())

    assert {source: opened(sitting, epoch).read(0, 1 << 30) for source, epoch in epochs.items()} == before
    with scope.entered(sitting.cast.acme):
        assert LogEntry.objects.filter(kind="playback.ready").count() == 2
    assert not {artefact.object_name for artefact in late} & set(storage.store().names())


def test_what_a_job_that_stood_still_wrote_before_it_died_goes_a_day_later(sitting: Sitting, recorded: Any, time_machine: Any) -> None:
    """It died between its last byte and the step that would have found its name to be no row's."""
    recording, epochs = recorded
    late, parts = stood_still(sitting, recording, time_machine)
    for part in parts:
        part.write(None)
    lost = {artefact.object_name for artefact in late}
    assert lost <= set(storage.store().names())
    before = {source: opened(sitting, epoch).read(0, 1 << 30) for source, epoch in epochs.items()}

    time_machine.move_to(timezone.now() + finishing.LATEST + timedelta(seconds=1), tick=False)
    work_off(sitting)

    assert not lost & set(storage.store().names())
    assert {source: opened(sitting, epoch).read(0, 1 << 30) for source, epoch in epochs.items()} == before


def test_a_failure_is_entered_once_and_tried_again_less_and_less_often(sitting: Sitting, recorded: Any, settings: Any, time_machine: Any) -> None:
    _recording, epochs = recorded
    with scope.entered(sitting.cast.acme):
        journal = queries.journal(epochs["mic"])
    path = settings.CLEAC.data / "spool" / f"{journal.object_name}.journal"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
    waits = []
    work_off(sitting)
    for _try in range(10):
        with scope.entered(sitting.cast.acme):
            found = Recording.objects.get()
            told = LogEntry.objects.filter(kind="recording.failed").count()
        assert (found.state, told) == ("FAILED", 1)
        waits.append(found.retry_at - timezone.now())
        time_machine.move_to(found.retry_at + timedelta(seconds=1), tick=False)
        tasks.sweep()
        work_off(sitting)
    assert waits == sorted(waits)
    assert (waits[0].total_seconds() // 60 <= 10, waits[1] > waits[0], waits[-1] <= finishing.LONGEST) == (True, True, True)

    path.write_bytes(whole)
    with scope.entered(sitting.cast.acme):
        Recording.objects.update(retry_at=timezone.now())
    tasks.sweep()
    work_off(sitting)
    assert state(sitting) == "READY"


def test_what_is_promised_already_is_not_promised_again_by_every_sweep(sitting: Sitting, recorded: Any) -> None:
    for _again in range(3):
        tasks.sweep()
    assert OutboxRow.objects.filter(task="recordings.finish", done_at=None).count() == 1
    work_off(sitting)
    assert state(sitting) == "READY"


def test_what_a_worker_that_stood_still_adds_to_a_journal_that_was_counted_meanwhile_is_not_finished(sitting: Sitting, settings: Any) -> None:
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme):
        epoch, artefact = sitting.open_epoch(recording, "gail", "mic")
        claim = queries.claim(epoch=epoch)
    with storage.store().create(artefact.object_name) as file:
        writer = Writer(file, b"k" * 32, claim)
        writer.append(0, 20_000, [Item(0, b"P", stored.rtp(0)), Item(20_000, b"P", stored.rtp(1))])
        os.utime(settings.CLEAC.data / "spool" / f"{artefact.object_name}.journal", (time.time() - 60, time.time() - 60))
        stopped(sitting, recording)
        tasks.sweep()
        writer.append(40_000, 20_000, [Item(40_000, b"P", stored.rtp(2)), Item(60_000, b"P", stored.rtp(3))])

    work_off(sitting)

    assert (state(sitting), opened(sitting, epoch).frames) == ("READY", 2)


@pytest.mark.parametrize("fault", ["altered", "unreadable"])
def test_a_journal_that_cannot_be_read_is_closed_as_incomplete_and_holds_up_nobody(
    sitting: Sitting, settings: Any, fault: str, request: pytest.FixtureRequest
) -> None:
    """Its worker died. Gail's journal has a fault of form, or is no file any more; Gus' is closed and finished, and Hana's call ends as it should."""
    sitting.answer("gail", "record-voice")
    sitting.answer("gus", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme):
        epochs = {name: sitting.open_epoch(recording, name, "mic")[0] for name in ("gail", "gus")}
        journals = {name: queries.journal(epoch) for name, epoch in epochs.items()}
    spool = settings.CLEAC.data / "spool"
    for name, artefact in journals.items():
        with storage.store().create(artefact.object_name) as file:
            writer = Writer(file, b"k" * 32, queries.claim(epoch=epochs[name]))
            writer.append(0, 20_000, [Item(0, b"P", stored.rtp(0)), Item(20_000, b"P", stored.rtp(1))])
        path = spool / f"{artefact.object_name}.journal"
        if name == "gail" and fault == "altered":
            path.write_bytes(MAGIC + (4096).to_bytes(4) + b"[" * 4096)
        elif name == "gail":
            path.unlink()
            path.mkdir()
            request.addfinalizer(path.rmdir)
        os.utime(path, (time.time() - 60, time.time() - 60))
    stopped(sitting, recording)

    tasks.sweep()
    work_off(sitting)

    with scope.entered(sitting.cast.acme):
        assert {epoch.cut for epoch in Epoch.objects.all()} == {"worker-lost"}
        assert {epoch.complete for epoch in Epoch.objects.all()} == {False}
    assert (state(sitting), opened(sitting, epochs["gus"]).frames) == ("FAILED", 2)


def test_what_breaks_in_the_sweep_keeps_nothing_else_from_its_turn(
    sitting: Sitting, recorded: Any, settings: Any, request: pytest.FixtureRequest
) -> None:
    """A folder lies where an object of Gail's should be deleted; what Gus had erased goes all the same, and so do keys without an owner."""
    recording, _epochs = recorded
    work_off(sitting)
    with scope.entered(sitting.cast.acme):
        gone = Artefact.objects.filter(kind=Artefact.Kind.JOURNAL).order_by("object_name")
        names = [artefact.object_name for artefact in gone]
    objects = settings.CLEAC.data / "objects"
    (objects / names[0]).mkdir()
    request.addfinalizer((objects / names[0]).rmdir)
    (objects / names[1]).write_bytes(b"left by a crash")
    orphan = port.seal(tenant_id=sitting.cast.acme.pk, key=b"o" * 32, context=b"none", holder="artefact")
    SealedKey.objects.filter(pk=orphan).update(created_at=timezone.now() - timedelta(hours=1))
    with scope.entered(sitting.cast.acme):
        forgetting.restrict(person=sitting.cast.gail, recording=recording, by=JOB, at=timezone.now())

    tasks.sweep()

    assert not (objects / names[1]).exists()
    assert not port.exists(orphan)
    with scope.entered(sitting.cast.acme):
        assert not Artefact.objects.exclude(state=Artefact.State.SHREDDED).exists()
