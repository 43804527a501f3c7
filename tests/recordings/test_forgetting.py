"""One person is forgotten: nobody plays it from that moment, keys and files go, and everybody else's part stays to the last bit."""

from __future__ import annotations

from hashlib import sha256

import pytest
from django.conf import settings
from django.utils import timezone

from compliance import log
from compliance.models import Hold, LogEntry
from compliance.registry import Outcome
from recordings import finishing, forgetting, personal_data, queries, services, storage, tasks, vault, viewing
from recordings.models import Artefact, Epoch, Viewing
from tenants.errors import Refused
from tenants.keys import port
from tenants.models import SealedKey
from tenants.permissions import Actor
from tests.recordings import stored
from tests.recordings.sittings import Sitting
from tests.recordings.stored import JOB, Stored, acting, promised

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
EVERYTHING = [("gail", "mic"), ("gail", "cam"), ("gus", "mic"), ("gus", "cam"), ("hana", "mic")]


@pytest.fixture
def made(sitting: Sitting) -> Stored:
    return stored.finished(sitting, *EVERYTHING)


def opened(made: Stored) -> Viewing:
    hana = made.cast.hana
    with acting(made.cast):
        return viewing.view(recording=made.recording, by=Actor.person(hana), person=hana, whole=True, purpose="agreed", at=timezone.now())


def served(made: Stored, found: Viewing) -> dict[tuple[str, str], str]:
    """SHA-256 of what each file is served as; those that are refused are left out."""
    hashes = {}
    with acting(made.cast):
        for place, file in made.files.items():
            try:
                reader = vault.reader(viewing=found, artefact=file, at=timezone.now())
            except Refused:
                continue
            hashes[place] = sha256(reader.read(0, reader.size)).hexdigest()
    return hashes


def without(name: str, hashes: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    return {place: value for place, value in hashes.items() if place[0] != name}


def kinds() -> list[str]:
    return [kind for kind in LogEntry.objects.order_by("index").values_list("kind", flat=True) if kind.startswith("person.")]


def test_erasing_one_person_leaves_every_other_object_and_every_served_byte_as_it_was(made: Stored) -> None:
    found = opened(made)
    objects, bytes_before = made.objects(), served(made, found)
    assert set(objects) == set(bytes_before) == set(EVERYTHING)
    rows = {place: file.sealed_key for place, file in made.files.items()}

    redacted = made.forget("gail")

    assert redacted == forgetting.Redacted(2, held=False)
    assert made.objects() == without("gail", objects)
    assert served(made, found) == without("gail", bytes_before)
    assert {place: port.exists(key) for place, key in rows.items()} == {place: place[0] != "gail" for place in EVERYTHING}
    with acting(made.cast):
        assert set(queries.artefacts_of(made.cast.gail).values_list("state", flat=True)) == {"SHREDDED"}
        assert log.verify(made.cast.acme) == []


def test_erasing_twice_is_erasing_once(made: Stored) -> None:
    assert made.forget("gail").shredded == 2
    assert made.forget("gail") == forgetting.Redacted(0, held=False)
    with acting(made.cast):
        assert kinds() == ["person.redacted"]


def test_a_restriction_takes_effect_at_once_and_promises_the_erasure(made: Stored) -> None:
    found = opened(made)
    assert len(served(made, found)) == 5
    with acting(made.cast):
        by = Actor.person(made.cast.gail)
        assert forgetting.restrict(person=made.cast.gail, recording=made.recording, by=by, at=timezone.now()) == 2
    assert set(served(made, found)) == {place for place in EVERYTHING if place[0] != "gail"}
    (promise,) = promised("recordings.redact")
    assert promise.arguments == {"person_id": str(made.cast.gail.pk), "recording_id": str(made.recording.pk)}
    assert len(made.objects()) == 5

    tasks.redact(tenant_id=str(made.cast.acme.pk), row_id=str(promise.pk), **promise.arguments)

    promise.refresh_from_db()
    assert promise.done_at is not None
    with acting(made.cast):
        assert set(queries.artefacts_of(made.cast.gail).values_list("state", flat=True)) == {"SHREDDED"}
        assert kinds() == ["person.restricted", "person.redacted"]


def test_restricting_again_writes_and_promises_nothing(made: Stored) -> None:
    for expected in (2, 0):
        with acting(made.cast):
            assert forgetting.restrict(person=made.cast.gail, recording=made.recording, by=JOB, at=timezone.now()) == expected
    assert len(promised("recordings.redact")) == 1
    with acting(made.cast):
        assert kinds() == ["person.restricted"]


def test_without_a_recording_it_is_all_of_them(sitting: Sitting) -> None:
    first = stored.finished(sitting, ("gail", "mic"))
    second = stored.finished(sitting, ("gail", "mic"), ("gus", "mic"))
    with acting(sitting.cast):
        assert forgetting.restrict(person=sitting.cast.gail, recording=None, by=JOB, at=timezone.now()) == 2
        assert forgetting.redact(person=sitting.cast.gail, recording=None, by=JOB, at=timezone.now()).shredded == 2
    assert (first.objects(), set(second.objects())) == ({}, {("gus", "mic")})
    assert len(promised("recordings.redact")) == 2


def test_another_recording_of_the_same_person_is_left_alone(sitting: Sitting) -> None:
    first, second = stored.finished(sitting, ("gail", "mic")), stored.finished(sitting, ("gail", "mic"))
    before = second.objects()
    assert first.forget("gail").shredded == 1
    assert (first.objects(), second.objects()) == ({}, before)


def test_a_hold_keeps_it_restricted_says_so_once_and_the_sweep_erases_it_when_the_hold_ends(made: Stored) -> None:
    cast, found = made.cast, opened(made)
    objects = made.objects()
    with acting(cast):
        hold = Hold.objects.create(tenant=cast.acme, person_id=cast.gail.pk, reason="claim", placed_at=timezone.now())
    for _ in range(2):
        assert made.forget("gail") == forgetting.Redacted(0, held=True)
    assert made.objects() == objects
    assert set(served(made, found)) == {place for place in EVERYTHING if place[0] != "gail"}
    with acting(cast):
        assert kinds() == ["person.held"]
        line = personal_data.erase_artefacts(cast.gail, timezone.now())
        assert (line.outcome, line.rows, line.ground) == (Outcome.KEPT, 2, "gdpr-17-3-e")
        Hold.objects.filter(pk=hold.pk).update(lifted_at=timezone.now())
    with acting(cast):
        tasks.sweep_tenant(cast.acme)
    assert set(made.objects()) == {place for place in EVERYTHING if place[0] != "gail"}


def test_each_hold_that_keeps_something_leaves_an_entry_of_its_own(made: Stored) -> None:
    """One hold is lifted and another placed before anything was erased: both are in the log, each once. One that only stands beside is not."""
    cast, placed = made.cast, []
    for reason in ("claim", "authority"):
        with acting(cast):
            for standing in placed:
                standing.lifted_at = timezone.now()
                standing.save(update_fields=["lifted_at"])
            placed.append(Hold.objects.create(tenant=cast.acme, person_id=cast.gail.pk, reason=reason, placed_at=timezone.now()))
        for _ in range(2):
            assert made.forget("gail").held
    with acting(cast):
        Hold.objects.create(tenant=cast.acme, person_id=cast.gail.pk, reason="claim", placed_at=timezone.now())
    assert made.forget("gail").held
    with acting(cast):
        told = [entry.record["facts"]["hold"] for entry in LogEntry.objects.filter(kind="person.held").order_by("index")]
    assert told == [str(hold.pk) for hold in placed]


def test_what_is_being_captured_is_left_to_capture_and_swept_when_it_is_closed(sitting: Sitting) -> None:
    cast = sitting.cast
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with acting(cast):
        epoch, artefact = sitting.open_epoch(recording, "gail", "mic")
        storage.store().create(artefact.object_name).close()
        assert forgetting.redact(person=cast.gail, recording=recording, by=JOB, at=timezone.now()).shredded == 0
        assert Artefact.objects.get().state == "WRITING"
        assert kinds() == ["person.restricted"]
        assert queries.to_forget(timezone.now()) == []
        assert personal_data.erase_artefacts(cast.gail, timezone.now()).outcome is Outcome.FAILED
        services.close_epoch(epoch=epoch, cut="stopped", complete=True, size=0, by=JOB, at=timezone.now())
        assert queries.to_forget(timezone.now()) == [(cast.gail, recording)]
    with acting(cast):
        tasks.sweep_tenant(cast.acme)
    with acting(cast):
        assert (Artefact.objects.get().state, queries.to_forget(timezone.now())) == ("SHREDDED", [])
    assert not SealedKey.objects.exists()
    assert storage.store().quiet_for(artefact.object_name) is None


def test_an_erasure_while_the_file_is_being_written_wins(sitting: Sitting) -> None:
    """The finisher has written the whole file, and finds its row SHREDDED before it can commit; Gus' file is finished."""
    made = stored.captured(sitting, ("gail", "mic"), ("gus", "mic"))
    (gails,), (guss,) = stored.ordered(made, "gail"), stored.ordered(made, "gus")
    with acting(sitting.cast):
        gails.write(None)
        guss.write(None)
    files = settings.CLEAC.data / "objects"
    assert gails.written.frames == guss.written.frames > 0
    assert (files / gails.artefact.object_name).exists()

    assert made.forget("gail").shredded == 2
    with acting(sitting.cast):
        gails.commit(JOB, timezone.now())
        guss.commit(JOB, timezone.now())

    with acting(sitting.cast):
        states = dict(Artefact.objects.filter(kind="playback").values_list("pk", "state"))
        assert states == {gails.artefact.pk: "SHREDDED", guss.artefact.pk: "READY"}
        assert LogEntry.objects.filter(kind="playback.ready").count() == 1
        done = finishing.advance(recording=made.recording, by=JOB, at=timezone.now())
        assert done.state == "READY"
        kept = Artefact.objects.exclude(sealed_key=None).values_list("sealed_key", flat=True)
        assert set(SealedKey.objects.values_list("pk", flat=True)) == set(kept)
    assert [(files / part.artefact.object_name).exists() for part in (gails, guss)] == [False, True]
    assert storage.store().quiet_for(made.journals["gail", "mic"].object_name) is None


def test_an_erasure_before_the_first_byte_leaves_the_finisher_nothing_to_open(sitting: Sitting) -> None:
    made = stored.captured(sitting, ("gail", "mic"))
    assert made.forget("gail").shredded == 1
    with acting(sitting.cast), pytest.raises(Refused):
        vault.journal(artefact=made.journals["gail", "mic"])
    with acting(sitting.cast):
        assert finishing.advance(recording=made.recording, by=JOB, at=timezone.now()).state == "READY"
        assert not Artefact.objects.filter(kind="playback").exists()


def test_a_hold_on_a_part_that_was_never_finished_does_not_hold_up_the_others(sitting: Sitting) -> None:
    """Gail's journal stays as it is, restricted, until the hold ends; Gus' part is finished and the recording is ready."""
    made, cast = stored.captured(sitting, ("gail", "mic"), ("gus", "mic")), sitting.cast
    with acting(cast):
        finishing.advance(recording=made.recording, by=JOB, at=timezone.now())
        hold = Hold.objects.create(tenant=cast.acme, person_id=cast.gail.pk, reason="claim", placed_at=timezone.now())
    assert made.forget("gail").held
    for name in ("gail", "gus"):
        with acting(cast):
            finishing.finish(tenant=sitting.cast.acme, recording_id=made.recording.pk, participant_id=sitting.who[name].pk, by=JOB, at=timezone.now())
    with acting(cast):
        assert queries.locked(made.recording.pk).state == "READY"
        assert [queries.epoch_of(file).track.person for file in queries.playable(made.recording)] == [cast.gus]
        assert queries.journal(made.epochs["gail", "mic"]).state == "READY"
        (share,) = viewing.shares(queries.locked(made.recording.pk), only=cast.gail)
        assert (share.held, share.parts[0].mark) == (True, "erasing")
        Hold.objects.filter(pk=hold.pk).update(lifted_at=timezone.now())
    with acting(cast):
        tasks.sweep_tenant(cast.acme)
    with acting(cast):
        assert set(queries.artefacts_of(cast.gail).values_list("state", flat=True)) == {"SHREDDED"}


def test_an_entry_names_ids_and_nothing_that_is_a_person(made: Stored) -> None:
    with acting(made.cast):
        forgetting.restrict(person=made.cast.gail, recording=made.recording, by=Actor.person(made.cast.gail), at=timezone.now())
    made.forget("gail")
    with acting(made.cast):
        for entry in LogEntry.objects.filter(kind__startswith="person."):
            facts = entry.record["facts"]
            assert (facts["person"], facts["recording"]) == (str(made.cast.gail.pk), str(made.recording.pk))
            assert made.cast.gail.name not in str(entry.record)
        assert Epoch.objects.filter(restricted_at__isnull=False).count() == 2
