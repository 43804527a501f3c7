"""The API against its own description: whatever fits it or does not, sent as one role, is answered as the description says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from django.test import Client
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tenants.permissions import SCOPES
from tests import make
from tests.conftest import forget_cached_limits
from tests.recordings.sittings import made

JSON = "application/json"
SCHEMA = "/api/v1/schema?format=json"
# What fits the description and is refused all the same, each by its code: rules that a schema cannot say.
RULES = {
    "unknown-purpose",
    "cannot-host",
    "host-needed",
    "starts-in-the-past",
    "starts-too-late",
    "title-missing",
    "name-missing",
    "null_characters_not_allowed",
}
BUDGET = 12  # requests for each operation and kind of data: the whole stays within half a minute
SECONDS = 240.0  # of the role that asks: after them no further request is made up, on however busy a machine


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    found: dict[str, Any] = Client().get(SCHEMA).json()
    return found


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                yield path, method, operation


def test_the_description_is_openapi_3_1_and_names_each_operation_once(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1.")
    names = [operation["operationId"] for _path, _method, operation in operations(description)]
    assert len(names) == len(set(names))
    assert {name.partition("_")[0] for name in names} >= {"tenant", "meetings", "invitations", "decisions", "recordings"}


def test_every_operation_asks_for_a_key_and_tells_its_problems(description: dict[str, Any]) -> None:
    for path, method, operation in operations(description):
        assert operation["security"] == [{"apiKey": []}], (path, method)
        for status in ("400", "401", "403", "404"):
            assert operation["responses"][status]["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert description["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_no_two_endpoints_share_a_component(description: dict[str, Any]) -> None:
    assert not {"Input", "Output", "Made", "Asked"} & set(description["components"]["schemas"])


@dataclass
class House:
    """What Acme's program may ask for: a call that is on, a recording of it, a second meeting, an invitation, a request."""

    values: dict[str, str]
    send: Callable[..., Any]

    @classmethod
    def of(cls, cast: Any, url: str) -> House:
        sitting = made(cast)
        sitting.answer("gail", "record-voice")
        recording = sitting.start()
        key = make.api_key(cast.acme, *SCOPES)

        def post(path: str, **body: Any) -> str:
            answer = requests.post(f"{url}/api/v1/{path}", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
            return str(answer.json()["id"])

        planned = post("meetings", title="Renewal", host=str(cast.hana.pk), purposes=["record-voice"])
        invited = post(f"meetings/{planned}/invitations", name="Lea", email="lea@guest.example")
        asked = post("requests", person=str(cast.gus.pk), kind="access")
        erasure = post("requests", person=str(cast.gus.pk), kind="erasure")
        values = {"meeting": planned, "invitation": invited, "recording": str(recording.pk), "request_id": asked}
        people = {
            "host": str(cast.hana.pk),
            "person": str(cast.gail.pk),
            "call": str(sitting.call.pk),
            "on": str(sitting.meeting.pk),
            "erasure": erasure,
        }
        return cls(values | people, partial(cls._sent, key))

    @staticmethod
    def _sent(key: str, case: Any) -> Any:
        """The answer, which is as described: status, headers, body, for every check but one, which knows no rules beyond the schema."""
        return case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, excluded_checks=[positive_data_acceptance])


@pytest.fixture
def house(live_cast: Any, live_url: str) -> House:
    return House.of(live_cast, live_url)


def good(values: dict[str, str]) -> dict[str, dict[str, Any]]:
    """For each operation that more than its path decides, a body that is in order; in the order in which each still can be done."""
    return {
        "meetings_create": {"body": {"title": "Renewal", "host": values["host"], "purposes": ["record-voice"]}},
        "invitations_create": {"body": {"name": "Lea", "email": "lea.two@guest.example"}},
        "requests_create": {"body": {"person": values["person"], "kind": "access"}},
        "requests_take_back": {"path_parameters": {"request_id": values["erasure"]}},
        "invitations_revoke": {},
        "recordings_stop": {},
        "recordings_start": {"body": {"call": values["call"]}},
        "meetings_cancel": {},
        "meetings_end": {"path_parameters": {"meeting": values["on"]}},
    }


def test_every_operation_succeeds_once_and_answers_as_described(live_url: str, house: House) -> None:
    found = {
        result.ok().definition.raw["operationId"]: result.ok() for result in schemathesis.openapi.from_url(live_url + SCHEMA).get_all_operations()
    }
    more = good(house.values)
    in_order = [*(name for name in found if name not in more), *more]
    assert set(in_order) == set(found)

    for name in in_order:
        path = {parameter.name: house.values[parameter.name] for parameter in found[name].path_parameters}
        answer = house.send(found[name].Case(**{"path_parameters": path, "media_type": JSON, **more.get(name, {})}))
        assert answer.status_code in (200, 201), (name, answer.text)


def test_whatever_is_sent_is_answered_as_described(live_url: str, house: House) -> None:
    """Schemathesis makes the requests, seeded; half of them are about rows that there are. The key is Acme's, with every scope.

    Every operation is asked once, whatever the time; when it is used up, what was asked until then has been answered as described.
    """
    asked, found, ends, without = 0, 0, time.monotonic() + SECONDS, 0
    for result in schemathesis.openapi.from_url(live_url + SCHEMA).get_all_operations():
        operation, mine = result.ok(), 0

        @hypothesis.seed(1)
        @hypothesis.settings(
            max_examples=BUDGET, deadline=None, database=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
        )
        @hypothesis.given(case=operation.as_strategy(), there=st.booleans())
        def send(case: Any, there: bool) -> None:
            nonlocal asked, found, without, mine
            if mine and time.monotonic() > ends:
                without += 1
                return
            mine += 1
            forget_cached_limits()
            if there:
                case.path_parameters = {name: house.values[name] for name in case.path_parameters or {}}
            answer = house.send(case)
            fits = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
            assert not (fits and answer.status_code == 400) or answer.json()["code"] in RULES, answer.json()
            asked += 1
            found += there and answer.status_code not in (404, 405)

        send()
        assert mine
    assert asked + without >= 10 * BUDGET
    assert without or found >= 3 * BUDGET
