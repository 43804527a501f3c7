"""Kept for as long as people agreed and not a day longer: voice may go before the camera, and nobody else's part goes with it."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import TestCase
from django.utils import timezone

from calls import services as meetings
from calls.models import Call, Invitation, Meeting
from compliance import clocks, log, proof, retention, tasks
from compliance.dsr import desk
from compliance.models import Hold, LogEntry
from consent import services as consent
from consent.catalogue import RECORD_VOICE, Wording
from recordings import finishing, queries, storage, vault, viewing
from recordings import tasks as recording_tasks
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.errors import Refused
from tenants.keys import port
from tenants.models import LinkSecret, Person, SealedKey
from tenants.permissions import Actor
from tests.calls import scenes
from tests.recordings import sittings, stored
from tests.recordings.sittings import Sitting
from tests.recordings.stored import JOB, Stored, acting

from .timetable import expired

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
EVERYTHING = [("gail", "mic"), ("gail", "cam"), ("gus", "cam")]
DAY = timedelta(days=1)
YEAR = 365 * DAY


@pytest.fixture
def sitting(cast: Any, tmp_path: Path, settings: Any) -> Sitting:
    """A call that is on, and a store of its own."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    return sittings.made(cast)


@pytest.fixture
def made(sitting: Sitting) -> Stored:
    """Gail's voice under a notice of 10 days, her camera and Gus' under the baseline's 30."""
    with acting(sitting.cast):
        words = {"en": Wording("Your voice", "what", "why", "who", "10 days", 10)}
        consent.publish_notice(purpose=RECORD_VOICE, wordings=words, by=JOB, at=timezone.now())
    return stored.finished(sitting, *EVERYTHING)


def end_of(made: Stored, days: int) -> datetime:
    """The first moment after the last of this many days, as the notice's reader counts them."""
    stopped: date = made.recording.stopped_at.astimezone(clocks.ZONE).date()
    return datetime.combine(stopped + timedelta(days=days + 1), time(), clocks.ZONE)


def run(made: Stored, at: datetime, **options: Any) -> retention.Report:
    with TestCase.captureOnCommitCallbacks(execute=True):
        return retention.run(tenant=made.cast.acme, by=JOB, at=at, **options)


def state(made: Stored) -> str:
    with acting(made.cast):
        return str(queries.locked(made.recording.pk).state)


def entries(made: Stored, *kinds: str) -> list[Any]:
    with acting(made.cast):
        return [entry.record for entry in LogEntry.objects.filter(kind__in=kinds).order_by("index")]


def held(made: Stored, name: str) -> Hold:
    with acting(made.cast):
        hold: Hold = Hold.objects.create(tenant=made.cast.acme, person_id=getattr(made.cast, name).pk, reason="claim", placed_at=timezone.now())
        return hold


def lift(made: Stored, hold: Hold) -> None:
    with acting(made.cast):
        Hold.objects.filter(pk=hold.pk).update(lifted_at=timezone.now())


def served(made: Stored, place: tuple[str, str], at: datetime) -> str:
    """SHA-256 of what the host is served of one file at this time. Raises Refused."""
    hana = made.cast.hana
    with acting(made.cast):
        found = viewing.view(recording=made.recording, by=Actor.person(hana), person=hana, whole=True, purpose="agreed", at=at)
        reader = vault.reader(viewing=found, artefact=made.files[place], at=at)
        return sha256(reader.read(0, reader.size)).hexdigest()


def test_after_ten_days_the_voice_is_gone_and_the_camera_plays_as_before(made: Stored) -> None:
    at, camera = end_of(made, 10), ("gail", "cam")
    objects, played, key = made.objects(), served(made, camera, timezone.now()), made.files["gail", "mic"].sealed_key

    report = run(made, at)

    assert (dict(report.due), report.objects, report.held, report.failed) == ({"record-voice": 1}, 1, 0, 0)
    assert made.objects() == {place: value for place, value in objects.items() if place != ("gail", "mic")}
    assert not port.exists(key)
    assert served(made, camera, at) == played
    with pytest.raises(Refused):
        served(made, ("gail", "mic"), at)
    (said,) = entries(made, "recording.expired")
    assert said["facts"] == {"person": str(made.cast.gail.pk), "objects": 1}
    assert said["on"]["id"] == str(made.recording.pk)
    assert state(made) == "READY"


def test_a_second_before_its_last_day_is_over_nothing_is_due(made: Stored) -> None:
    objects = made.objects()
    report = run(made, end_of(made, 10) - timedelta(seconds=1))
    assert (dict(report.due), report.objects) == ({}, 0)
    assert made.objects() == objects


def test_what_a_page_calls_the_last_day_is_the_day_before_it_goes(made: Stored) -> None:
    with acting(made.cast):
        (share,) = viewing.shares(made.recording, only=made.cast.gail)
    untils = {part.source: part.until for part in share.parts}
    assert untils == {"mic": end_of(made, 10).date() - DAY, "cam": end_of(made, 30).date() - DAY}
    assert share.until == untils["mic"]
    assert clocks.ZONE == queries.ZONE


def test_it_is_the_days_of_the_words_that_were_agreed_to_and_not_of_those_in_force(made: Stored) -> None:
    with acting(made.cast):
        words = {"en": Wording("Your voice", "what", "why", "who", "1 day", 1)}
        consent.publish_notice(purpose=RECORD_VOICE, wordings=words, by=JOB, at=timezone.now())
    assert not run(made, end_of(made, 10) - DAY).due
    assert run(made, end_of(made, 10)).due == {"record-voice": 1}


def test_a_dry_run_counts_and_changes_nothing(made: Stored) -> None:
    at, objects = end_of(made, 30), made.objects()
    with acting(made.cast):
        size = log.standing(made.cast.acme).size
    report = run(made, at, dry=True)
    assert (dict(report.due), report.objects) == ({"record-voice": 1, "record-camera": 2}, 0)
    with acting(made.cast):
        assert log.standing(made.cast.acme).size == size
        assert not Epoch.objects.filter(restricted_at__isnull=False).exists()
    assert made.objects() == objects


def test_when_nothing_is_left_the_recording_is_purged_and_the_log_and_the_proof_are_clean(made: Stored) -> None:
    report = run(made, end_of(made, 30))

    assert (report.objects, report.recordings, made.objects(), state(made)) == (3, 1, {}, "PURGED")
    assert len(entries(made, "recording.expired")) == 2
    (said,) = entries(made, "recording.purged")
    assert said["on"]["id"] == str(made.recording.pk)
    assert not SealedKey.objects.filter(holder=queries.HOLDER).exists()
    with acting(made.cast):
        assert log.verify(made.cast.acme) == []
    found = proof.prove([made.cast.acme], everybody=[made.cast.acme, made.cast.globex])
    assert found.clean
    hana, at = made.cast.hana, timezone.now()
    with acting(made.cast):
        recording = queries.locked(made.recording.pk)
        with pytest.raises(Refused) as refused:
            viewing.view(recording=recording, by=Actor.person(hana), person=hana, whole=True, purpose="agreed", at=at)
    assert refused.value.code == "nothing-kept"


def test_a_second_run_finds_nothing_and_says_nothing(made: Stored) -> None:
    at = end_of(made, 30)
    run(made, at)
    with acting(made.cast):
        size = log.standing(made.cast.acme).size
    again = run(made, at + DAY)
    assert (dict(again.due), again.objects, again.recordings) == ({}, 0, 0)
    with acting(made.cast):
        assert log.standing(made.cast.acme).size == size


def test_a_hold_keeps_it_unplayable_and_its_end_lets_it_go(made: Stored) -> None:
    at, hold, objects = end_of(made, 10), held(made, "gail"), made.objects()

    report = run(made, at)

    assert (report.held, report.objects, made.objects()) == (1, 0, objects)
    with pytest.raises(Refused):
        served(made, ("gail", "mic"), at)
    run(made, at)
    assert len(entries(made, "person.held")) == 1
    lift(made, hold)
    assert (run(made, at).objects, set(made.objects())) == (1, {("gail", "cam"), ("gus", "cam")})


def test_the_sweep_that_comes_back_to_a_held_voice_leaves_the_camera_alone(made: Stored, time_machine: Any) -> None:
    at, hold = end_of(made, 10), held(made, "gail")
    run(made, at)
    lift(made, hold)
    time_machine.move_to(at, tick=True)
    with acting(made.cast):
        recording_tasks.sweep_tenant(made.cast.acme)
    assert set(made.objects()) == {("gail", "cam"), ("gus", "cam")}
    assert len(entries(made, "recording.expired")) == 1
    with acting(made.cast):
        assert list(Epoch.objects.filter(restricted_at__isnull=False)) == [made.epochs["gail", "mic"]]


def test_a_hold_on_one_person_does_not_keep_what_is_of_another(made: Stored) -> None:
    held(made, "gail")
    report = run(made, end_of(made, 30))
    assert (report.held, report.objects, report.recordings) == (1, 1, 0)
    assert set(made.objects()) == {("gail", "mic"), ("gail", "cam")}
    assert state(made) == "READY"


def test_what_a_crash_after_the_commit_leaves_is_swept(made: Stored) -> None:
    """The rows are committed, and the process dies before key and object are destroyed."""
    at, file, key = end_of(made, 10), made.files["gail", "mic"], made.files["gail", "mic"].sealed_key
    with TestCase.captureOnCommitCallbacks(execute=False):
        retention.run(tenant=made.cast.acme, by=JOB, at=at)
    assert ("gail", "mic") in made.objects()
    assert port.exists(key)
    SealedKey.objects.filter(pk=key).update(created_at=timezone.now() - DAY)
    with acting(made.cast):
        recording_tasks.sweep_tenant(made.cast.acme)
    assert file.object_name not in set(storage.store().names())
    assert not port.exists(key)


def test_a_part_that_cannot_be_destroyed_keeps_no_other_from_going(made: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    at, shred, gail = end_of(made, 30), vault.shred, made.cast.gail

    def broken(artefacts: list[Artefact]) -> None:
        if any(queries.epoch_of(artefact).track.person_id == gail.pk for artefact in artefacts):
            raise OSError("the database went away")
        shred(artefacts)

    with monkeypatch.context() as patched:
        patched.setattr(vault, "shred", broken)
        report = run(made, at)
    assert (report.failed, report.objects, set(made.objects())) == (1, 1, {("gail", "mic"), ("gail", "cam")})
    report = run(made, at)
    assert (report.failed, report.objects, report.recordings, made.objects()) == (0, 2, 1, {})


def test_a_key_in_use_is_dropped_from_memory(made: Stored) -> None:
    """Somebody is playing at that moment: the key that the process still has goes too."""
    at, place = end_of(made, 10), ("gail", "mic")
    served(made, place, at)
    assert len(vault.keys) >= 1
    before = len(vault.keys)
    run(made, at)
    assert len(vault.keys) == before - 1


def test_a_journal_that_was_never_finished_goes_with_the_days_of_its_recording(sitting: Sitting) -> None:
    made = stored.captured(sitting, ("gus", "cam"))
    with acting(sitting.cast):
        Recording.objects.filter(pk=made.recording.pk).update(state="FAILED", retry_at=timezone.now() + 90 * DAY)
    assert not run(made, end_of(made, 30) - timedelta(seconds=1)).due
    report = run(made, end_of(made, 30))
    assert (report.objects, report.recordings, state(made)) == (1, 1, "PURGED")
    assert made.journals["gus", "cam"].object_name not in set(storage.store().names())
    with acting(sitting.cast):
        assert finishing.advance(recording=made.recording, by=JOB, at=timezone.now()).state == "PURGED"


def test_a_recording_that_is_not_stopped_is_never_due(sitting: Sitting) -> None:
    sitting.answer("gail", RECORD_VOICE)
    recording = sitting.start()
    with acting(sitting.cast):
        sitting.open_epoch(recording, "gail", "mic")
        assert retention.due(timezone.now() + 400 * DAY) == []


def test_another_tenants_recordings_are_not_touched(made: Stored) -> None:
    objects = made.objects()
    with TestCase.captureOnCommitCallbacks(execute=True):
        report = retention.run(tenant=made.cast.globex, by=JOB, at=end_of(made, 30))
    assert (dict(report.due), made.objects()) == ({}, objects)
    with scope.entered(made.cast.globex):
        assert not LogEntry.objects.filter(kind__startswith="recording.").exists()


def test_the_job_of_the_timetable_sees_to_every_tenant(made: Stored, time_machine: Any) -> None:
    from cleac_site.celery import app  # noqa: PLC0415 - reason: only this test reads the timetable

    assert "compliance.purge" in {entry["task"] for entry in app.conf.beat_schedule.values()}
    time_machine.move_to(end_of(made, 30), tick=True)
    with TestCase.captureOnCommitCallbacks(execute=True):
        tasks.purge()
    assert (made.objects(), state(made)) == ({}, "PURGED")


def test_an_invitation_that_nobody_used_goes_thirty_days_after_its_end_with_its_links(cast: Any) -> None:
    with acting(cast):
        meeting = scenes.meeting(cast)
        scenes.admitted(meeting, cast.gail)
        ends = LinkSecret.objects.get(person=cast.gus).expires_at
    for at, expected in ((ends + 30 * DAY - timedelta(seconds=1), 0), (ends + 30 * DAY + timedelta(seconds=1), 1)):
        with TestCase.captureOnCommitCallbacks(execute=True):
            report = retention.run(tenant=cast.acme, by=JOB, at=at)
        assert (report.due["invitation"], report.invitations) == (expected, expected)
    with acting(cast):
        assert [one.person for one in Invitation.objects.filter(meeting=meeting)] == [cast.gail]
        assert LogEntry.objects.filter(kind="invitation.expired").count() == 1
    assert not LinkSecret.objects.filter(person=cast.gus).exists()
    assert LinkSecret.objects.filter(person=cast.gail).exists()


def test_an_invitation_of_a_meeting_that_was_called_off_ends_with_it_and_a_hold_keeps_it(cast: Any) -> None:
    now = timezone.now()
    with acting(cast):
        meeting = scenes.meeting(cast, guests=("gus",))
        meetings.cancel(meeting=meeting, by=Actor.person(cast.hana), at=now)
        Invitation.objects.filter(meeting=meeting).update(created_at=now - DAY)
        hold = Hold.objects.create(tenant=cast.acme, person_id=cast.gus.pk, reason="claim", placed_at=now)
    later = now + 30 * DAY + timedelta(seconds=1)
    kept = retention.run(tenant=cast.acme, by=JOB, at=later)
    with acting(cast), transaction.atomic():
        Hold.objects.filter(pk=hold.pk).update(lifted_at=timezone.now())
    gone = retention.run(tenant=cast.acme, by=JOB, at=later)
    assert ((kept.held, kept.invitations), (gone.held, gone.invitations)) == ((1, 0), (0, 1))


def met_long_ago(cast: Any) -> tuple[Any, datetime]:
    """Gail was in a meeting, Gus only invited to it; it is over. And the first moment from which nothing of it is needed any more."""
    with acting(cast):
        meeting = scenes.meeting(cast)
        scenes.admitted(meeting, cast.hana)
        scenes.admitted(meeting, cast.gail)
        meetings.end(call=scenes.call_of(meeting), by=Actor.person(cast.hana), at=timezone.now())
    return meeting, timezone.now() + YEAR + timedelta(seconds=1)


def known(cast: Any, *names: str) -> dict[str, str]:
    """What the rows of these people say of who they are."""
    with acting(cast):
        found = {name: Person.objects.get(pk=getattr(cast, name).pk) for name in names}
    return {name: f"{one.name} {one.email}".strip() for name, one in found.items()}


def test_a_guest_of_whom_nothing_is_left_is_forgotten_a_year_after_the_last_meeting_with_links_and_invitation(cast: Any) -> None:
    meeting, over = met_long_ago(cast)
    with acting(cast):
        scenes.link(cast, scenes.meeting(cast, guests=()), cast.gus)
    before = known(cast, "gail", "gus", "hana")

    with acting(cast):
        shortly = Call.objects.get(meeting=meeting).ended_at + YEAR - timedelta(milliseconds=1)
        assert cast.gail.pk not in {unit.person.pk for unit in retention.due(shortly)}
    early = expired(cast, cast.gus.created_at + YEAR - timedelta(seconds=1))
    assert (early.people, known(cast, "gail", "gus", "hana")) == (0, before)
    assert LinkSecret.objects.filter(person=cast.gail).exists()
    dry = retention.run(tenant=cast.acme, by=JOB, at=over, dry=True)
    report = expired(cast, over)

    assert {name: dry.due[name] for name in ("invitation", "person")} == {"invitation": 1, "person": 2}
    assert (report.invitations, report.people, report.failed) == (1, 2, 0)
    assert known(cast, "gail", "gus", "hana") == before | {"gail": "", "gus": ""}
    assert not LinkSecret.objects.filter(person__in=[cast.gail, cast.gus]).exists()
    with acting(cast):
        assert not Invitation.objects.filter(meeting=meeting).exists()
        assert {one.on_id for one in log.of_kinds(["person.expired"])} == {str(cast.gail.pk), str(cast.gus.pk)}
        assert log.verify(cast.acme) == []
    again = expired(cast, over + YEAR)
    assert (dict(again.due), again.people) == ({}, 0)


@pytest.mark.parametrize("needed", ["invitation ahead", "hold", "request", "call"])
def test_a_guest_whom_something_still_concerns_keeps_the_name_and_the_way_in(cast: Any, needed: str) -> None:
    _meeting, over = met_long_ago(cast)
    before = known(cast, "gail")
    with acting(cast):
        if needed == "invitation ahead":
            ahead = scenes.meeting(cast, starts_at=over + DAY, guests=("gail",))
        elif needed == "hold":
            hold = Hold.objects.create(tenant=cast.acme, person_id=cast.gail.pk, reason="claim", placed_at=timezone.now())
        elif needed == "request":
            asked = {"person": cast.gail, "kind": "access", "channel": "link", "by": Actor.person(cast.gail)}
            request = desk.open_request(**asked, at=over - DAY)
        else:
            scenes.admitted(scenes.meeting(cast, guests=("gail",)), cast.gail)

    report = expired(cast, over)

    assert (known(cast, "gail"), report.held) == (before, 2 if needed == "hold" else 0)
    assert LinkSecret.objects.filter(person=cast.gail).exists() or needed == "invitation ahead"
    with acting(cast):
        if needed == "invitation ahead":
            meetings.cancel(meeting=ahead, by=Actor.person(cast.hana), at=over)
        elif needed == "hold":
            Hold.objects.filter(pk=hold.pk).update(lifted_at=timezone.now())
        elif needed == "request":
            desk.carry_out(request=request, by=JOB, at=over)
            desk.carry_out(request=request, by=JOB, at=over + timedelta(days=7))
        else:
            meetings.end(call=scenes.call_of(Meeting.objects.get(state="OPEN")), by=Actor.person(cast.hana), at=over)
    later = over + YEAR + timedelta(seconds=1)
    assert (expired(cast, later).people >= 1, known(cast, "gail")) == (True, {"gail": ""})


def test_a_guest_of_whom_a_recording_is_left_keeps_the_name_until_it_is_purged(made: Stored) -> None:
    """The media outlived the year, because a hold stood on the person."""
    later = timezone.now() + YEAR + 40 * DAY
    with acting(made.cast):
        meetings.end(call=scenes.call_of(made.sitting.meeting), by=Actor.person(made.cast.hana), at=timezone.now())
    hold = held(made, "gail")
    first = run(made, later)
    assert (known(made.cast, "gail", "gus")["gail"] != "", set(made.objects()), first.held) == (True, {("gail", "mic"), ("gail", "cam")}, 1)
    lift(made, hold)
    report = run(made, later)
    told = known(made.cast, "gail", "gus")
    assert (report.objects, told["gail"] != "", told["gus"]) == (2, True, "")
    run(made, later)
    assert known(made.cast, "gail") == {"gail": ""}


def test_a_tenant_may_keep_guests_for_less(cast: Any) -> None:
    _meeting, over = met_long_ago(cast)
    with acting(cast):
        retention.shorten(kind="account", days=90, in_force_from=over - YEAR + DAY, by=JOB, at=timezone.now())

    assert expired(cast, over - YEAR + 90 * DAY - timedelta(minutes=1)).people == 0
    assert expired(cast, over - YEAR + 90 * DAY).people >= 1
    assert known(cast, "gail") == {"gail": ""}
