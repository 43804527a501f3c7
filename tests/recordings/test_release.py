"""A key is released to a viewing alone, and only while everything that was true when it was opened is still true."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compliance.models import LogEntry
from consent.models import Decision
from recordings import release, services, viewing
from recordings.models import Artefact, Epoch, Viewing
from tenants.errors import Refused
from tenants.models import Membership, Person
from tenants.permissions import Actor
from tests.recordings import stored
from tests.recordings.sittings import Sitting
from tests.recordings.stored import Stored, acting

pytestmark = pytest.mark.django_db(databases=["default", "keys"])


@pytest.fixture
def made(sitting: Sitting) -> Stored:
    return stored.finished(sitting, ("gail", "mic"), ("gus", "mic"))


def opened(made: Stored, name: str = "hana", **changed: Any) -> Viewing:
    """A viewing of everybody's part by staff, or of one's own by a guest."""
    person = getattr(made.cast, name)
    whole = name in ("hana", "ada")
    asked = {"whole": whole, "purpose": "agreed" if whole else "own", "at": timezone.now(), **changed}
    return viewing.view(recording=made.recording, by=Actor.person(person), person=person, **asked)


def refusal(found: Viewing, artefact: Artefact, **later: float) -> tuple[str, int]:
    with pytest.raises(Refused) as refused:
        release.data_key(viewing=found, artefact=artefact, at=timezone.now() + timedelta(**later))
    return refused.value.code, refused.value.status


def test_a_viewing_gets_the_key_of_each_file_in_it_and_each_release_is_counted(made: Stored) -> None:
    with acting(made.cast):
        found = opened(made)
        keys = {release.data_key(viewing=found, artefact=file, at=timezone.now()) for file in made.files.values()}
        assert [len(key) for key in keys] == [32, 32]
        assert Viewing.objects.get().releases == 2


def test_a_viewing_is_over_two_hours_after_the_recording_could_be_played_through(made: Stored) -> None:
    with acting(made.cast):
        found = opened(made)
        assert release.judge(viewing=found, artefact=made.files["gail", "mic"], at=found.expires_at - timedelta(seconds=1))
        assert refusal(found, made.files["gail", "mic"], hours=2, seconds=10) == ("viewing-over", 410)


def test_a_recording_of_three_hours_can_be_played_through_under_one_viewing(made: Stored) -> None:
    made.recording.stopped_at = made.recording.requested_at + timedelta(hours=3)
    with acting(made.cast):
        made.recording.save(update_fields=["stopped_at"])
        found = opened(made)
        assert release.judge(viewing=found, artefact=made.files["gail", "mic"], at=timezone.now() + timedelta(hours=3))
        assert refusal(found, made.files["gail", "mic"], hours=5) == ("viewing-over", 410)


def test_a_guest_who_looks_at_the_own_part_gets_nobody_elses_key_even_with_the_stretch_in_the_viewing(made: Stored) -> None:
    with acting(made.cast):
        found = opened(made, "gail")
        assert release.data_key(viewing=found, artefact=made.files["gail", "mic"], at=timezone.now())
        assert refusal(found, made.files["gus", "mic"]) == ("not-found", 404)
        found.epochs.add(made.epochs["gus", "mic"])
        assert refusal(found, made.files["gus", "mic"]) == ("not-found", 404)


def test_a_restricted_stretch_is_released_to_nobody_and_the_others_still_are(made: Stored) -> None:
    with acting(made.cast):
        found = opened(made)
        Epoch.objects.filter(pk=made.epochs["gail", "mic"].pk).update(restricted_at=timezone.now())
        assert refusal(found, made.files["gail", "mic"]) == ("restricted", 410)
        assert release.data_key(viewing=found, artefact=made.files["gus", "mic"], at=timezone.now())


def test_what_was_shredded_or_is_still_being_written_is_not_there(made: Stored) -> None:
    file = made.files["gail", "mic"]
    with acting(made.cast):
        found = opened(made)
        Artefact.objects.filter(pk=file.pk).update(state="WRITING")
        assert refusal(found, file) == ("not-found", 404)
        Artefact.objects.filter(pk=file.pk).update(state="SHREDDED", sealed_key=None)
        assert refusal(found, file) == ("not-found", 404)


def test_a_withdrawal_after_the_capture_leaves_what_was_kept_playable(made: Stored) -> None:
    made.sitting.answer("gail", "record-voice", granted=False)
    with acting(made.cast):
        assert release.data_key(viewing=opened(made), artefact=made.files["gail", "mic"], at=timezone.now())


@pytest.mark.parametrize("fault", ["entry", "other-hash", "other-person", "no-decision", "a-no"])
def test_a_yes_that_the_log_does_not_prove_releases_nothing(made: Stored, fault: str) -> None:
    """Each fault is one that somebody with the database in hand could make."""
    epoch = made.epochs["gail", "mic"]
    made.sitting.answer("gus", "record-camera", granted=False)
    with acting(made.cast):
        found = opened(made)
        decision = Decision.objects.get(pk=epoch.decision)
        if fault == "entry":
            LogEntry.objects.filter(pk=decision.entry_id).blank()
        else:
            no = Decision.objects.get(granted=False).pk
            others = made.epochs["gus", "mic"].decision
            changes = {
                "other-hash": {"entry_hash": bytes(32)},
                "other-person": {"decision": others},
                "no-decision": {"decision": epoch.pk},
                "a-no": {"decision": no},
            }
            Epoch.objects.filter(pk=epoch.pk).update(**changes[fault])
        assert refusal(found, made.files["gail", "mic"]) == ("no-consent", 403)


def test_a_viewer_who_lost_the_role_or_the_meeting_or_was_erased_gets_nothing_more(made: Stored) -> None:
    file, cast = made.files["gail", "mic"], made.cast
    with acting(cast):
        by_hana, by_ada = opened(made), opened(made, "ada")
        Membership.objects.filter(person=cast.hana).update(role="dpo")
        assert refusal(by_hana, file) == ("not-found", 404)
        Membership.objects.filter(person=cast.hana).update(role="host")
        assert release.data_key(viewing=by_hana, artefact=file, at=timezone.now())
        type(made.sitting.meeting).objects.filter(pk=made.sitting.meeting.pk).update(host=cast.ada)
        assert refusal(by_hana, file) == ("not-found", 404)
        assert release.data_key(viewing=by_ada, artefact=file, at=timezone.now())
        Person.objects.filter(pk=cast.ada.pk).update(erased_at=timezone.now())
        assert refusal(by_ada, file) == ("not-found", 404)


def test_a_journal_is_released_for_finishing_until_it_is_restricted(sitting: Sitting) -> None:
    made = stored.captured(sitting, ("gail", "mic"))
    journal = made.journals["gail", "mic"]
    with acting(sitting.cast):
        assert len(release.journal_key(artefact=journal)) == 32
        Epoch.objects.update(restricted_at=timezone.now())
        with pytest.raises(Refused) as refused:
            release.journal_key(artefact=journal)
    assert refused.value.code == "restricted"


def test_a_viewing_never_gets_the_key_of_a_journal(sitting: Sitting) -> None:
    made = stored.captured(sitting, ("gail", "mic"), ("gus", "mic"))
    with acting(sitting.cast):
        made.finish("gus", "mic", stored.sound(stored.SECOND, 1))
        made.stop("FAILED")
        found = opened(made)
        found.epochs.add(made.epochs["gail", "mic"])
        assert refusal(found, made.journals["gail", "mic"]) == ("not-found", 404)
        assert services.kept(artefact=made.journals["gail", "mic"]).complete
