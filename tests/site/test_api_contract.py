"""The API against its own description: whatever fits it or does not, sent as one role, is answered as the description says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.test import Client
from hypothesis import HealthCheck, Phase
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tenants.permissions import SCOPES
from tests import make
from tests.conftest import forget_cached_limits
from tests.recordings.conftest import made

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


def test_whatever_is_sent_is_answered_as_described(live_url: str, live_cast: Any) -> None:
    """Schemathesis makes the requests, seeded; every check that it has is on. The key is Acme's, with every scope."""
    sitting = made(live_cast)
    sitting.answer("gail", "record-voice")
    sitting.start()
    key = make.api_key(live_cast.acme, *SCOPES)
    schema = schemathesis.openapi.from_url(live_url + SCHEMA)
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.seed(1)
        @hypothesis.settings(
            max_examples=BUDGET, deadline=None, database=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
        )
        @hypothesis.given(case=operation.as_strategy())
        def send(case: Any) -> None:
            nonlocal asked
            forget_cached_limits()
            answer = case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, excluded_checks=[positive_data_acceptance])
            fits = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
            assert not (fits and answer.status_code == 400) or answer.json()["code"] in RULES, answer.json()
            asked += 1

        send()
    assert asked >= 10 * BUDGET
