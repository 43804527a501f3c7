"""Where a sign-in ends for somebody whom no organisation counts among its people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from tenants.models import Membership, User


@pytest.fixture
def alone(cast: Any, sign_in: Callable[[Any], Client]) -> Client:
    """Somebody who is signed in and belongs nowhere."""
    user = User.objects.create_user("lone@elsewhere.example")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return sign_in(user)


def test_who_belongs_nowhere_is_told_what_that_means_and_what_to_do(alone: Client) -> None:
    answer = alone.get("/home/")

    text = answer.content.decode()
    assert answer.status_code == 200
    assert "You belong to no organisation" in text
    assert "lone@elsewhere.example" in text
    assert "What to do next" in text
    assert 'action="/account/logout/"' in text
    assert "no-store" in answer["Cache-Control"]


def test_who_belongs_nowhere_reaches_the_own_account_and_every_public_page(alone: Client) -> None:
    pages = ("/", "/account/email/", "/account/password/set/", "/account/logout/", "/j", "/api/v1/schema", "/healthz")
    assert {path: alone.get(path).status_code for path in pages} == dict.fromkeys(pages, 200)

    answer = alone.post("/account/logout/")

    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert alone.get("/home/").status_code == 302


@pytest.mark.parametrize("path", ["/t/acme/", "/t/nobody/", "/t/acme/meetings/", "/api/v1/tenant", "/api/v1/meetings"])
def test_who_belongs_nowhere_detects_nothing_of_anybody(alone: Client, path: str) -> None:
    assert alone.get(path).status_code == 404
    assert alone.get(path, headers={"Cleac-Tenant": "acme"}).status_code == 404


def test_who_is_taken_out_of_the_only_organisation_lands_there_too(cast: Any, sign_in: Callable[[Any], Client]) -> None:
    hana = sign_in(cast.hana_user)
    assert hana.get("/home/")["Location"] == "/t/acme/"

    Membership.objects.filter(user=cast.hana_user).delete()

    assert "You belong to no organisation" in hana.get("/home/").content.decode()
    assert hana.get("/t/acme/").status_code == 404


def test_a_guest_is_nobody_who_signed_in(cast: Any, client: Client) -> None:
    """The cookie of a personal link opens no account page."""
    client.cookies["cleac_guest"] = "whatever it is"
    assert client.get("/home/")["Location"].startswith("/account/login/")
