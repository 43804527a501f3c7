"""Figures counted against rows that the services made: several people and purposes, changes of mind, another tenant, the border of a month."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from compliance import log
from compliance.dsr import desk
from compliance.models import Request
from compliance.reports import figures, making
from consent import services as consent
from recordings import forgetting, queries, viewing
from recordings.models import Viewing
from tenants import scope
from tenants.permissions import Actor
from tests.recordings import stored
from tests.recordings.sittings import Sitting, made
from tests.recordings.stored import Stored

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
JOB = Actor.job("test")


@pytest.fixture
def sitting(cast: Any, tmp_path: Path, settings: Any) -> Sitting:
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    return made(cast)


@pytest.fixture
def house(sitting: Sitting) -> Stored:
    """Gail's voice and camera and Gus' voice, two seconds of each."""
    return stored.finished(sitting, ("gail", "mic"), ("gail", "cam"), ("gus", "mic"))


def days(now: datetime | None = None) -> tuple[date, date]:
    """Yesterday to tomorrow: a test that runs over midnight finds the same."""
    today = (now or timezone.now()).date()
    return today - timedelta(days=1), today + timedelta(days=1)


def rates(tenant: Any) -> dict[str, figures.Rate]:
    with scope.entered(tenant):
        return {rate.purpose_key: rate for rate in figures.consent_rates(*days())}


def counted(rate: figures.Rate) -> tuple[int, int, int, int, int]:
    return rate.asked, rate.agreed, rate.declined, rate.undecided, rate.withdrawn


def test_each_purpose_counts_the_last_answer_of_everybody_who_was_asked(sitting: Sitting) -> None:
    sitting.answer("gail", "record-voice", "record-camera")
    sitting.answer("gus", "record-voice", granted=False)
    sitting.answer("hana", "record-voice")
    with scope.entered(sitting.cast.acme):
        consent.serve(person=sitting.cast.gus, call_id=sitting.call.pk, purposes=["record-screen"], at=timezone.now())

    found = rates(sitting.cast.acme)

    assert counted(found["record-voice"]) == (3, 2, 1, 0, 0)
    assert counted(found["record-camera"]) == (1, 1, 0, 0, 0)
    assert counted(found["record-screen"]) == (1, 0, 0, 1, 0)
    assert [found[key].percent for key in ("record-voice", "record-camera", "record-screen")] == [67, 100, 0]


def test_a_yes_taken_back_is_declined_and_counts_as_taken_back(sitting: Sitting) -> None:
    sitting.answer("gail", "record-voice")
    sitting.answer("gail", "record-voice", granted=False)

    assert counted(rates(sitting.cast.acme)["record-voice"]) == (1, 0, 1, 0, 1)


def test_a_yes_given_again_is_agreed_and_was_still_taken_back_once(sitting: Sitting) -> None:
    for granted in (True, False, True):
        sitting.answer("gail", "record-voice", granted=granted)

    assert counted(rates(sitting.cast.acme)["record-voice"]) == (1, 1, 0, 0, 1)


def test_a_yes_that_the_log_does_not_prove_is_no_answer(sitting: Sitting) -> None:
    sitting.answer("gail", "record-voice")
    with scope.entered(sitting.cast.acme), connection.cursor() as cursor:
        cursor.execute("UPDATE consent_decision SET method = 'room'")
        assert cursor.rowcount == 1

    assert counted(rates(sitting.cast.acme)["record-voice"]) == (1, 0, 0, 1, 0)


def test_another_tenant_counts_nothing_of_it(house: Stored) -> None:
    with scope.entered(house.cast.globex):
        found = figures.monthly(*days())

    assert {rate.asked for rate in found.decisions} <= {0}
    assert (found.meetings, found.people_met, found.people_asked, found.recordings, found.erasures) == (0, 0, 0, 0, 0)
    assert set(found.stored_seconds.values()) == {0.0}
    assert set(found.looks.values()) == {0}


@pytest.mark.parametrize(
    ("shown_at", "asked"),
    [
        (datetime(2026, 2, 28, 21, 59, 59, tzinfo=UTC), 0),
        (datetime(2026, 2, 28, 22, 0, 0, tzinfo=UTC), 1),
        (datetime(2026, 3, 31, 20, 59, 59, tzinfo=UTC), 1),
        (datetime(2026, 3, 31, 21, 0, 0, tzinfo=UTC), 0),
    ],
)
def test_a_month_begins_and_ends_at_midnight_in_the_zone_of_the_house(sitting: Sitting, settings: Any, shown_at: datetime, asked: int) -> None:
    """March in Helsinki begins in winter time and ends in summer time."""
    settings.TIME_ZONE = "Europe/Helsinki"
    with scope.entered(sitting.cast.acme):
        consent.serve(person=sitting.cast.gail, call_id=sitting.call.pk, purposes=["record-voice"], at=shown_at)
        found = figures.consent_rates(date(2026, 3, 1), date(2026, 3, 31))

    assert sum(rate.asked for rate in found) == asked


def test_an_answer_after_the_end_of_the_month_is_not_in_its_figures(sitting: Sitting) -> None:
    shown_at, today = timezone.now() - timedelta(days=40), timezone.now()
    with scope.entered(sitting.cast.acme):
        person, by = sitting.cast.gail, Actor.person(sitting.cast.gail)
        consent.serve(person=person, call_id=sitting.call.pk, purposes=["record-voice"], at=shown_at)
        consent.decide(call_id=sitting.call.pk, person=person, purpose="record-voice", granted=True, by=by, at=today)
        before = figures.consent_rates(shown_at.date(), today.date() - timedelta(days=5))
        whole = figures.consent_rates(shown_at.date(), today.date() + timedelta(days=1))

    assert [counted(rate) for rate in before if rate.asked] == [(1, 0, 0, 1, 0)]
    assert [counted(rate) for rate in whole if rate.asked] == [(1, 1, 0, 0, 0)]


def test_reversed_days_are_refused(sitting: Sitting) -> None:
    with scope.entered(sitting.cast.acme), pytest.raises(ValueError, match="before the first"):
        figures.monthly(date(2026, 3, 2), date(2026, 3, 1))


def test_meetings_people_recordings_and_what_is_kept_are_counted(house: Stored) -> None:
    with scope.entered(house.cast.acme):
        found = figures.monthly(*days())

    assert (found.meetings, found.people_met, found.people_asked, found.recordings) == (1, 3, 2, 1)
    assert found.stored_seconds == {"mic": pytest.approx(4.0, abs=0.2), "cam": pytest.approx(2.0, abs=0.2), "screen": 0.0, "screen-audio": 0.0}
    assert (found.log.verified, found.undeclared_fields, found.holds) == (True, 0, 0)


def test_a_look_counts_by_its_purpose_and_an_erasure_is_counted_and_takes_its_seconds_away(house: Stored) -> None:
    with scope.entered(house.cast.acme):
        look = {"recording": house.recording, "by": Actor.person(house.cast.hana), "person": house.cast.hana, "whole": True}
        viewing.view(**look, purpose=Viewing.Purpose.DISPUTE, at=timezone.now())
    house.forget("gail")

    with scope.entered(house.cast.acme):
        found = figures.monthly(*days())

    assert found.looks == {"agreed": 0, "follow-up": 0, "dispute": 1, "own": 0}
    assert found.erasures == 1
    assert (found.stored_seconds["cam"], found.stored_seconds["mic"]) == (0.0, pytest.approx(2.0, abs=0.1))


@pytest.mark.parametrize("at_once", [True, False])
def test_an_erasure_is_counted_by_parts_whichever_job_comes_to_it_first(sitting: Sitting, at_once: bool) -> None:
    """Gail is in two recordings. Her request erases all of them in one step, or the job of each recording was faster; Gus' part stays."""
    made_of = [stored.finished(sitting, ("gail", "mic"), ("gus", "mic")), stored.finished(sitting, ("gail", "mic"), ("gail", "cam"))]
    everything = {"person": sitting.cast.gail, "by": JOB, "at": timezone.now()}
    with stored.acting(sitting.cast):
        for one in made_of:
            if not at_once:
                forgetting.redact(**everything, recording=one.recording)
        forgetting.redact(**everything, recording=None)
        found = figures.monthly(*days())

    assert (found.erasures, found.expired) == (2, 0)


def test_what_went_with_its_time_is_counted_apart_and_once_for_each_part(sitting: Sitting) -> None:
    """Gail's voice and camera go in two steps, as when they have different days: it is one part. Gus asked for erasure before."""
    made_of, later = stored.finished(sitting, ("gail", "mic"), ("gail", "cam"), ("gus", "mic")), timezone.now() + timedelta(days=31)
    made_of.forget("gus")
    for source in ("mic", "cam"):
        with stored.acting(sitting.cast), pytest.MonkeyPatch.context() as patched:
            patched.setattr(queries, "over", lambda epochs, at, source=source: [one for one in epochs if one.track.source == source])
            forgetting.expire(person=sitting.cast.gail, recording=made_of.recording, by=JOB, at=later)
    with scope.entered(sitting.cast.acme):
        earlier, found = figures.monthly(*days()), figures.monthly(*days(later))
        assert log.of_kinds(["recording.expired"]).count() == 2

    assert (earlier.erasures, earlier.expired) == (1, 0)
    assert (found.erasures, found.expired) == (0, 1)


def test_requests_are_counted_by_their_answer_and_their_last_day(sitting: Sitting) -> None:
    now = timezone.now()
    asked_at, today = now - timedelta(days=40), now.date()
    opened = {"channel": Request.Channel.DESK, "by": Actor.person(sitting.cast.hana)}
    everybody = sitting.cast.gail, sitting.cast.gus, sitting.cast.hana
    with scope.entered(sitting.cast.acme):
        copies = [desk.open_request(person=person, kind="access", at=asked_at, **opened) for person in everybody]
        in_time = desk.carry_out(request=copies[0], by=JOB, at=asked_at + timedelta(days=1))
        for late in copies[1:]:
            desk.carry_out(request=late, by=JOB, at=late.due_at + timedelta(days=1))
        for person in everybody:
            desk.open_request(person=person, kind="erasure", at=asked_at, **opened)
        before = figures.monthly(today - timedelta(days=41), today + timedelta(days=1)).requests

        desk.carry_out(request=in_time, by=JOB, at=in_time.expires_at)
        desk.open_request(person=sitting.cast.gail, kind="access", at=now, **opened)
        after = figures.monthly(today - timedelta(days=41), today + timedelta(days=1)).requests

    assert before == figures.Requests(opened=6, in_time=1, late=2, overdue=3, waiting=0)
    assert after == figures.Requests(opened=7, in_time=1, late=2, overdue=3, waiting=1)


def test_there_is_no_proof_until_one_was_made_and_then_its_numbers_stand_there(house: Stored) -> None:
    with scope.entered(house.cast.acme):
        before = figures.last_proof()

    everybody = [house.cast.acme, house.cast.globex]
    found = making.prove(tenant=house.cast.acme, everybody=everybody, by=JOB, at=timezone.now())

    assert before is None
    assert (found.orphan_seconds, found.orphan_objects, found.clean) == (0.0, 0, True)
    assert found.stored_seconds == pytest.approx(6.0, abs=0.5)
    with scope.entered(house.cast.globex):
        assert figures.last_proof() is None


def test_a_proof_finds_seconds_without_a_yes_but_tells_nobody_of_what_is_nobodys(house: Stored, settings: Any) -> None:
    objects = settings.CLEAC.data / "objects"
    (objects / "00000000000000000000000000000000").write_bytes((objects / house.files["gus", "mic"].object_name).read_bytes())
    with scope.entered(house.cast.acme), connection.cursor() as cursor:
        cursor.execute("DELETE FROM consent_decision WHERE id = %s", [house.epochs["gail", "cam"].decision])

    everybody = [house.cast.acme, house.cast.globex]
    ours = making.prove(tenant=house.cast.acme, everybody=everybody, by=JOB, at=timezone.now())
    theirs = making.prove(tenant=house.cast.globex, everybody=everybody, by=JOB, at=timezone.now())

    assert (ours.orphan_seconds, ours.orphan_objects, ours.clean) == (pytest.approx(2.0, abs=0.2), 0, False)
    assert (theirs.stored_seconds, theirs.orphan_seconds, theirs.orphan_objects, theirs.clean) == (0.0, 0.0, 0, True)
