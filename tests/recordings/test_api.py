"""Recordings through the front door: the room page's session, programs, strangers and neighbours."""

from __future__ import annotations

import pytest
from django.test import Client

from tests import make
from tests.recordings.sittings import Sitting

pytestmark = pytest.mark.django_db
JSON = "application/json"
ADDRESS = "/api/v1/recordings"
ACME = {"HTTP_CLEAC_TENANT": "acme"}


def bearer(secret: str) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


def test_a_host_starts_sees_and_stops_from_the_room_page(sitting: Sitting, sign_in) -> None:
    hana = sign_in(sitting.cast.hana_user)
    started = hana.post(ADDRESS, {"call": str(sitting.call.pk)}, content_type=JSON, **ACME)
    assert (started.status_code, started.json()["state"]) == (201, "REQUESTED")
    again = hana.post(ADDRESS, {"call": str(sitting.call.pk)}, content_type=JSON, **ACME)
    assert (again.status_code, again.json()["code"]) == (409, "already-recording")
    one = f"{ADDRESS}/{started.json()['id']}"
    assert hana.get(one, **ACME).json() == started.json()
    stopped = hana.post(f"{one}/stop", content_type=JSON, **ACME)
    assert (stopped.status_code, stopped.json()["state"]) == (200, "FINALISING")
    assert [found["id"] for found in hana.get(ADDRESS, **ACME).json()["results"]] == [started.json()["id"]]


def test_a_program_needs_the_scope_and_acts_in_the_hosts_name(sitting: Sitting) -> None:
    reader = make.api_key(sitting.cast.acme, "recordings:read")
    writer = make.api_key(sitting.cast.acme, "recordings:write")
    asked = {"call": str(sitting.call.pk)}
    assert Client().post(ADDRESS, asked, content_type=JSON, **bearer(reader)).status_code == 403
    started = Client().post(ADDRESS, asked, content_type=JSON, **bearer(writer))
    assert (started.status_code, started.json()["requested_by"]) == (201, str(sitting.cast.hana.pk))
    assert Client().get(f"{ADDRESS}/{started.json()['id']}", **bearer(reader)).status_code == 200
    assert Client().get(ADDRESS, **bearer(writer)).status_code == 403


@pytest.mark.parametrize("name", ["dora_user", "otto_user"])
def test_who_has_no_ability_finds_nothing(sitting: Sitting, sign_in, name: str) -> None:
    somebody = sign_in(getattr(sitting.cast, name))
    assert somebody.post(ADDRESS, {"call": str(sitting.call.pk)}, content_type=JSON, **ACME).status_code == 404
    assert somebody.get(ADDRESS, **ACME).status_code == 404


def test_another_tenant_detects_nothing(sitting: Sitting) -> None:
    recording = sitting.start()
    nils = bearer(make.api_key(sitting.cast.globex, "recordings:read", "recordings:write"))
    assert Client().get(ADDRESS, **nils).json()["results"] == []
    assert Client().get(f"{ADDRESS}/{recording.pk}", **nils).status_code == 404
    assert Client().post(f"{ADDRESS}/{recording.pk}/stop", content_type=JSON, **nils).status_code == 404
    assert Client().post(ADDRESS, {"call": str(sitting.call.pk)}, content_type=JSON, **nils).status_code == 404


def test_the_list_can_be_asked_for_one_call(sitting: Sitting) -> None:
    """The recordings of that call and no others; a call of nobody's, or a neighbour's, has none."""
    recording = sitting.start()
    reader = bearer(make.api_key(sitting.cast.acme, "recordings:read"))
    nils = bearer(make.api_key(sitting.cast.globex, "recordings:read"))

    def listed(call: object, who: dict[str, str] = reader) -> list[str]:
        answer = Client().get(ADDRESS, {"call": str(call)}, **who)
        assert answer.status_code == 200
        return [found["id"] for found in answer.json()["results"]]

    assert listed(sitting.call.pk) == [str(recording.pk)]
    assert listed("00000000-0000-4000-8000-000000000000") == []
    assert listed(sitting.call.pk, nils) == []


def test_a_filter_that_is_no_id_is_named_and_the_description_tells_of_the_filter(sitting: Sitting) -> None:
    reader = bearer(make.api_key(sitting.cast.acme, "recordings:read"))

    refused = Client().get(ADDRESS, {"call": "last"}, **reader)
    described = Client().get("/api/v1/schema", {"format": "json"}).json()["paths"][ADDRESS]["get"]["parameters"]

    assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "call")
    (call,) = [parameter for parameter in described if parameter["name"] == "call"]
    assert (call["in"], call["schema"], call.get("required", False)) == ("query", {"type": "string", "format": "uuid"}, False)
