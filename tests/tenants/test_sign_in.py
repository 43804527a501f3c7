"""Signing in, and what it says to people who have no account."""

from __future__ import annotations

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone

from tenants.models import SignInFailures, User
from tenants.tasks import forget_ended_sessions
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


def test_neither_a_good_nor_a_bad_sign_in_leaves_who_it_was_in_any_table(client, hana) -> None:
    """Only the account's own row and address know the e-mail; nothing knows the client's address, its browser or what was typed."""
    browser = {"HTTP_USER_AGENT": "Browser of Hana 17", "REMOTE_ADDR": "198.51.100.77"}
    client.post("/account/login/", {"login": hana.email, "password": "not the password"}, **browser)
    client.post("/account/login/", {"login": "gail@private.example", "password": "hers somewhere else"}, **browser)
    client.post("/account/login/", {"login": hana.email, "password": PASSWORD}, **browser)
    assert client.get("/t/acme/").status_code == 200

    holding = {table: text for table in connection.introspection.table_names() if (text := rows_of(table))}

    assert SignInFailures.objects.count() == 2
    for trace in ("Browser of Hana", "198.51.100.77", "gail@private.example", "not the password", "hers somewhere else"):
        assert [table for table, text in holding.items() if trace in text] == [], trace
    assert {table for table, text in holding.items() if hana.email in text} == {"tenants_user", "account_emailaddress"}


def rows_of(table: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - reason: the name comes from the database itself
        return "\n".join(map(str, cursor.fetchall()))


def test_the_count_of_wrong_passwords_goes_with_its_time(client, hana) -> None:
    attempt(client, hana.email, "wrong password")
    SignInFailures.objects.update(until=timezone.now() - timedelta(seconds=1))

    forget_ended_sessions()

    assert not SignInFailures.objects.exists()


def test_a_try_after_the_time_is_over_is_the_first_again(client, hana) -> None:
    for n in range(4):
        attempt(client, hana.email, f"wrong password {n}")
    SignInFailures.objects.update(until=timezone.now() - timedelta(seconds=1))
    attempt(client, hana.email, "wrong password")

    assert SignInFailures.objects.get().times == 1


def test_a_demo_link_of_another_secret_signs_nobody_in(client, cast) -> None:
    assert client.get("/dev/sign-in/forged-token").status_code == 404
    assert client.get("/t/acme/").status_code == 302


def test_a_demo_link_signs_its_person_in(client, cast) -> None:
    path = cast.links["Hana"].split("/", 3)[3]

    assert client.get("/" + path, follow=True).request["PATH_INFO"] == "/t/acme/"


def test_a_form_that_is_older_than_a_sign_in_elsewhere_is_answered_by_a_page_of_ours() -> None:
    answer = Client(enforce_csrf_checks=True).post("/account/login/", {"login": "hana@acme.example", "password": PASSWORD})

    assert answer.status_code == 403
    assert "This page was too old" in answer.content.decode()
    assert "<style" not in answer.content.decode()
