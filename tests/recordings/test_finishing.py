"""From a stopped recording to playback files: what is written, when the journals go, and what happens when something is in the way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from calls.models import Placement, Worker
from recordings import finishing, forgetting, playback, queries, services, storage, tasks
from recordings.journal import Writer
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.keys import port, service
from tenants.models import OutboxRow
from tenants.permissions import Actor
from tests.recordings import footage
from tests.recordings.conftest import Sitting
from tests.recordings.packets import Camera, Microphone, arriving

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
        assert SPAN[0] * 1000 <= start < end <= SPAN[1] * 1000 + 200_000
    assert not any(port.exists(key) for key in keys)
    assert not set(names) & set(storage.store().names())


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
    assert found.spans[-1][1] <= 2_000_000 + 200_000


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
