"""From a stopped recording to playback files: what is written, when the journals go, and who is waited for."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from calls.models import Placement, Worker
from compliance.models import LogEntry
from recordings import finishing, forgetting, queries, services, storage, tasks
from recordings.journal import Writer
from recordings.models import Artefact, Recording
from tenants import scope
from tenants.keys import port
from tests.recordings import footage
from tests.recordings.finishes import JOB, SPAN, captured, opened, state, stopped, work_off
from tests.recordings.packets import Camera, arriving
from tests.recordings.sittings import Sitting

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)


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
    work_off(sitting)
    with scope.entered(sitting.cast.acme):
        kinds = list(LogEntry.objects.order_by("index").values_list("kind", flat=True))
    assert kinds.count("playback.ready") == 2
    assert kinds[-1] == "recording.ready"
    assert {"recording.requested", "epoch.opened", "epoch.closed", "recording.stopped"} <= set(kinds)


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
