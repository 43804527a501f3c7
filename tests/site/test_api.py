"""The API as a tenant's program uses it: meetings, invitations and decisions, and what is said to whoever asks wrongly."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from tenants import scope
from tenants.base_views import BODY_LIMIT
from tenants.models import OutboxRow
from tests import make
from tests.recordings.sittings import Sitting, made

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
JSON = "application/json"
ALL = ("meetings:read", "meetings:write", "decisions:read")


class Program:
    """A tenant's program with a key of these scopes."""

    def __init__(self, tenant: Any, *scopes: str) -> None:
        self._browser, self._headers = Client(), {"HTTP_AUTHORIZATION": f"Bearer {make.api_key(tenant, *scopes)}"}

    def get(self, path: str, **query: Any) -> Any:
        return self._browser.get(f"/api/v1/{path}", query, **self._headers)

    def post(self, path: str, body: Any = None) -> Any:
        return self._browser.post(f"/api/v1/{path}", body, content_type=JSON, **self._headers)

    def send(self, method: str, path: str, data: bytes = b"", kind: str = JSON) -> Any:
        return self._browser.generic(method, f"/api/v1/{path}", data, content_type=kind, **self._headers)


@pytest.fixture
def sitting(cast: Any) -> Sitting:
    found = made(cast)
    found.answer("gail", "record-voice")
    found.answer("gail", "record-voice", granted=False)
    found.answer("gus", "record-voice", "record-camera", granted=False)
    return found


@pytest.fixture
def acme(cast: Any) -> Program:
    return Program(cast.acme, *ALL)


def planned(acme: Program, cast: Any) -> str:
    answer = acme.post("meetings", {"title": "Renewal", "host": str(cast.hana.pk), "purposes": ["record-voice"]})
    assert answer.status_code == 201
    return str(answer.json()["id"])


def test_a_meeting_is_planned_read_and_called_off(cast: Any, acme: Program) -> None:
    meeting = planned(acme, cast)

    found = acme.get(f"meetings/{meeting}").json()
    assert (found["title"], found["state"], found["calls"]) == ("Renewal", "SCHEDULED", [])
    assert acme.post(f"meetings/{meeting}/end").json()["code"] == "meeting-not-open"
    assert acme.post(f"meetings/{meeting}/cancel").json()["state"] == "CANCELLED"
    assert (again := acme.post(f"meetings/{meeting}/cancel")).status_code == 409, again.json()
    assert [one["id"] for one in acme.get("meetings", state="CANCELLED").json()["results"]] == [meeting]
    assert acme.get("meetings", state="OPEN").json()["results"] == []


def test_a_call_that_is_on_is_ended_for_everybody(acme: Program, sitting: Sitting) -> None:
    ended = acme.post(f"meetings/{sitting.meeting.pk}/end")

    assert (ended.status_code, ended.json()["state"]) == (200, "ENDED")
    [call] = acme.get(f"meetings/{sitting.meeting.pk}").json()["calls"]
    assert (call["id"], call["state"]) == (str(sitting.call.pk), "ENDED")


def test_somebody_is_invited_listed_and_taken_back_and_the_link_is_told_once(cast: Any, acme: Program) -> None:
    meeting = planned(acme, cast)
    made = acme.post(f"meetings/{meeting}/invitations", {"name": "Lea"}).json()
    assert "/j#" in made["link"]

    listed = acme.get(f"meetings/{meeting}/invitations")
    [lea] = listed.json()["results"]
    assert (lea["id"], lea["person"], lea["name"], lea["revoked_at"]) == (made["id"], made["person"], "Lea", None)
    assert "/j#" not in listed.content.decode()

    revoked = acme.post(f"meetings/{meeting}/invitations/{made['id']}/revoke").json()
    assert revoked["revoked_at"] is not None
    assert acme.post(f"meetings/{meeting}/invitations/{made['id']}/revoke").json() == revoked
    assert acme.post(f"meetings/{meeting}/invitations/{uuid4()}/revoke").status_code == 404


def test_a_link_to_somebody_with_an_address_is_mailed_and_no_program_sees_it(cast: Any, acme: Program) -> None:
    """With it a program could answer for whoever it knows by address, and decisions are the person's own."""
    meeting = planned(acme, cast)

    made = acme.post(f"meetings/{meeting}/invitations", {"name": "Ada", "email": "ada@acme.example"})

    assert (made.status_code, made.json()["link"]) == (201, None)
    with scope.entered(cast.acme):
        assert OutboxRow.objects.get(task="calls.send_invitation").arguments == {"invitation_id": made.json()["id"]}


def test_decisions_are_read_newest_first_and_by_call_person_and_purpose(cast: Any, acme: Program, sitting: Sitting) -> None:
    every = acme.get("decisions").json()["results"]
    assert len(every) == 4
    assert [one["decided_at"] for one in every] == sorted((one["decided_at"] for one in every), reverse=True)
    hers = acme.get("decisions", person=str(cast.gail.pk), purpose="record-voice", call=str(sitting.call.pk)).json()["results"]
    assert [(one["sequence"], one["granted"]) for one in hers] == [(2, False), (1, True)]
    assert all(len(bytes.fromhex(one["entry_hash"])) == 32 for one in every)
    assert acme.get("decisions", call=str(uuid4())).json()["results"] == []
    assert acme.post("decisions", {"granted": True}).status_code == 405


@pytest.mark.parametrize("path", ["meetings/{meeting}", "meetings/{meeting}/invitations"])
def test_another_tenants_program_finds_nothing(cast: Any, sitting: Sitting, path: str) -> None:
    globex = Program(cast.globex, *ALL)
    assert globex.get(path.format(meeting=sitting.meeting.pk)).status_code == 404
    assert globex.post(f"meetings/{sitting.meeting.pk}/cancel").status_code == 404
    assert globex.get("decisions").json()["results"] == []
    assert globex.get("decisions", person=str(cast.gail.pk)).json()["results"] == []


def test_each_address_asks_for_its_scope(cast: Any, sitting: Sitting) -> None:
    reader, meeting = Program(cast.acme, "meetings:read"), sitting.meeting.pk
    assert reader.get(f"meetings/{meeting}").status_code == 200
    refused = [reader.get("decisions"), reader.post(f"meetings/{meeting}/cancel"), reader.post(f"meetings/{meeting}/end")]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(403, "scope-missing")] * 3


@pytest.mark.parametrize(
    ("method", "path", "data", "kind", "expected"),
    [
        ("GET", "nowhere", b"", JSON, (404, "not-found")),
        ("GET", "meetings/not-an-id", b"", JSON, (404, "not-found")),
        ("DELETE", "meetings", b"", JSON, (405, "method_not_allowed")),
        ("PUT", "decisions", b"{}", JSON, (405, "method_not_allowed")),
        ("POST", "meetings", b"{", JSON, (400, "parse_error")),
        ("POST", "meetings", b"[]", JSON, (400, "invalid")),
        ("POST", "meetings", b"title=x", "application/x-www-form-urlencoded", (415, "unsupported_media_type")),
        ("POST", "meetings", json.dumps({"title": "x" * BODY_LIMIT}).encode(), JSON, (413, "body-too-large")),
        ("GET", "meetings?offset=-1", b"", JSON, (400, "min_value")),
        ("GET", "meetings?state=LOST", b"", JSON, (400, "invalid_choice")),
        ("GET", "meetings?sort=title", b"", JSON, (400, "invalid")),
        ("GET", "decisions?person=gail", b"", JSON, (400, "invalid")),
    ],
)
def test_a_wrong_question_is_answered_by_a_problem_that_says_what_is_wrong(
    acme: Program, method: str, path: str, data: bytes, kind: str, expected: tuple[int, str]
) -> None:
    answer = acme.send(method, path, data, kind)

    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == expected
    assert problem["status"] == answer.status_code
    assert problem["title"]


def test_without_a_key_every_address_says_the_same_whether_or_not_it_is_there(sitting: Sitting) -> None:
    stranger = Client()
    found = [stranger.get(f"/api/v1/meetings/{which}") for which in (sitting.meeting.pk, uuid4())]
    assert [answer.status_code for answer in found] == [401, 401]
    assert found[0].json() == found[1].json()
    assert stranger.delete("/api/v1/meetings").status_code == 401
