"""API keys speak for one tenant, within their scopes, until they end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

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
