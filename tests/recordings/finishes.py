"""Recordings to finish: journals as a worker leaves them, the jobs that are promised for them, and the files that come out."""

from __future__ import annotations

from django.utils import timezone

from recordings import playback, queries, services, storage, tasks
from recordings.journal import Writer
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.keys import service
from tenants.models import OutboxRow
from tenants.permissions import Actor
from tests.recordings import footage
from tests.recordings.packets import Camera, Microphone, arriving
from tests.recordings.sittings import Sitting

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
