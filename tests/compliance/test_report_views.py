"""The data protection officer's home and the reports to take away: who sees them, what they say, which entry they leave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from compliance import log
from tenants import scope
from tests.recordings.sittings import Sitting, made

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
HOME, REPORT = "/t/acme/dpo/", "/t/acme/dpo/report"


@pytest.fixture
def sitting(cast: Any, tmp_path: Path, settings: Any) -> Sitting:
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    return made(cast)


def month() -> str:
    return f"{timezone.now():%Y-%m}"


def test_dora_sees_the_figures_of_the_running_month_and_that_nothing_was_proven_yet(sitting: Sitting, sign_in: Callable[[Any], Any]) -> None:
    sitting.answer("gail", "record-voice")
    sitting.answer("gus", "record-voice", granted=False)

    page = sign_in(sitting.cast.dora_user).get(HOME)

    assert page.status_code == 200
    text = page.content.decode()
    assert "50% (1 of 2)" in text
    assert "Not proven yet" in text
    assert "<svg" in text
    assert "&lt;svg" not in text
    assert "Gail" not in text
    assert re.findall("<script[^>]*>", text) == ['<script type="module" src="/static/cleac/moments.js">'], "a plot needs none"
    assert "style=" not in text


@pytest.mark.parametrize("name", ["otto", "hana", "nils"])
@pytest.mark.parametrize("ask", [lambda who: who.get(HOME), lambda who: who.post(REPORT, {"month": month(), "form": "json"})])
def test_whoever_is_not_in_charge_of_data_protection_finds_nothing(
    cast: Any, sign_in: Callable[[Any], Any], name: str, ask: Callable[[Any], Any]
) -> None:
    assert ask(sign_in(getattr(cast, f"{name}_user"))).status_code == 404


def test_a_report_is_streamed_and_its_digest_is_in_the_log(sitting: Sitting, sign_in: Callable[[Any], Any]) -> None:
    sitting.answer("gail", "record-voice")

    answer = sign_in(sitting.cast.dora_user).post(REPORT, {"month": month(), "form": "json"})
    content = b"".join(answer.streaming_content)

    assert (answer.status_code, answer["Content-Type"], answer["Cache-Control"]) == (200, "application/json", "no-store, private")
    assert answer["Content-Disposition"].startswith(f'attachment; filename="cleac-acme-{month()}-01-')
    told = json.loads(content)
    assert [rate["agreed"] for rate in told["decisions"] if rate["purpose_key"] == "record-voice"] == [1]
    with scope.entered(sitting.cast.acme):
        [entry] = log.of_kinds(["report.made"])
        assert entry.by_id == str(sitting.cast.dora.pk)
        assert entry.record["facts"] == {
            "document": told["document"],
            "first": told["first"],
            "last": told["last"],
            "form": "json",
            "sha256": sha256(content).hexdigest(),
        }
        assert told["log"]["entries"] == entry.index
        assert told["log"]["verified"] is True


@pytest.mark.parametrize("wrong", [{"month": "2019-01", "form": "pdf"}, {"month": "", "form": "pdf"}, {"form": "xlsx"}])
def test_what_cannot_be_chosen_makes_no_report(sitting: Sitting, sign_in: Callable[[Any], Any], wrong: dict[str, str]) -> None:
    answer = sign_in(sitting.cast.dora_user).post(REPORT, {"month": month()} | wrong)

    assert answer.status_code == 422
    with scope.entered(sitting.cast.acme):
        assert not log.of_kinds(["report.made"]).exists()
