"""From a stopped recording to playback files: what is written, when the journals go, and what happens when something is in the way."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from calls.models import Placement, Worker
from compliance.models import LogEntry
from recordings import finishing, forgetting, playback, queries, services, storage, tasks
from recordings.journal import MAGIC, Item, Writer
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.keys import port, service
from tenants.models import OutboxRow, SealedKey
from tenants.permissions import Actor
from tests.recordings import footage, stored
from tests.recordings.packets import Camera, Microphone, arriving
from tests.recordings.sittings import Sitting

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)
JOB = Actor.job("test")
SPAN = (1000, 4000)  # ms of the recording


def captured(sitting: Sitting, recording: Recording, name: str, source: str, *, end: bool = True, kept_until_us: int | None = None) -> Epoch:
    """What a worker leaves: a journal of three seconds in records of a second, and the closed epoch."""
    frames = footage.tone(1, SPAN) if source == "mic" else footage.pictures(1, SPAN)
    sender = Microphone(number=65_500) if source == "mic" else Camera(number=65_500)
    items = arriving((sent for frame in frames for sent in sender.send(frame.data, frame.time_us)), 0)
    with scope.entered(sitting.cast.acme):
        epoch, artefact = sitting.open_epoch(recording, name, source)
        with storage.store().create(artefact.object_name) as file:
            writer = Writer(file, b"k" * 32, queries.claim(epoch=epoch))
            for start in range(SPAN[0] * 1000, SPAN[1] * 1000, 1_000_000):
                some = [item for item in items if start <= item.arrival_us < start + 1_000_000]
                writer.append(start, some[-1].arrival_us - start, some)
            if end:
                writer.end("stopped", SPAN[1] * 1000, writer.packets, writer.last_valid)
        kept = services.kept(artefact=artefact)
        facts = {"complete": kept.complete, "size": kept.size, "kept_until_us": kept_until_us}
        return services.close_epoch(epoch=epoch, cut="stopped", **facts, by=JOB, at=timezone.now())


def stopped(sitting: Sitting, recording: Recording) -> None:
    with scope.entered(sitting.cast.acme):
        services.stop(recording=recording, by=Actor.person(sitting.cast.hana), at=timezone.now())


def work_off(sitting: Sitting) -> None:
    """Do every promised job, as the job process does it, until none is left."""
    for _round in range(5):
        rows = list(OutboxRow.objects.filter(task__startswith="recordings.", done_at=None, due_at__lte=timezone.now()))
        for row in rows:
            getattr(tasks, row.task.removeprefix("recordings."))(tenant_id=str(row.tenant_id), row_id=str(row.pk), **row.arguments)


def state(sitting: Sitting) -> str:
    with scope.entered(sitting.cast.acme):
        return str(Recording.objects.get().state)


def opened(sitting: Sitting, epoch: Epoch) -> playback.Reader:
    """The playback file of an epoch, by its key and claim."""
    with scope.entered(sitting.cast.acme):
        artefact = epoch.artefacts.get(kind=Artefact.Kind.PLAYBACK, state=Artefact.State.READY)
        claim = queries.claim(epoch=queries.epoch_of(artefact))
    key = service.unseal(sealed_key_id=artefact.sealed_key, tenant_id=artefact.tenant_id, context=claim.digest())
    return playback.Reader(storage.store().open_object(artefact.object_name), key, claim)


@pytest.fixture
def recorded(sitting: Sitting) -> tuple[Recording, dict[str, Epoch]]:
    """Gail's voice and camera were captured, and the recording was stopped."""
    sitting.answer("gail", "record-voice", "record-camera")
    recording = sitting.start()
    epochs = {source: captured(sitting, recording, "gail", source) for source in ("mic", "cam")}
    stopped(sitting, recording)
    return recording, epochs


def test_every_journal_becomes_one_playback_file_and_goes_with_its_key(sitting: Sitting, recorded: Any) -> None:
    """READY only after both files are there; every frame that was captured is in them, in the recording's time."""
    _recording, epochs = recorded
    with scope.entered(sitting.cast.acme):
        journals = list(Artefact.objects.filter(kind=Artefact.Kind.JOURNAL))
    keys, names = [journal.sealed_key for journal in journals], [journal.object_name for journal in journals]

    work_off(sitting)

    assert state(sitting) == "READY"
    assert opened(sitting, epochs["cam"]).verify() == len(footage.pictures(1, SPAN))
    assert opened(sitting, epochs["mic"]).verify() == len(footage.tone(1, SPAN))
    for epoch in epochs.values():
        start, end = opened(sitting, epoch).spans[0]
        assert SPAN[0] * 1000 <= start < end <= SPAN[1] * 1000  # where END has its cut
    assert not any(port.exists(key) for key in keys)
    assert not set(names) & set(storage.store().names())


def test_a_playback_file_is_on_the_disk_with_its_name_before_its_journal_goes(
    sitting: Sitting, recorded: Any, settings: Any, monkeypatch: Any
) -> None:
    """Without power the journal must not be gone and the file's name not yet there."""
    waited: list[tuple[str, int]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        waited.append((Path(f"/proc/self/fd/{handle}").resolve().name, len(list((settings.CLEAC.data / "spool").iterdir()))))
        real(handle)

    journals = len(list((settings.CLEAC.data / "spool").iterdir()))
    monkeypatch.setattr(os, "fsync", fsync)
    work_off(sitting)

    assert state(sitting) == "READY"
    assert [spooled for name, spooled in waited if name == "objects"] == [journals, journals]
    assert len(list((settings.CLEAC.data / "spool").iterdir())) == journals - 2


def test_a_recording_of_nobody_is_ready_at_once(sitting: Sitting) -> None:
    recording = sitting.start()
    stopped(sitting, recording)
    work_off(sitting)
    assert state(sitting) == "READY"


def test_nothing_is_finished_while_a_stretch_is_open(sitting: Sitting) -> None:
    """The worker closes its last epoch after the stop; only then the jobs are promised."""
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme):
        epoch, _artefact = sitting.open_epoch(recording, "gail", "mic")
    worker = Worker.objects.create(control_address="127.0.0.1:9", seen_at=timezone.now())
    lease = timezone.now() + timedelta(minutes=5)
    Placement.objects.create(call_id=sitting.call.pk, tenant=sitting.cast.acme, worker=worker, fence=1, lease_until=lease)
    stopped(sitting, recording)
    work_off(sitting)
    tasks.sweep()
    assert state(sitting) == "FINALISING"
    with scope.entered(sitting.cast.acme):
        services.close_epoch(epoch=epoch, cut="unused", complete=False, size=0, by=JOB, at=timezone.now())
    work_off(sitting)
    assert state(sitting) == "READY"


def test_a_stretch_whose_worker_died_before_the_first_byte_holds_nothing_up(sitting: Sitting) -> None:
    """Its row and key are there, its journal never was: the sweep closes it, and finishing forgets it."""
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme):
        _epoch, artefact = sitting.open_epoch(recording, "gail", "mic")
    stopped(sitting, recording)
    tasks.sweep()
    work_off(sitting)
    assert state(sitting) == "READY"
    assert not port.exists(artefact.sealed_key)


def test_a_journal_without_end_is_finished_up_to_its_last_whole_record(sitting: Sitting) -> None:
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    epoch = captured(sitting, recording, "gail", "mic", end=False)
    stopped(sitting, recording)
    work_off(sitting)
    assert opened(sitting, epoch).verify() == len(footage.tone(1, SPAN))
    with scope.entered(sitting.cast.acme):
        assert Recording.objects.get().incomplete


def test_what_may_not_be_read_of_a_journal_does_not_get_into_the_file(sitting: Sitting) -> None:
    """Records after a cut that could not be cut off the file are left out."""
    sitting.answer("gail", "record-camera")
    recording = sitting.start()
    epoch = captured(sitting, recording, "gail", "cam", end=False, kept_until_us=2_000_000)
    stopped(sitting, recording)
    work_off(sitting)
    found = opened(sitting, epoch)
    assert 0 < found.verify() < len(footage.pictures(1, SPAN))
    assert found.spans[-1][1] <= 2_000_000


@pytest.mark.parametrize("end", [True, False], ids=["its END names the cut", "it has no END"])
def test_the_last_picture_is_held_up_to_the_cut_and_no_longer(sitting: Sitting, end: bool) -> None:
    """Two pictures, the second 20 ms before the cut: a player that gave it the 0.1 s of the one before would show it after the withdrawal."""
    sitting.answer("gail", "record-camera")
    recording = sitting.start()
    camera = Camera(number=65_500)
    frames = footage.pictures(1, (1000, 1200))
    items = arriving((sent for frame in frames for sent in camera.send(frame.data, frame.time_us)), 0)
    last, cut_us = items[-1].arrival_us, items[-1].arrival_us + 20_000
    with scope.entered(sitting.cast.acme):
        epoch, artefact = sitting.open_epoch(recording, "gail", "cam")
        with storage.store().create(artefact.object_name) as file:
            writer = Writer(file, b"k" * 32, queries.claim(epoch=epoch))
            writer.append(items[0].arrival_us, last - items[0].arrival_us, items)
            if end:
                writer.end("withdrawn", cut_us, writer.packets, writer.last_valid)
        size = services.kept(artefact=artefact).size
        services.close_epoch(epoch=epoch, cut="withdrawn", complete=end, size=size, by=JOB, at=timezone.now())
    stopped(sitting, recording)
    work_off(sitting)
    found = opened(sitting, epoch)
    assert (found.verify(), found.spans) == (2, [[frames[0].time_us, cut_us if end else last]])


def test_an_altered_journal_fails_visibly_and_the_others_are_finished(sitting: Sitting, recorded: Any, settings: Any) -> None:
    """FAILED with a time to try again; the altered journal and its key stay until somebody has looked."""
    _recording, epochs = recorded
    with scope.entered(sitting.cast.acme):
        journal = queries.journal(epochs["mic"])
    path = settings.CLEAC.data / "spool" / f"{journal.object_name}.journal"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(bytes(whole))

    work_off(sitting)

    assert state(sitting) == "FAILED"
    assert opened(sitting, epochs["cam"]).verify() == len(footage.pictures(1, SPAN))
    assert port.exists(journal.sealed_key)

    whole[len(whole) // 2] ^= 1
    path.write_bytes(bytes(whole))
    with scope.entered(sitting.cast.acme):
        Recording.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
    tasks.sweep()
    work_off(sitting)
    assert state(sitting) == "READY"
    assert opened(sitting, epochs["mic"]).verify() == len(footage.tone(1, SPAN))


def test_an_erasure_while_a_file_is_written_wins(sitting: Sitting, recorded: Any) -> None:
    """The file was written when the person was forgotten: the last step throws it away, and the recording is ready without it."""
    recording, _epochs = recorded
    with scope.entered(sitting.cast.acme):
        finishing.advance(recording=recording, by=JOB, at=timezone.now())
    with scope.entered(sitting.cast.acme):
        parts = [finishing.Part(artefact) for artefact in queries.being_written(recording)]
        for part in parts:
            part.write(None)
        forgetting.redact(person=sitting.cast.gail, recording=recording, by=JOB, at=timezone.now())
    with scope.entered(sitting.cast.acme):
        for part in parts:
            part.commit(JOB, timezone.now())
        assert not Artefact.objects.exclude(state=Artefact.State.SHREDDED).exists()
        names = set(Artefact.objects.values_list("object_name", flat=True))
    assert not names & set(storage.store().names())
    work_off(sitting)
    assert state(sitting) == "READY"


def test_finishing_twice_changes_nothing(sitting: Sitting, recorded: Any) -> None:
    recording, epochs = recorded
    work_off(sitting)
    before = opened(sitting, epochs["cam"]).read(0, 1 << 30)
    with scope.entered(sitting.cast.acme):
        who = sitting.who["gail"].pk
    for _again in range(2):
        tasks.finalise(tenant_id=str(sitting.cast.acme.pk), recording_id=str(recording.pk))
        tasks.finish(tenant_id=str(sitting.cast.acme.pk), recording_id=str(recording.pk), participant_id=str(who))
    assert opened(sitting, epochs["cam"]).read(0, 1 << 30) == before
    assert state(sitting) == "READY"


def test_every_step_has_its_entry(sitting: Sitting, recorded: Any) -> None:
    from compliance.models import LogEntry  # noqa: PLC0415 - reason: only this test reads the log

    work_off(sitting)
    with scope.entered(sitting.cast.acme):
        kinds = list(LogEntry.objects.order_by("index").values_list("kind", flat=True))
    assert kinds.count("playback.ready") == 2
    assert kinds[-1] == "recording.ready"
    assert {"recording.requested", "epoch.opened", "epoch.closed", "recording.stopped"} <= set(kinds)


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


def test_no_transaction_is_open_while_a_file_is_written(sitting: Sitting, recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite an open transaction is the one lock of all writers."""
    within: list[bool] = []
    create = storage.FileStore.create_object

    def watched(store: storage.FileStore, name: str) -> Any:
        within.append(connections["default"].in_atomic_block)
        return create(store, name)

    monkeypatch.setattr(storage.FileStore, "create_object", watched)

    work_off(sitting)

    assert (state(sitting), within) == ("READY", [False, False])


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


def test_no_entry_holds_the_log_while_a_file_is_written(sitting: Sitting, recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[int] = []
    create = storage.FileStore.create_object

    def watched(store: storage.FileStore, name: str) -> Any:
        with scope.reading(sitting.cast.acme):
            entered.append(LogEntry.objects.filter(kind="playback.ready").count())
        return create(store, name)

    monkeypatch.setattr(storage.FileStore, "create_object", watched)

    work_off(sitting)

    assert (state(sitting), entered) == ("READY", [0, 0])
