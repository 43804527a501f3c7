"""What is written about recordings: who may ask, once at a time, under which decision, and how it is forgotten."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from django.utils import timezone

from compliance import log
from compliance.models import LogEntry
from compliance.registry import Outcome
from consent import gate
from recordings import personal_data, queries, services, storage
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.errors import Refused
from tenants.keys import port, service
from tenants.models import SealedKey
from tenants.permissions import Actor
from tests.recordings.sittings import Sitting

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
JOB = Actor.job("test")


def kinds() -> list[str]:
    return [kind for kind in LogEntry.objects.order_by("index").values_list("kind", flat=True) if kind.startswith(("recording.", "epoch."))]


def test_the_host_starts_and_stops_and_both_are_in_the_log(sitting: Sitting) -> None:
    recording = sitting.start()
    assert (recording.state, recording.requested_by) == ("REQUESTED", sitting.cast.hana)
    with scope.entered(sitting.cast.acme):
        for _ in range(2):
            recording = services.stop(recording=recording, by=Actor.person(sitting.cast.hana), at=timezone.now())
        assert recording.state == "FINALISING"
        assert recording.stopped_at is not None
        assert kinds() == ["recording.requested", "recording.stopped"]


def test_a_second_start_is_refused_by_name_until_the_first_is_stopped(sitting: Sitting) -> None:
    first = sitting.start()
    with pytest.raises(Refused) as refused:
        sitting.start()
    assert (refused.value.code, refused.value.status) == ("already-recording", 409)
    with scope.entered(sitting.cast.acme):
        services.stop(recording=first, by=JOB, at=timezone.now())
    assert sitting.start().pk != first.pk


@pytest.mark.parametrize(("name", "allowed"), [("ada", True), ("hana", True), ("gail", False), ("dora", False), ("nils", False)])
def test_only_the_host_and_who_has_the_ability_may_start(sitting: Sitting, name: str, allowed: bool) -> None:
    with scope.entered(sitting.cast.acme):
        by = Actor.person(getattr(sitting.cast, name))
        if allowed:
            assert services.start(call=sitting.call, by=by, at=timezone.now()).requested_by_id
        else:
            with pytest.raises(Refused) as refused:
                services.start(call=sitting.call, by=by, at=timezone.now())
            assert refused.value.status == 404


def test_a_call_that_is_over_is_not_recorded(sitting: Sitting) -> None:
    with scope.entered(sitting.cast.acme):
        type(sitting.call).objects.filter(pk=sitting.call.pk).update(state="ENDED", ended_at=timezone.now())
    with pytest.raises(Refused) as refused:
        sitting.start()
    assert refused.value.code == "ended"


def test_an_epoch_has_a_key_that_opens_under_its_own_claim_and_no_other(sitting: Sitting) -> None:
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme):
        epoch, artefact = sitting.open_epoch(recording, "gail", "mic")
        context = queries.claim(epoch=epoch)
        asked = {"sealed_key_id": artefact.sealed_key, "tenant_id": sitting.cast.acme.pk}
        assert service.unseal(**asked, context=context.digest()) == b"k" * 32
        with pytest.raises(Refused):
            service.unseal(**asked, context=replace(context, entry_hash=bytes(32)).digest())
        assert storage.NAME.fullmatch(artefact.object_name)
        entry = LogEntry.objects.get(kind="epoch.opened")
        assert entry.record["facts"]["entry_hash"] == bytes(epoch.entry_hash).hex()
        assert entry.record["facts"]["person"] == str(sitting.cast.gail.pk)
        assert log.verify(sitting.cast.acme) == []


def test_epochs_of_one_track_are_numbered_and_the_recording_captures_with_the_first(sitting: Sitting) -> None:
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme):
        first, _ = sitting.open_epoch(recording, "gail", "mic")
        services.close_epoch(epoch=first, cut="ended", complete=True, size=10, by=JOB, at=timezone.now())
        second, _ = sitting.open_epoch(recording, "gail", "mic")
        assert (first.number, second.number, first.track_id == second.track_id) == (1, 2, True)
        for _ in range(2):
            recording = services.capturing(recording=recording, by=JOB, at=timezone.now())
        assert recording.state == "CAPTURING"
        assert kinds().count("recording.capturing") == 1


def test_no_epoch_after_the_stop_for_a_stranger_or_for_another_source(sitting: Sitting) -> None:
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme):
        permit = gate.permits(sitting.call.pk)[str(sitting.cast.gail.pk)]["mic"]
        asked = {"recording_id": recording.pk, "participant_id": sitting.who["gail"].pk, "source": "mic", "data_key": bytes(32)}
        asked |= {"permit": permit, "fence": 1, "by": JOB, "at": timezone.now()}
        for changed in ({"participant_id": uuid4()}, {"source": "cam"}):
            with pytest.raises(Refused):
                services.open_epoch(**(asked | changed))
        services.stop(recording=recording, by=JOB, at=timezone.now())
        with pytest.raises(Refused) as refused:
            services.open_epoch(**asked)
        assert refused.value.code == "not-recording"
        assert not Epoch.objects.exists()
        assert not SealedKey.objects.exists()


def test_an_epoch_without_its_end_marks_the_recording_incomplete(sitting: Sitting) -> None:
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme):
        epoch, artefact = sitting.open_epoch(recording, "gail", "mic")
        services.close_epoch(epoch=epoch, cut="worker-lost", complete=False, size=7, stored_ms=3000, by=JOB, at=timezone.now())
        assert Recording.objects.get().incomplete
        assert (Artefact.objects.get().state, Artefact.objects.get().size) == ("READY", 7)
        assert LogEntry.objects.get(kind="epoch.closed").record["facts"]["stored_ms"] == 3000


@pytest.mark.parametrize("kept_until_us", [None, 0, 2_000_000])
def test_the_entry_of_a_closed_epoch_says_until_when_it_is_kept_where_the_file_holds_more(sitting: Sitting, kept_until_us: int | None) -> None:
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme):
        epoch, _artefact = sitting.open_epoch(recording, "gail", "mic")
        facts = {"cut": "withdrawn", "complete": True, "size": 7, "stored_ms": 2000}
        services.close_epoch(epoch=epoch, **facts, kept_until_us=kept_until_us, by=JOB, at=timezone.now())
        stated = LogEntry.objects.get(kind="epoch.closed").record["facts"]
    assert ("kept_until_us" in stated, stated.get("kept_until_us")) == (kept_until_us is not None, kept_until_us)
    assert stated["complete"] is (kept_until_us is None)


def test_an_epoch_that_was_never_begun_loses_its_key(sitting: Sitting, django_capture_on_commit_callbacks) -> None:
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with scope.entered(sitting.cast.acme), django_capture_on_commit_callbacks(execute=True):
        epoch, artefact = sitting.open_epoch(recording, "gail", "mic")
        assert port.exists(artefact.sealed_key)
        services.close_epoch(epoch=epoch, cut="unused", complete=False, size=0, by=JOB, at=timezone.now())
    assert not port.exists(artefact.sealed_key)
    with scope.entered(sitting.cast.acme):
        assert Artefact.objects.get().state == "SHREDDED"
        assert not Recording.objects.get().incomplete
        assert personal_data.erase_artefacts(sitting.cast.gail, timezone.now()).rows == 0  # nothing was kept, so nothing was erased


def test_erasing_one_person_takes_their_keys_and_journals_and_nobody_elses(sitting: Sitting, django_capture_on_commit_callbacks) -> None:
    recording, kept = sitting.start(), {}
    for name in ("gail", "gus"):
        sitting.answer(name, "record-voice")
        with scope.entered(sitting.cast.acme):
            epoch, artefact = sitting.open_epoch(recording, name, "mic")
            with storage.store().create(artefact.object_name) as file:
                file.write(b"sealed")
            services.close_epoch(epoch=epoch, cut="ended", complete=True, size=6, by=JOB, at=timezone.now())
            kept[name] = artefact
    with scope.entered(sitting.cast.acme), django_capture_on_commit_callbacks(execute=True):
        assert len(list(personal_data.export_epochs(sitting.cast.gail))) == 1
        line = personal_data.erase_artefacts(sitting.cast.gail, timezone.now())
        assert (line.outcome, line.rows) == (Outcome.DONE, 1)
        assert personal_data.erase_artefacts(sitting.cast.gail, timezone.now()) == line  # whoever asks again is told the same
    assert [port.exists(kept[name].sealed_key) for name in ("gail", "gus")] == [False, True]
    assert [storage.store().quiet_for(kept[name].object_name) is None for name in ("gail", "gus")] == [True, False]


@pytest.mark.parametrize("name", ["", "..", "../" + "a" * 29, "a" * 31, "A" * 32, "a" * 32 + "\n", "/" + "a" * 31])
def test_what_is_no_name_never_becomes_a_path(name: str) -> None:
    for method in (storage.store().create, storage.store().open, storage.store().delete, storage.store().quiet_for):
        with pytest.raises(ValueError, match="name"):
            method(name)


def test_a_journal_is_made_once_and_read_by_its_owner_alone(settings) -> None:
    name = storage.new_name()
    storage.store().create(name).close()
    with pytest.raises(FileExistsError):
        storage.store().create(name)
    assert (settings.CLEAC.data / "spool" / f"{name}.journal").stat().st_mode & 0o777 == 0o600
