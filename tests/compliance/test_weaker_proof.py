"""An erasure that somebody else enters in a person's name: restricted at once, destroyed after 72 hours, and taken back before that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from compliance import log, queries
from compliance.dsr import desk
from compliance.models import Request
from recordings import forgetting, tasks
from recordings.models import Epoch
from tenants import scope
from tenants.permissions import Actor
from tests import make
from tests.recordings import stored
from tests.recordings.sittings import made as sat
from tests.recordings.stored import Stored, acting, guest

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
MINE = "/my/requests/"
JSON = "application/json"
ALL = {("gail", "mic"), ("gail", "cam"), ("gus", "mic")}
ALMOST, OVER = timedelta(hours=71, minutes=59), timedelta(hours=72, seconds=1)


@pytest.fixture
def house(cast: Any, tmp_path: Path, settings: Any) -> Stored:
    """Gail's voice and camera and Gus' voice, recorded and finished."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    return stored.finished(sat(cast), *sorted(ALL))


@pytest.fixture
def program(house: Stored) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {make.api_key(house.cast.acme, 'requests:read', 'requests:write')}"}


@pytest.fixture
def entered(house: Stored, program: dict[str, str]) -> Request:
    """Acme's program asks for the erasure of Gail's data."""
    asked = {"person": str(house.cast.gail.pk), "kind": "erasure"}
    answer = Client().post("/api/v1/requests", asked, content_type=JSON, **program)
    assert answer.status_code == 201
    assert answer.json()["waits_until"] is not None
    return request(house)


def request(house: Stored) -> Request:
    with scope.entered(house.cast.acme):
        found: Request = Request.objects.get()
        return found


def restricted(house: Stored) -> set[bool]:
    """Whether Gail's stretches may be played by nobody."""
    with scope.entered(house.cast.acme):
        return {epoch.restricted_at is not None for epoch in Epoch.objects.filter(track__person=house.cast.gail)}


def work(house: Stored, time_machine: Any, later: timedelta) -> None:
    """All that the timetable does at that time."""
    time_machine.move_to(timezone.now() + later, tick=False)
    with acting(house.cast):
        for one in queries.due_work(timezone.now()):
            desk.carry_out(request=queries.request_for(one), by=Actor.job("requests"), at=timezone.now())
        tasks.sweep_tenant(house.cast.acme)


def kinds(house: Stored) -> list[str]:
    with scope.entered(house.cast.acme):
        return [entry.kind for entry in log.about(house.cast.gail.pk)]


def test_it_restricts_at_once_and_destroys_after_72_hours(house: Stored, entered: Request, time_machine: Any) -> None:
    assert restricted(house) == {True}
    page = guest(house.sitting, "gail").get(f"/my/recordings/{house.recording.pk}/").content.decode()
    assert "Somebody asked for its erasure in your name" in page

    work(house, time_machine, ALMOST)
    assert (request(house).state, set(house.objects())) == ("OPEN", ALL)

    work(house, time_machine, OVER - ALMOST)
    assert (request(house).state, set(house.objects())) == ("DONE", {("gus", "mic")})


@pytest.mark.parametrize("who", ["gail", "program", "dora"])
def test_it_can_be_taken_back_and_then_nothing_dies(
    house: Stored, entered: Request, program: dict[str, str], sign_in: Callable[..., Client], time_machine: Any, who: str
) -> None:
    if who == "gail":
        gail = guest(house.sitting, "gail")
        assert "Take it back" in gail.get(MINE).content.decode()
        assert gail.post(f"{MINE}{entered.pk}/take-back").status_code == 303
        assert "Taken back" in gail.get(MINE).content.decode()
    elif who == "program":
        assert Client().post(f"/api/v1/requests/{entered.pk}/take-back", **program).json()["state"] == "REVOKED"
    else:
        dora = sign_in(house.cast.dora_user)
        assert "Take it back" in dora.get("/t/acme/requests/").content.decode()
        assert dora.post(f"/t/acme/requests/{entered.pk}/take-back").status_code == 303

    assert restricted(house) == {False}
    work(house, time_machine, OVER)
    assert (request(house).state, set(house.objects())) == ("REVOKED", ALL)
    assert [kind for kind in kinds(house) if kind.startswith(("request.", "person."))][-2:] == ["person.unrestricted", "request.taken_back"]


def test_the_person_can_have_it_carried_out_at_once_and_then_it_cannot_be_taken_back(house: Stored, entered: Request, time_machine: Any) -> None:
    gail = guest(house.sitting, "gail")
    assert gail.post(f"{MINE}erasure").status_code == 303

    assert gail.post(f"{MINE}{entered.pk}/take-back").status_code == 409
    work(house, time_machine, timedelta(seconds=1))

    assert (request(house).pk, request(house).state, set(house.objects())) == (entered.pk, "DONE", {("gus", "mic")})
    assert "request.confirmed" in kinds(house)


def test_what_the_person_asked_for_cannot_be_taken_back_by_anybody(house: Stored, program: dict[str, str], sign_in: Callable[..., Client]) -> None:
    guest(house.sitting, "gail").post(f"{MINE}erasure")
    asked = request(house)

    assert guest(house.sitting, "gail").post(f"{MINE}{asked.pk}/take-back").status_code == 409
    assert Client().post(f"/api/v1/requests/{asked.pk}/take-back", **program).status_code == 409
    assert sign_in(house.cast.dora_user).post(f"/t/acme/requests/{asked.pk}/take-back").status_code == 409
    assert guest(house.sitting, "gus").post(f"{MINE}{asked.pk}/take-back").status_code == 404
    assert restricted(house) == {True}


def test_after_72_hours_it_is_too_late(house: Stored, entered: Request, time_machine: Any) -> None:
    time_machine.move_to(timezone.now() + OVER, tick=False)

    assert guest(house.sitting, "gail").post(f"{MINE}{entered.pk}/take-back").status_code == 409
    assert restricted(house) == {True}


def test_what_the_person_had_erased_before_stays_restricted_when_the_rest_is_taken_back(house: Stored) -> None:
    """Gail's camera was restricted by herself; a program asks for the rest, and takes it back."""
    gail, at = house.cast.gail, timezone.now()
    with acting(house.cast):
        Epoch.objects.filter(track__person=gail, track__source="cam").update(restricted_at=at)
        asked = desk.open_request(person=gail, kind="erasure", channel="api", by=Actor.job("test"), at=at)
        desk.take_back(request=asked, by=Actor.job("test"), at=at)
        left = dict(Epoch.objects.filter(track__person=gail).values_list("track__source", "restricted_at"))

    assert (left["mic"], left["cam"]) == (None, at)


def test_what_was_not_finished_when_it_was_restricted_is_finished_when_that_is_taken_back(sat_down: Stored) -> None:
    gail, at = sat_down.cast.gail, timezone.now()
    with acting(sat_down.cast):
        forgetting.restrict(person=gail, recording=None, by=Actor.job("test"), at=at, erase_from=at + OVER)
        tasks.sweep_tenant(sat_down.cast.acme)
        sat_down.recording.refresh_from_db()
        assert sat_down.recording.state == "READY"

        forgetting.lift(person=gail, by=Actor.job("test"), at=at)
        tasks.sweep_tenant(sat_down.cast.acme)

        sat_down.recording.refresh_from_db()
        assert sat_down.recording.state == "FINALISING"
        assert len(stored.promised("recordings.finish")) == 1


@pytest.fixture
def sat_down(cast: Any, tmp_path: Path, settings: Any) -> Stored:
    """Gail's voice, captured and not finished."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    return stored.captured(sat(cast), ("gail", "mic"))
