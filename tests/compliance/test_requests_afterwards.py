"""What comes after an erasure was asked for: nothing more is captured, and what came between its end and the end of the name goes or has an owner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from calls.models import Invitation, Meeting
from compliance import log, queries
from compliance.dsr import desk
from compliance.models import Hold, Request
from consent import gate
from consent import services as consent
from recordings.models import Epoch
from tenants import scope
from tenants.errors import Refused
from tenants.models import LinkSecret, Person
from tenants.permissions import Actor
from tests import make
from tests.calls import scenes
from tests.recordings import stored
from tests.recordings.sittings import Sitting
from tests.recordings.sittings import made as sat
from tests.recordings.stored import Stored, acting, guest, promised

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
MINE = "/my/requests/"
JSON = "application/json"
JOB = Actor.job("requests")
WEEK = desk.REACHABLE + timedelta(seconds=1)


@pytest.fixture
def sitting(cast: Any, tmp_path: Path, settings: Any) -> Sitting:
    """A call that is on, and a store of its own."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    return sat(cast)


@pytest.fixture
def erased(sitting: Sitting) -> Stored:
    """Gail's camera and Gus' voice were recorded; Gail asked for erasure, and it is DONE."""
    made = stored.finished(sitting, ("gail", "cam"), ("gus", "mic"))
    guest(sitting, "gail").post(f"{MINE}erasure")
    assert work(sitting, timedelta()).state == "DONE"
    return made


def work(sitting: Sitting, later: timedelta) -> Request:
    """What the task does with the requests whose time has come by then; the oldest of Acme's as it is now."""
    at = timezone.now() + later
    with acting(sitting.cast):
        for one in queries.due_work(at):
            desk.carry_out(request=queries.request_for(one), by=JOB, at=at)
    with scope.entered(sitting.cast.acme):
        found: Request = Request.objects.order_by("asked_at").first()
        return found


def gail_now(sitting: Sitting) -> Person:
    with scope.entered(sitting.cast.acme):
        found: Person = Person.objects.get(pk=sitting.cast.gail.pk)
        return found


def recorded_again(erased: Stored) -> Stored:
    """Gail came by the old link once more, agreed, and her voice was recorded and finished."""
    return stored.finished(erased.sitting, ("gail", "mic"))


def hold(sitting: Sitting) -> Hold:
    with scope.entered(sitting.cast.acme):
        made: Hold = Hold.objects.create(tenant=sitting.cast.acme, person_id=sitting.cast.gail.pk, reason="claim", placed_at=timezone.now())
        return made


def lift(sitting: Sitting, found: Hold) -> None:
    with scope.entered(sitting.cast.acme):
        found.lifted_at = timezone.now()
        found.save()


def kinds(sitting: Sitting) -> list[str]:
    with scope.entered(sitting.cast.acme):
        return [entry.kind for entry in log.about(sitting.cast.gail.pk)]


# What came between the end of the content and the end of the name


def test_what_was_captured_after_the_erasure_goes_before_the_name_does(erased: Stored) -> None:
    newer = recorded_again(erased)
    assert set(newer.objects()) == {("gail", "mic")}

    request = work(erased.sitting, WEEK)

    assert (request.state, request.next_at, newer.objects()) == ("DONE", None, {})
    assert gail_now(erased.sitting).name == ""
    assert set(erased.objects()) == {("gus", "mic")}
    assert kinds(erased.sitting).count("person.redacted") == 2


def test_what_is_being_captured_when_the_name_should_go_ends_first(erased: Stored) -> None:
    sitting = erased.sitting
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    with acting(sitting.cast):
        sitting.open_epoch(recording, "gail", "mic")

    request = work(sitting, WEEK)

    assert (request.state, request.done_at, gail_now(sitting).name) == ("FAILED", None, "Gail")
    with scope.entered(sitting.cast.acme):
        assert gate.permits(sitting.call.pk).get(str(sitting.cast.gail.pk), {}) == {}
        assert Epoch.objects.get(track__recording=recording).restricted_at is not None


def test_a_hold_that_was_placed_after_the_erasure_keeps_name_links_and_what_is_newer(erased: Stored) -> None:
    sitting, newer, found = erased.sitting, recorded_again(erased), hold(erased.sitting)

    request = work(sitting, WEEK)

    assert (request.state, request.done_at, gail_now(sitting).name) == ("WORKING", None, "Gail")
    assert set(newer.objects()) == {("gail", "mic")}
    assert LinkSecret.objects.filter(person=sitting.cast.gail).exists()
    assert kinds(sitting)[-1] == "request.held"
    lift(sitting, found)
    later = WEEK + desk.HELD_AGAIN + timedelta(seconds=1)
    assert (work(sitting, later).state, newer.objects(), gail_now(sitting).name) == ("DONE", {}, "Gail")
    assert (work(sitting, later + WEEK).next_at, gail_now(sitting).name) == (None, "")


def ahead(sitting: Sitting, at: datetime) -> Meeting:
    """Gail is invited once more, to a meeting that is still ahead at that time."""
    with acting(sitting.cast):
        return scenes.meeting(sitting.cast, starts_at=at, guests=("gail",))


def test_whoever_was_invited_again_after_the_request_keeps_that_invitation_and_loses_what_is_older(erased: Stored) -> None:
    sitting = erased.sitting
    meeting = ahead(sitting, timezone.now() + timedelta(days=20))
    older = set(LinkSecret.objects.filter(person=sitting.cast.gail, created_at__lte=work(sitting, timedelta()).asked_at))

    request = work(sitting, WEEK)

    assert (request.state, request.next_at, gail_now(sitting).name) == ("DONE", None, "Gail")
    with scope.entered(sitting.cast.acme):
        assert [one.meeting for one in Invitation.objects.filter(person=sitting.cast.gail)] == [meeting]
    assert older
    left = set(LinkSecret.objects.filter(person=sitting.cast.gail))
    assert left
    assert not left & older
    told = guest(Sitting(sitting.cast, meeting, sitting.call, sitting.who), "gail").get(MINE).content.decode()
    assert "invited again" in told


def test_an_invitation_that_was_over_when_the_name_should_go_keeps_nobody(erased: Stored) -> None:
    meeting = ahead(erased.sitting, timezone.now() + timedelta(days=1))
    with acting(erased.sitting.cast):
        Meeting.objects.filter(pk=meeting.pk).update(state="CANCELLED", ended_at=timezone.now())

    assert (work(erased.sitting, WEEK).next_at, gail_now(erased.sitting).name) == (None, "")


def test_a_member_keeps_what_was_recorded_after_the_erasure(sitting: Sitting, sign_in: Callable[..., Client]) -> None:
    sign_in(sitting.cast.hana_user).post("/t/acme/my/requests/erasure")
    assert work(sitting, timedelta()).state == "DONE"
    newer = stored.finished(sitting, ("hana", "mic"))

    assert work(sitting, WEEK).next_at is None
    assert set(newer.objects()) == {("hana", "mic")}


def test_asking_twice_leaves_the_name_until_the_second_time_to_read_is_over(erased: Stored, time_machine: Any) -> None:
    sitting = erased.sitting
    time_machine.move_to(timezone.now() + timedelta(days=3), tick=True)
    assert guest(sitting, "gail").post(f"{MINE}erasure").status_code == 303
    work(sitting, timedelta())

    assert (work(sitting, timedelta(days=4, minutes=1)).next_at, gail_now(sitting).name) == (None, "Gail")
    work(sitting, WEEK)
    assert gail_now(sitting).name == ""


# Nothing is captured from the moment it is asked for


def agreed(sitting: Sitting, name: str) -> set[str]:
    """What of this person may be kept now."""
    with scope.entered(sitting.cast.acme):
        return set(gate.permits(sitting.call.pk).get(str(getattr(sitting.cast, name).pk), {}))


@pytest.mark.parametrize("who", ["gail", "program", "dora"])
def test_whoever_asks_for_an_erasure_in_a_call_ends_every_yes_and_no_other_is_given_until_it_is_done(sitting: Sitting, who: str) -> None:
    sitting.answer("gail", "record-voice", "record-camera")
    sitting.answer("gus", "record-voice")
    assert agreed(sitting, "gail") == {"mic", "cam"}

    if who == "gail":
        assert guest(sitting, "gail").post(f"{MINE}erasure").status_code == 303
    elif who == "program":
        key = {"HTTP_AUTHORIZATION": f"Bearer {make.api_key(sitting.cast.acme, 'requests:write')}"}
        asked = {"person": str(sitting.cast.gail.pk), "kind": "erasure"}
        assert Client().post("/api/v1/requests", asked, content_type=JSON, **key).status_code == 201
    else:
        with acting(sitting.cast):
            by = Actor.person(sitting.cast.dora)
            desk.open_request(person=sitting.cast.gail, kind="erasure", channel="desk", by=by, at=timezone.now())

    assert (agreed(sitting, "gail"), agreed(sitting, "gus")) == (set(), {"mic"})
    with pytest.raises(Refused, match="being-erased"):
        sitting.answer("gail", "record-voice")
    sitting.answer("gail", "record-voice", granted=False)
    assert agreed(sitting, "gail") == set()
    work(sitting, desk.TAKE_BACK)
    sitting.answer("gail", "record-voice")
    assert agreed(sitting, "gail") == {"mic"}


def test_an_erasure_that_is_taken_back_leaves_the_answer_to_the_person(sitting: Sitting) -> None:
    sitting.answer("gail", "record-voice")
    with acting(sitting.cast):
        by = Actor.person(sitting.cast.dora)
        asked = desk.open_request(person=sitting.cast.gail, kind="erasure", channel="desk", by=by, at=timezone.now())
        desk.take_back(request=asked, by=by, at=timezone.now())

    assert agreed(sitting, "gail") == set()
    sitting.answer("gail", "record-voice")
    assert agreed(sitting, "gail") == {"mic"}


def test_having_the_own_part_of_a_running_recording_erased_ends_its_capture_and_of_a_stopped_one_nothing(sitting: Sitting) -> None:
    before = stored.finished(sitting, ("gail", "cam"), ("gus", "mic"))
    sitting.answer("gail", "record-voice")
    running = sitting.start()
    with acting(sitting.cast):
        sitting.open_epoch(running, "gail", "mic")
    gail = guest(sitting, "gail")

    assert gail.post(f"/my/recordings/{before.recording.pk}/erase").status_code == 303
    assert agreed(sitting, "gail") == {"mic", "cam"}
    assert gail.post(f"/my/recordings/{running.pk}/erase").status_code == 303
    assert (agreed(sitting, "gail"), agreed(sitting, "gus")) == (set(), {"mic"})
    with scope.entered(sitting.cast.acme):
        assert Epoch.objects.get(track__recording=running).restricted_at is not None
        withdrawn = [entry for entry in log.about(sitting.cast.gail.pk) if entry.kind == "consent.withdrawn"]
    assert {entry.by_id for entry in withdrawn} == {str(sitting.cast.gail.pk)}


def test_one_tap_in_the_room_ends_every_yes_and_erases_what_that_meeting_has_of_whoever_taps(sitting: Sitting) -> None:
    """Of a stopped recording at once; of the running one when its capture has ended. Nobody else's part, and no other meeting, is touched."""
    made = stored.finished(sitting, ("gail", "cam"), ("gus", "mic"))
    sitting.answer("gail", "record-voice")
    running = sitting.start()
    with acting(sitting.cast):
        sitting.open_epoch(running, "gail", "mic")
        other = stored.finished(sat(sitting.cast), ("gail", "mic"))
    gail, address = guest(sitting, "gail"), f"/my/meetings/{sitting.meeting.pk}/erase"

    assert [gail.post(address).status_code, gail.post(address).status_code] == [204, 204]

    assert (agreed(sitting, "gail"), agreed(sitting, "gus")) == (set(), {"mic"})
    assert agreed(other.sitting, "gail") == {"mic"}
    assert sorted(row.arguments["recording_id"] for row in promised("recordings.redact")) == sorted([str(made.recording.pk), str(running.pk)])
    with scope.entered(sitting.cast.acme):
        restricted = Epoch.objects.exclude(restricted_at=None).values_list("track__person__name", "track__recording")
        assert set(restricted) == {("Gail", made.recording.pk), ("Gail", running.pk)}
    assert gail.get(address).status_code == 405
    assert guest(sitting, "gail").post(f"/my/meetings/{uuid4()}/erase").status_code == 404


def test_staff_who_are_recorded_have_the_same_tap_and_nobody_else_of_the_house_has_it(sitting: Sitting, sign_in: Callable[[Any], Client]) -> None:
    made = stored.finished(sitting, ("hana", "mic"), ("gail", "mic"))
    address = f"/t/acme/my/meetings/{sitting.meeting.pk}/erase"

    assert sign_in(sitting.cast.ada_user).post(address).status_code == 404
    assert sign_in(sitting.cast.nils_user).post(address).status_code == 404
    assert sign_in(sitting.cast.hana_user).post(address).status_code == 204

    assert (agreed(sitting, "hana"), agreed(sitting, "gail")) == (set(), {"mic"})
    assert [row.arguments["recording_id"] for row in promised("recordings.redact")] == [str(made.recording.pk)]


def test_a_program_or_a_job_writes_down_a_withdrawal_by_letter_and_no_yes(sitting: Sitting) -> None:
    gail, at = sitting.cast.gail, timezone.now()
    sitting.answer("gail", "record-voice")
    answer = {"call_id": sitting.call.pk, "person": gail, "purpose": "record-voice", "at": at, "method": "letter"}
    foreign = Actor("api_key", str(gail.pk), str(sitting.cast.globex.pk))
    with scope.entered(sitting.cast.acme):
        for by, granted in ((foreign, False), (JOB, True), (Actor.operator("cli"), False)):
            with pytest.raises(Refused, match="only-the-person-decides"):
                consent.decide(**answer, granted=granted, by=by)
        assert consent.withdraw_all(person=gail, call_id=sitting.call.pk, by=JOB, at=at) == 1
        assert consent.withdraw_all(person=gail, call_id=sitting.call.pk, by=JOB, at=at) == 0
