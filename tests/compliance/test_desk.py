"""A request that somebody made by letter or by voice is entered at the desk: by the same service, on the same weak proof, as by a program."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from compliance import log
from compliance.dsr import desk
from compliance.models import Request
from recordings.models import Epoch
from tenants import scope
from tenants import services as house
from tenants.models import OutboxRow, Person
from tenants.permissions import Actor
from tests.compliance.asking import only, recorded, worked

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
DESK, ENTER = "/t/acme/requests/", "/t/acme/requests/enter"


@pytest.fixture
def dora(cast: Any, sign_in: Callable[..., Client]) -> Client:
    return sign_in(cast.dora_user)


def enter(browser: Client, person: Any, kind: str, searched: str = "gail") -> Any:
    return browser.post(f"{ENTER}?q={searched}", {"person": str(person), "kind": kind}, follow=True)


def told(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def requests(cast: Any) -> list[Request]:
    with scope.entered(cast.acme):
        return list(Request.objects.all())


# What is entered


def test_an_erasure_entered_at_the_desk_restricts_at_once_and_destroys_after_72_hours(
    cast: Any, sign_in: Callable[..., Client], tmp_path: Path, settings: Any
) -> None:
    house = recorded(cast, tmp_path, settings)
    dora, before = sign_in(cast.dora_user), timezone.now()

    answer = enter(dora, cast.gail.pk, "erasure")

    assert "Nobody can play what is kept of Gail any more." in told(answer)
    assert "Gail is told of it by mail." in told(answer)
    entered = only(house)
    assert (entered.kind, entered.channel, entered.state) == ("erasure", "desk", "OPEN")
    assert entered.waits_until is not None
    assert entered.waits_until - entered.asked_at == timedelta(hours=72)
    assert entered.asked_at >= before
    with scope.entered(cast.acme):
        assert all(epoch.restricted_at for epoch in Epoch.objects.filter(track__person=cast.gail))
        [opened] = [entry for entry in log.about(cast.gail.pk) if entry.kind == "request.opened"]
    assert (opened.by_kind, opened.by_id, opened.record["facts"]["channel"]) == ("person", str(cast.dora.pk), "desk")
    assert "Take it back" in told(answer)
    assert worked(house) == []
    assert [one.state for one in worked(house, later=desk.TAKE_BACK + timedelta(seconds=1))] == ["DONE"]
    assert set(house.objects()) == {("gus", "mic")}


def test_a_copy_entered_at_the_desk_is_promised_and_the_person_is_told_by_mail(cast: Any, dora: Client) -> None:
    answer = enter(dora, cast.gail.pk, "access")

    assert "The copy for Gail is made ready." in told(answer)
    [entered] = requests(cast)
    assert (entered.kind, entered.channel, entered.waits_until) == ("access", "desk", None)
    with scope.entered(cast.acme):
        promised = {row.task for row in OutboxRow.objects.filter(arguments__request_id=str(entered.pk))}
    assert promised == {desk.TASK, desk.TELL}


def test_whoever_has_no_address_is_told_by_the_organisation_itself(cast: Any, dora: Client) -> None:
    with scope.entered(cast.acme):
        greta = house.add_person(name="Greta", email="", by=Actor.job("test"), at=timezone.now())

    assert "Greta has no address and is not told of it by us" in told(enter(dora, greta.pk, "erasure", "greta"))


def test_entered_again_while_it_is_unfinished_it_is_the_same_request(cast: Any, dora: Client) -> None:
    enter(dora, cast.gail.pk, "erasure")

    again = enter(dora, cast.gail.pk, "erasure")

    assert "A request of Gail for the same is not finished yet" in told(again)
    assert len(requests(cast)) == 1
    enter(dora, cast.gail.pk, "access")
    assert {request.kind for request in requests(cast)} == {"access", "erasure"}


# Whom it is entered for


def test_a_person_is_found_by_name_or_address_and_nothing_is_chosen_beforehand(cast: Any, dora: Client) -> None:
    empty = told(dora.get(ENTER))
    by_name, by_address = told(dora.get(f"{ENTER}?q=GAIL")), told(dora.get(f"{ENTER}?q=gus@guest"))

    assert "Who asked" not in empty
    assert ("Gail, gail@guest.example, known since" in by_name, "gus@guest.example" in by_name) == (True, False)
    assert "Gus, gus@guest.example, known since" in by_address
    assert " checked" not in by_name
    assert "No name and no address holds these letters." in told(dora.get(f"{ENTER}?q=nils"))


def test_of_many_people_some_are_shown_and_the_page_says_so(cast: Any, dora: Client) -> None:
    with scope.entered(cast.acme):
        for number in range(21):
            house.add_person(name=f"Greta {number}", email="", by=Actor.job("test"), at=timezone.now())

    shown = told(dora.get(f"{ENTER}?q=greta"))

    assert shown.count('name="person"') == 20
    assert "More people than these are meant" in shown


def test_who_is_not_there_was_erased_or_is_another_tenants_is_refused_alike(cast: Any, dora: Client) -> None:
    with scope.entered(cast.acme):
        gone = Person.objects.create(tenant=cast.acme, name="", erased_at=timezone.now())

    answers = [enter(dora, person, "erasure") for person in (uuid4(), gone.pk, cast.nils.pk)]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert all("Nobody of your organisation" in told(answer) for answer in answers)
    assert all("Gail, gail@guest.example" in told(answer) for answer in answers), "the search is kept"
    assert requests(cast) == []


def test_whoever_is_at_the_desk_asks_for_the_own_data_elsewhere(cast: Any, dora: Client) -> None:
    """By the own account an erasure cannot be taken back, which this page says of none that it enters."""
    refused = enter(dora, cast.dora.pk, "erasure", "dora")

    assert refused.status_code == 409
    assert "This is you." in told(refused)
    assert "dora@acme.example, known since" not in told(refused)
    assert requests(cast) == []


@pytest.mark.parametrize("changed", [{"person": ""}, {"person": "gail"}, {"kind": ""}, {"kind": "everything"}])
def test_a_form_with_a_fault_comes_back_and_enters_nothing(cast: Any, dora: Client, changed: dict[str, str]) -> None:
    answer = dora.post(f"{ENTER}?q=gail", {"person": str(cast.gail.pk), "kind": "access"} | changed)

    assert answer.status_code == 422
    assert "errorlist" in told(answer)
    assert requests(cast) == []


# Who may


def test_only_who_answers_for_data_protection_finds_the_door_and_the_page_behind_it(cast: Any, sign_in: Callable[..., Client]) -> None:
    seen = {}
    for name in ("dora", "ada", "hana", "otto", "nils"):
        browser = sign_in(getattr(cast, f"{name}_user"))
        seen[name] = (browser.get(ENTER).status_code, enter(browser, cast.gail.pk, "erasure").status_code, ENTER in told(browser.get(DESK)))

    assert seen == dict.fromkeys(("dora", "ada"), (200, 200, True)) | dict.fromkeys(("hana", "otto", "nils"), (404, 404, False))
    assert len(requests(cast)) == 1


def test_a_form_of_another_site_enters_nothing(cast: Any) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.dora_user, backend="allauth.account.auth_backends.AuthenticationBackend")

    assert strict.post(ENTER, {"person": str(cast.gail.pk), "kind": "erasure"}).status_code == 403
    assert requests(cast) == []
