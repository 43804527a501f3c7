"""Signing in, and what it says to people who have no account."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.core import mail

from tenants.models import User
from tests.conftest import forget_cached_limits

PASSWORD = "correct horse battery staple"


@pytest.fixture
def hana(cast) -> User:
    user: User = cast.hana_user
    user.set_password(PASSWORD)
    user.save()
    return user


def attempt(client, login: str, password: str):
    return client.post("/account/login/", {"login": login, "password": password})


def test_a_member_signs_in_and_lands_in_the_only_tenant(client, hana) -> None:
    answer = attempt(client, hana.email, PASSWORD)

    assert answer.status_code == 302
    assert client.get(answer["Location"])["Location"] == "/t/acme/"
    assert client.get("/t/acme/").status_code == 200


def test_a_wrong_password_and_an_unknown_address_are_told_the_same(client, hana) -> None:
    wrong = attempt(client, hana.email, "something else entirely")
    unknown = attempt(client, "nobody@acme.example", "something else entirely")

    assert wrong.status_code == unknown.status_code == 200
    assert wrong.context["form"].errors == unknown.context["form"].errors != {}


def test_an_address_that_is_not_verified_gets_a_mail_before_it_gets_in(client, hana) -> None:
    EmailAddress.objects.filter(user=hana).update(verified=False)

    answer = attempt(client, hana.email, PASSWORD)

    assert "/account/confirm-email/" in answer["Location"]
    assert client.get("/t/acme/").status_code == 302
    assert hana.email in mail.outbox[0].to


def test_passwords_are_kept_as_argon2(hana) -> None:
    assert hana.password.startswith("argon2$argon2id$")


def test_nobody_signs_up_by_themselves(client, cast) -> None:
    answer = client.post("/account/signup/", {"email": "new@acme.example", "password1": PASSWORD, "password2": PASSWORD})

    assert not User.objects.filter(email="new@acme.example").exists()
    assert answer.status_code == 200


def test_repeated_wrong_passwords_lock_the_address_out(client, hana) -> None:
    """Both limits hold: the one counted in Redis, and the one in the database when Redis has forgotten everything."""
    for n in range(6):
        attempt(client, hana.email, f"wrong password {n}")

    attempt(client, hana.email, PASSWORD)
    assert client.get("/t/acme/").status_code == 302

    forget_cached_limits()
    assert attempt(client, hana.email, PASSWORD).status_code == 429


def test_a_demo_link_of_another_secret_signs_nobody_in(client, cast) -> None:
    assert client.get("/dev/sign-in/forged-token").status_code == 404
    assert client.get("/t/acme/").status_code == 302


def test_a_demo_link_signs_its_person_in(client, cast) -> None:
    path = cast.links["Hana"].split("/", 3)[3]

    assert client.get("/" + path, follow=True).request["PATH_INFO"] == "/t/acme/"
