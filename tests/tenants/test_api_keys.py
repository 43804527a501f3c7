"""API keys speak for one tenant, within their scopes, until they end."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from compliance import log
from compliance.models import LogEntry
from tenants import queries, scope, services
from tenants.errors import Refused
from tenants.models import ApiKey
from tenants.permissions import SCOPES, Actor
from tests import make


def get(client, secret: str):
    return client.get("/api/v1/tenant", headers={"Authorization": f"Bearer {secret}"})


def test_a_key_sees_the_tenant_it_belongs_to(client, cast) -> None:
    answer = get(client, make.api_key(cast.acme, "tenant:read"))

    assert answer.status_code == 200
    assert answer.json() == {"slug": "acme", "name": "Acme"}


@pytest.mark.parametrize("secret", ["", "cleac_" + "A" * 43, "not-a-key", "cleac_\x00", "Ä" * 49])
def test_an_unknown_or_malformed_key_is_answered_401_as_a_problem(client, cast, secret: str) -> None:
    answer = get(client, secret)

    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "not-authenticated"


def test_an_expired_and_a_revoked_key_are_nobody(client, cast) -> None:
    past = timezone.now() - timedelta(seconds=1)

    assert get(client, make.api_key(cast.acme, "tenant:read", expires_at=past)).status_code == 401
    assert get(client, make.api_key(cast.acme, "tenant:read", revoked_at=past)).status_code == 401


def test_a_key_without_the_scope_is_told_so(client, cast) -> None:
    answer = get(client, make.api_key(cast.acme))

    assert (answer.status_code, answer.json()["code"]) == (403, "scope-missing")


def test_the_secret_is_not_in_the_database(cast) -> None:
    secret = make.api_key(cast.acme)

    kept = cast.acme.api_keys.get()

    assert secret not in str(vars(kept))
    assert len(bytes(kept.secret_hash)) == 32


def test_a_browser_session_names_its_tenant_by_header(sign_in, cast) -> None:
    hana = sign_in(cast.hana_user)

    assert hana.get("/api/v1/tenant", headers={"Cleac-Tenant": "acme"}).status_code == 200
    assert hana.get("/api/v1/tenant", headers={"Cleac-Tenant": "globex"}).status_code == 404
    assert hana.get("/api/v1/tenant").status_code == 404


# The page


PAGE = "/t/acme/keys/"


def made(browser: Client, *scopes: str, name: str = "Booking") -> str:
    """The secret on the page that answers the form."""
    answer = browser.post(PAGE, {"name": name, "scopes": scopes})
    assert answer.status_code == 201
    assert "no-store" in answer["Cache-Control"]
    (secret,) = re.findall(r"cleac_[\w-]{43}", answer.content.decode())
    return str(secret)


def test_a_key_made_on_the_page_opens_what_was_chosen_and_is_shown_this_once(sign_in, client, cast) -> None:
    ada = sign_in(cast.ada_user)

    secret = made(ada, "tenant:read")

    assert get(Client(), secret).status_code == 200
    assert Client().get("/api/v1/meetings", headers={"Authorization": f"Bearer {secret}"}).status_code == 403
    shown = ada.get(PAGE).content.decode()
    assert secret not in shown
    assert secret[:12] in shown
    with scope.entered(cast.acme):
        entry = LogEntry.objects.get(kind="api_key.issued")
        assert (entry.by_id, entry.record["facts"], log.verify(cast.acme)) == (str(cast.ada.pk), {"scopes": ["tenant:read"]}, [])


def test_a_revoked_key_opens_nothing_and_is_written_down_once(sign_in, cast) -> None:
    ada = sign_in(cast.ada_user)
    secret = made(ada, "tenant:read")
    url = f"{PAGE}{cast.acme.api_keys.get().pk}/revoke"
    assert url in ada.get(PAGE).content.decode()

    for _ in range(2):
        answer = ada.post(url, follow=True)

    assert answer.redirect_chain == [(PAGE, 303)]
    assert "opens nothing any more" in answer.content.decode()
    assert get(Client(), secret).status_code == 401
    with scope.entered(cast.acme):
        assert LogEntry.objects.filter(kind="api_key.revoked").count() == 1


@pytest.mark.parametrize("sent", [{"name": "", "scopes": ["tenant:read"]}, {"name": "Booking"}, {"name": "Booking", "scopes": ["everything"]}])
def test_a_key_without_a_name_or_with_no_or_an_unknown_scope_is_not_made(sign_in, cast, sent: Any) -> None:
    answer = sign_in(cast.ada_user).post(PAGE, sent)

    assert answer.status_code == 422
    assert "errorlist" in answer.content.decode()
    assert not cast.acme.api_keys.exists()


def test_an_administrator_gives_a_key_no_more_than_the_own_role_may(sign_in, cast) -> None:
    """Requests are for owners and data protection officers: an administrator could otherwise read them by a key."""
    with scope.entered(cast.acme):
        add = {"name": "Eva", "email": "eva@acme.example", "role": "admin", "by": Actor.person(cast.ada), "at": timezone.now()}
        eva = services.add_member(**add)
        with pytest.raises(Refused, match="scope-beyond-role"):
            services.issue_api_key(name="Desk", scopes=["requests:read"], last_day=None, by=Actor.person(eva.person), at=timezone.now())
    browser = sign_in(eva.user)

    assert browser.post(PAGE, {"name": "Desk", "scopes": ["requests:read"]}).status_code == 422
    assert "requests:read" not in browser.get(PAGE).content.decode()
    assert made(browser, "meetings:read")


def test_a_key_makes_no_key(cast) -> None:
    by = Actor("api_key", str(cast.ada.pk), str(cast.acme.pk))
    with scope.entered(cast.acme), pytest.raises(Refused, match="scope-beyond-role"):
        services.issue_api_key(name="Another", scopes=["tenant:read"], last_day=None, by=by, at=timezone.now())


def test_there_is_an_end_to_the_number_of_keys_and_a_revoked_one_makes_room(cast, monkeypatch) -> None:
    monkeypatch.setattr(services, "MOST_KEYS", 2)
    by = Actor.person(cast.ada)
    with scope.entered(cast.acme):
        first, _ = services.issue_api_key(name="1", scopes=SCOPES, last_day=None, by=by, at=timezone.now())
        services.issue_api_key(name="2", scopes=SCOPES, last_day=None, by=by, at=timezone.now())
        with pytest.raises(Refused, match="too-many-keys"):
            services.issue_api_key(name="3", scopes=SCOPES, last_day=None, by=by, at=timezone.now())

        services.revoke_api_key(key=first, by=by, at=timezone.now())

        assert services.issue_api_key(name="3", scopes=SCOPES, last_day=None, by=by, at=timezone.now())
        assert [key.name for key in queries.api_keys_of(cast.acme)] == ["3", "2", "1"]


@pytest.mark.parametrize("name", ["hana", "dora", "otto", "nils"])
def test_to_everybody_else_the_page_does_not_exist(sign_in, cast, name: str) -> None:
    make.api_key(cast.acme, "tenant:read")
    someone, key = sign_in(getattr(cast, f"{name}_user")), cast.acme.api_keys.get()

    assert someone.get(PAGE).status_code == 404
    assert someone.post(PAGE, {"name": "Mine", "scopes": ["tenant:read"]}).status_code == 404
    assert someone.post(f"{PAGE}{key.pk}/revoke").status_code == 404
    assert [(one.pk, one.revoked_at) for one in ApiKey.objects.filter(tenant=cast.acme)] == [(key.pk, None)]


def test_an_owner_revokes_no_key_of_another_tenant(sign_in, cast) -> None:
    make.api_key(cast.globex, "tenant:read")
    foreign = cast.globex.api_keys.get()

    assert sign_in(cast.ada_user).post(f"{PAGE}{foreign.pk}/revoke").status_code == 404
    assert ApiKey.objects.get(pk=foreign.pk).revoked_at is None


# The last day


def test_a_year_is_offered_and_the_page_shows_the_last_day_that_was_chosen(sign_in, cast) -> None:
    ada, today = sign_in(cast.ada_user), timezone.localdate()
    assert f'value="{today + timedelta(days=365)}"' in ada.get(PAGE).content.decode()

    answer = ada.post(PAGE, {"name": "Booking", "scopes": ["tenant:read"], "last_day": "2031-05-09"})

    assert "Its last day is Fri 9 May 2031." in answer.content.decode()
    assert "Fri 9 May 2031" in ada.get(PAGE).content.decode()
    with scope.entered(cast.acme):
        assert LogEntry.objects.get(kind="api_key.issued").record["facts"]["last_day"] == "2031-05-09"


def test_a_key_works_through_its_last_day_and_is_nobody_afterwards(sign_in, cast, time_machine) -> None:
    today = timezone.localdate()
    answer = sign_in(cast.ada_user).post(PAGE, {"name": "Booking", "scopes": ["tenant:read"], "last_day": str(today)})
    (secret,) = re.findall(r"cleac_[\w-]{43}", answer.content.decode())
    (key,) = cast.acme.api_keys.all()

    time_machine.move_to(key.expires_at - timedelta(seconds=1), tick=False)
    assert get(Client(), secret).status_code == 200
    time_machine.move_to(key.expires_at, tick=False)
    assert (get(Client(), secret).status_code, key.last_day) == (401, today)


def test_without_a_last_day_a_key_works_until_it_is_revoked(sign_in, cast, time_machine) -> None:
    ada = sign_in(cast.ada_user)

    secret = made(ada, "tenant:read")

    assert "No end" in ada.get(PAGE).content.decode()
    time_machine.move_to(timezone.now() + timedelta(days=20 * 365), tick=False)
    assert get(Client(), secret).status_code == 200


@pytest.mark.parametrize(
    ("last_day", "said"),
    [("2020-01-01", "lies in the past"), ("9999-12-31", "No calendar goes"), ("soon", "Enter a valid date"), ("0001-01-01", "lies in the past")],
)
def test_a_last_day_that_is_over_or_none_is_refused_beside_the_form(sign_in, cast, last_day: str, said: str) -> None:
    answer = sign_in(cast.ada_user).post(PAGE, {"name": "Booking", "scopes": ["tenant:read"], "last_day": last_day})

    assert (answer.status_code, said in answer.content.decode()) == (422, True)
    assert not cast.acme.api_keys.exists()


def test_a_key_that_has_ended_makes_room_and_stands_below_those_that_open_something(cast, monkeypatch) -> None:
    monkeypatch.setattr(services, "MOST_KEYS", 1)
    by, now = Actor.person(cast.ada), timezone.now()
    with scope.entered(cast.acme):
        services.issue_api_key(name="older", scopes=SCOPES, last_day=None, by=by, at=now - timedelta(days=1))
        make.api_key(cast.acme, expires_at=now - timedelta(seconds=1))
        assert [key.name for key in queries.api_keys_of(cast.acme)] == ["older", "test"]
        with pytest.raises(Refused, match="too-many-keys"):
            services.issue_api_key(name="newer", scopes=SCOPES, last_day=None, by=by, at=now)
