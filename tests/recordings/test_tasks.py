"""The sweep: calls that ended, workers that died, keys and objects without an owner."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from calls.models import Call, Placement, Worker
from recordings import queries, storage, tasks
from recordings.journal import Item, Writer
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.keys import port
from tenants.models import SealedKey
from tests.recordings import stored
from tests.recordings.sittings import Sitting

pytestmark = pytest.mark.django_db(databases=["default", "keys"])


def began(sitting: Sitting, *, lease: timedelta, end: bool = False) -> Artefact:
    """Gail's voice is captured by a worker whose lease ends at now + `lease`: one whole record, and a torn one behind it."""
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    worker = Worker.objects.create(control_address="127.0.0.1:9", seen_at=timezone.now())
    Placement.objects.create(call_id=sitting.call.pk, tenant=sitting.cast.acme, worker=worker, fence=1, lease_until=timezone.now() + lease)
    with scope.entered(sitting.cast.acme):
        epoch, artefact = sitting.open_epoch(recording, "gail", "mic")
        with storage.store().create(artefact.object_name) as file:
            writer = Writer(file, b"k" * 32, queries.claim(epoch=epoch))
            counter = writer.append(0, 900_000, [Item(0, b"P", b"packet")])
            if end:
                writer.end("stopped", 900_000, 1, counter)
            else:
                file.write(b"torn")
    return artefact


def age(artefact: Artefact, settings) -> None:
    """The journal was last written long ago."""
    then = time.time() - 60
    os.utime(settings.CLEAC.data / "spool" / f"{artefact.object_name}.journal", (then, then))


def closed(sitting: Sitting) -> Epoch:
    with scope.entered(sitting.cast.acme):
        found: Epoch = Epoch.objects.get()
        return found


def test_what_a_lost_worker_left_open_is_closed_at_the_last_whole_record(sitting: Sitting, settings) -> None:
    artefact = began(sitting, lease=timedelta(minutes=-2))
    age(artefact, settings)
    for _ in range(2):
        tasks.sweep()
    epoch = closed(sitting)
    assert (epoch.cut, epoch.complete) == ("worker-lost", False)
    with scope.entered(sitting.cast.acme):
        assert Recording.objects.get().incomplete
        assert Artefact.objects.get().state == "READY"
    assert port.exists(artefact.sealed_key)


def test_a_journal_whose_end_was_sealed_is_complete_although_its_worker_is_gone(sitting: Sitting, settings) -> None:
    age(began(sitting, lease=timedelta(minutes=-2), end=True), settings)
    tasks.sweep()
    assert closed(sitting).complete


def test_a_quiet_journal_whose_call_somebody_else_has_only_just_taken_is_left_to_whoever_wrote_it(sitting: Sitting, settings) -> None:
    """Gail is muted, so her journal is quiet; its worker has lost the call a moment ago and may be about to seal an end."""
    age(began(sitting, lease=timedelta(minutes=2)), settings)
    Placement.objects.update(fence=2, placed_at=timezone.now() - timedelta(seconds=20))
    tasks.sweep()
    assert closed(sitting).closed_at is None

    Placement.objects.update(placed_at=timezone.now() - timedelta(seconds=31))
    tasks.sweep()
    assert closed(sitting).cut == "worker-lost"


def test_a_living_worker_and_a_journal_that_is_being_written_are_left_alone(sitting: Sitting, settings) -> None:
    artefact = began(sitting, lease=timedelta(seconds=10))
    age(artefact, settings)
    tasks.sweep()
    assert closed(sitting).closed_at is None
    Placement.objects.update(lease_until=timezone.now() - timedelta(minutes=2))
    os.utime(settings.CLEAC.data / "spool" / f"{artefact.object_name}.journal")
    tasks.sweep()
    assert closed(sitting).closed_at is None


def test_a_recording_ends_with_its_call(sitting: Sitting) -> None:
    sitting.start()
    with scope.entered(sitting.cast.acme):
        Call.objects.filter(pk=sitting.call.pk).update(state="ENDED", ended_at=timezone.now())
    tasks.sweep()
    with scope.entered(sitting.cast.acme):
        recording = Recording.objects.get()
    assert recording.stopped_at is not None
    assert recording.state == "READY"  # of nobody anything was kept, so there is nothing to finish


def test_a_recording_is_called_deleted_as_soon_as_the_last_part_of_it_is_erased_and_not_before(sitting: Sitting) -> None:
    made = stored.finished(sitting, ("gail", "mic"), ("hana", "mic"))
    states = []
    for name in ("gail", "hana"):
        made.forget(name)
        tasks.sweep()
        with scope.entered(sitting.cast.acme):
            states.append(Recording.objects.get().state)

    assert states == ["READY", "PURGED"]


def test_a_key_without_an_object_and_an_object_without_a_key_are_forgotten(sitting: Sitting) -> None:
    named = began(sitting, lease=timedelta(seconds=10))
    orphan = port.seal(tenant_id=sitting.cast.acme.pk, key=b"o" * 32, context=b"none", holder="artefact")
    foreign = port.seal(tenant_id=sitting.cast.acme.pk, key=b"n" * 32, context=b"none", holder="another")
    SealedKey.objects.update(created_at=timezone.now() - timedelta(hours=1))
    fresh = port.seal(tenant_id=sitting.cast.acme.pk, key=b"f" * 32, context=b"none", holder="artefact")
    tasks.sweep()
    assert [port.exists(key) for key in (orphan, foreign, fresh, named.sealed_key)] == [False, True, True, True]
    with scope.entered(sitting.cast.acme):
        Artefact.objects.update(state="SHREDDED", sealed_key=None)
    tasks.sweep()
    assert storage.store().quiet_for(named.object_name) is None
    assert not port.exists(named.sealed_key)
