"""The code of an answer, and the public page on which anybody holds it against the log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compliance import log
from compliance.models import LogEntry
from consent import personal_data, receipts
from consent.models import Decision
from consent.receipts import Found
from tenants import scope
from tenants.permissions import Actor
from tenants.throttle import WRONG_RECEIPTS
from tests.recordings.sittings import Sitting
from tests.recordings.sittings import made as sat
from tests.recordings.stored import guest

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
PAGE = "/receipt"
NOT_THERE = "Not in the log"


@pytest.fixture
def sitting(cast: Any) -> Sitting:
    """Gail said yes to her voice."""
    made: Sitting = sat(cast)
    made.answer("gail", "record-voice")
    return made


def code_of_gail(sitting: Sitting) -> tuple[str, int]:
    """Her answer's code, and the number of its entry."""
    with scope.entered(sitting.cast.acme):
        entry = Decision.objects.get(person=sitting.cast.gail).entry
    return receipts.code_of(entry), entry.index


def text(answer: Any) -> str:
    """The words of the page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode().partition("<main")[2].partition("</main>")[0]))


def asked(code: str, browser: Client | None = None) -> str:
    answer = (browser or Client()).post(PAGE, {"code": code})
    assert answer.status_code == 200
    return text(answer)


def test_a_stranger_who_has_the_code_learns_that_the_log_has_the_answer_and_nothing_else(sitting: Sitting) -> None:
    code, number = code_of_gail(sitting)

    shown = asked(code)

    assert f"In the log: entry number {number}" in shown
    assert not [word for word in ("Gail", "Acme", "acme", "voice", "consent", "Yes", f"{timezone.now():%b %Y}") if word in shown.partition("Code")[0]]


def test_the_person_finds_the_code_beside_the_own_answer_and_in_the_copy(sitting: Sitting) -> None:
    code, number = code_of_gail(sitting)

    page = guest(sitting, "gail").get("/my/").content.decode()

    assert code in page
    assert f"Receipt: entry number {number} of the log" in page
    assert f'href="{PAGE}"' in page
    assert code not in guest(sitting, "gus").get("/my/").content.decode()
    with scope.entered(sitting.cast.acme):
        (copied,) = personal_data.export_decisions(sitting.cast.gail)
    assert (copied["receipt"], copied["entry_index"]) == (code, number)


def test_a_code_may_be_copied_with_line_breaks_blanks_and_capitals(sitting: Sitting) -> None:
    code, number = code_of_gail(sitting)
    assert f"entry number {number}" in asked(f"  {code[:40].upper()}\r\n{code[40:]} \n")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda code, _globex: code[:-1] + ("0" if code[-1] != "0" else "1"),
        lambda code, _globex: re.sub(r"\.(\d+)\.", lambda found: f".{int(found[1]) + 1}.", code),
        lambda code, _globex: re.sub(r"\.(\d+)\.", ".999999999999999999.", code),
        lambda code, _globex: "0" * 32 + code[32:],
        lambda code, globex: globex + code[32:],
        lambda code, _globex: code.partition(".")[2],
        lambda _code, _globex: "nonsense",
        lambda _code, _globex: "\0",
        lambda code, _globex: code.replace(".", ".٣", 1),
    ],
)
def test_whatever_of_a_code_is_wrong_the_answer_is_the_same(sitting: Sitting, wrong: Callable[[str, str], str]) -> None:
    code, _number = code_of_gail(sitting)
    answer = Client().post(PAGE, {"code": wrong(code, sitting.cast.globex.pk.hex)})

    assert answer.status_code in (200, 422)
    assert "In the log" not in text(answer)
    if answer.status_code == 200:
        assert text(answer).partition("Code")[0] == asked("nonsense").partition("Code")[0]
        assert NOT_THERE in text(answer)


def test_an_entry_that_was_emptied_is_still_there_and_one_that_was_altered_is_told_as_such(sitting: Sitting) -> None:
    code, number = code_of_gail(sitting)
    with scope.entered(sitting.cast.acme):
        entry = LogEntry.objects.get(index=number)
        changed = json.dumps(entry.record | {"kind": "consent.refused"})
        with connection.cursor() as cursor:
            cursor.execute("UPDATE compliance_logentry SET record = %s WHERE id = %s", [changed, entry.pk])
    assert receipts.checked(code) == Found(number, receipts.ALTERED)
    assert f"entry number {number}, but altered" in asked(code)

    with scope.entered(sitting.cast.acme):
        log.blank([LogEntry.objects.get(index=number)], by=Actor.job("test"), at=timezone.now(), reason="retention")

    assert f"entry number {number}, emptied since" in asked(code)


def test_without_a_code_the_page_asks_for_one_and_too_long_a_one_is_refused(sitting: Sitting) -> None:
    for given in ("", "   ", "a" * (receipts.LONGEST + 1)):
        answer = Client().post(PAGE, {"code": given})
        assert answer.status_code == 422
        assert NOT_THERE not in text(answer)


def test_a_member_of_another_house_is_answered_like_anybody(sitting: Sitting, sign_in: Callable[[Any], Client]) -> None:
    code, number = code_of_gail(sitting)
    assert f"entry number {number}" in asked(code, sign_in(sitting.cast.nils_user))


def test_who_tries_too_many_codes_waits_and_codes_that_are_right_do_not_count(sitting: Sitting) -> None:
    code, number = code_of_gail(sitting)
    for _time in range(WRONG_RECEIPTS.times):
        assert NOT_THERE in asked("nonsense")
        assert f"entry number {number}" in asked(code) if _time == 0 else True

    with CaptureQueriesContext(connection) as queried:
        answer = Client().post(PAGE, {"code": code})

    assert (answer.status_code, int(answer["Retry-After"]) > 0) == (429, True)
    assert "Too many codes were tried" in text(answer)
    assert not [query for query in queried if "compliance_logentry" in query["sql"]]
