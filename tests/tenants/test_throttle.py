"""Guessing links: counted for each address in the real Redis, over all processes, past trusted proxies and no further."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants import scope, services, throttle
from tenants.models import GuestSession
from tenants.permissions import Actor
from tenants.throttle import WRONG_LINKS
from tests.calls import scenes
from tests.calls.redises import OwnRedis
from tests.calls.scenes import acme
from tests.conftest import forget_cached_limits

JSON = "application/json"
OPEN = "/j/open"
WRONG = {"secret": "A" * 22}


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`window(n)`: from now on it is so many windows after the begin of one, so that the clock of the machine has no part in it."""

    def at(number: float) -> None:
        monkeypatch.setattr(throttle.time, "time", lambda: (1_000_000 + number) * WRONG_LINKS.seconds)

    at(0)
    return at


def guess(client: Client, times: int = 1, **headers: str) -> list[int]:
    return [client.post(OPEN, WRONG, content_type=JSON, **headers).status_code for _ in range(times)]


def secret_of_gail(cast: Any) -> str:
    with acme(cast):
        return scenes.link(cast, scenes.meeting(cast), cast.gail)


def test_who_tries_too_many_wrong_links_is_told_to_wait_and_not_whether_a_link_is_right(client: Client, cast: Any, window: Any) -> None:
    """Beyond the limit a right and a wrong secret get the same answer, and neither is looked up."""
    right = secret_of_gail(cast)
    assert set(guess(client, WRONG_LINKS.times)) == {404}

    with CaptureQueriesContext(connection) as queried:
        wrong_answer = client.post(OPEN, WRONG, content_type=JSON)
        right_answer = client.post(OPEN, {"secret": right}, content_type=JSON)

    assert (wrong_answer.status_code, wrong_answer["Content-Type"]) == (429, "application/problem+json")
    assert (wrong_answer.json()["code"], wrong_answer.json()["status"]) == ("unknown-link", 429)
    assert wrong_answer["Retry-After"] == str(WRONG_LINKS.seconds + math.ceil(WRONG_LINKS.seconds / WRONG_LINKS.times))
    assert (right_answer.status_code, right_answer.content, right_answer["Retry-After"]) == (429, wrong_answer.content, wrong_answer["Retry-After"])
    assert right_answer.cookies.get("cleac_guest") is None
    assert not GuestSession.objects.exists()
    assert len(queried) == 0


def test_tries_are_forgotten_as_they_grow_old(client: Client, cast: Any, window: Any) -> None:
    """Half a window after a full one, half of the tries count still."""
    guess(client, WRONG_LINKS.times)

    window(1.5)

    assert guess(client, WRONG_LINKS.times // 2 + 1) == [404] * (WRONG_LINKS.times // 2) + [429]


def test_a_border_between_two_windows_doubles_nothing(client: Client, cast: Any, window: Any) -> None:
    window(0.99)
    guess(client, WRONG_LINKS.times)

    window(1.0)

    assert guess(client) == [429]


def test_who_waits_as_long_as_was_said_is_let_in_and_who_waits_less_is_not(client: Client, cast: Any, window: Any) -> None:
    for begun in (0.25, 10.75):
        window(begun)
        guess(client, WRONG_LINKS.times)
        said = int(client.post(OPEN, WRONG, content_type=JSON)["Retry-After"]) / WRONG_LINKS.seconds
        window(begun + said - 2 / WRONG_LINKS.seconds)
        assert guess(client) == [429]
        forget_cached_limits()

        window(begun)
        guess(client, WRONG_LINKS.times + 1)
        window(begun + said)
        assert guess(client) == [404]


def test_a_window_nobody_used_leaves_nothing(client: Client, cast: Any, window: Any) -> None:
    guess(client, WRONG_LINKS.times + 1)

    window(2)

    assert set(guess(client, WRONG_LINKS.times)) == {404}


def test_links_that_open_something_never_count(client: Client, cast: Any, window: Any) -> None:
    """A whole company behind one address opens its own links as often as it likes."""
    right = secret_of_gail(cast)

    opened = {client.post(OPEN, {"secret": right}, content_type=JSON).status_code for _ in range(2 * WRONG_LINKS.times)}

    assert opened == {200}
    assert set(guess(client, WRONG_LINKS.times)) == {404}
    assert guess(client) == [429]


def test_a_revoked_link_is_no_guess(client: Client, cast: Any, window: Any) -> None:
    with scope.entered(cast.acme):
        facts = {"person": cast.gail, "kind": "invitation", "subject_id": uuid4(), "by": Actor.person(cast.hana), "at": timezone.now()}
        link, secret = services.new_link(**facts, expires_at=timezone.now() + timedelta(days=1))
        services.revoke_link(link=link, by=Actor.person(cast.hana), at=timezone.now())

    assert {client.post(OPEN, {"secret": secret}, content_type=JSON).status_code for _ in range(WRONG_LINKS.times + 1)} == {404}
    assert guess(client) == [404]


def test_one_address_does_not_use_up_the_tries_of_another(client: Client, cast: Any, window: Any) -> None:
    guess(client, WRONG_LINKS.times + 1, REMOTE_ADDR="192.0.2.1")

    assert guess(client, REMOTE_ADDR="192.0.2.1") == [429]
    assert guess(client, REMOTE_ADDR="192.0.2.2") == [404]


def test_the_addresses_of_one_household_count_as_one(client: Client, cast: Any, window: Any) -> None:
    """Somebody with IPv6 has 2^64 addresses to guess from."""
    for number in range(WRONG_LINKS.times):
        guess(client, REMOTE_ADDR=f"2001:db8:1:1::{number:x}")

    assert guess(client, REMOTE_ADDR="2001:db8:1:1:ffff::1") == [429]
    assert guess(client, REMOTE_ADDR="2001:db8:1:2::1") == [404]


def test_without_proxies_nobody_chooses_the_address_that_is_counted(client: Client, cast: Any, window: Any) -> None:
    for number in range(WRONG_LINKS.times):
        guess(client, HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")

    assert guess(client, HTTP_X_FORWARDED_FOR="198.51.100.200") == [429]


def test_behind_a_proxy_each_client_is_counted_and_what_it_claims_itself_is_not(client: Client, cast: Any, window: Any, settings: Any) -> None:
    settings.CLEAC = settings.CLEAC.model_copy(update={"trusted_proxies": 1})
    for number in range(WRONG_LINKS.times):
        guess(client, HTTP_X_FORWARDED_FOR=f"203.0.113.{number}, 198.51.100.1")

    assert guess(client, HTTP_X_FORWARDED_FOR="203.0.113.200, 198.51.100.1") == [429]
    assert guess(client, HTTP_X_FORWARDED_FOR="203.0.113.200, 198.51.100.2") == [404]


@pytest.mark.parametrize(
    ("trusted", "forwarded", "seen"),
    [
        (0, "", "192.0.2.9"),
        (0, "198.51.100.1", "192.0.2.9"),
        (1, "198.51.100.1", "198.51.100.1"),
        (1, "203.0.113.5, 198.51.100.1", "198.51.100.1"),
        (2, "203.0.113.5, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        (2, "198.51.100.1", "192.0.2.9"),
        (1, "unknown", "192.0.2.9"),
        (1, " ::ffff:198.51.100.1 ", "198.51.100.1"),
        (1, "2001:DB8::1", "2001:db8::1"),
    ],
)
def test_the_client_is_looked_for_past_our_own_proxies_only(settings: Any, trusted: int, forwarded: str, seen: str) -> None:
    settings.CLEAC = settings.CLEAC.model_copy(update={"trusted_proxies": trusted})
    headers = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}

    assert throttle.address_of(RequestFactory().get("/", REMOTE_ADDR="192.0.2.9", **headers)) == seen


def test_wrong_passwords_behind_a_proxy_lock_out_the_client_that_sent_them(client: Client, cast: Any, settings: Any) -> None:
    """Nobody can lock Hana out of her own account from elsewhere."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"trusted_proxies": 1})
    hana = cast.hana_user
    hana.set_password("correct horse battery staple")
    hana.save()
    for number in range(5):
        client.post("/account/login/", {"login": hana.email, "password": f"wrong password {number}"}, HTTP_X_FORWARDED_FOR="198.51.100.1")
    forget_cached_limits()

    form = {"login": hana.email, "password": "correct horse battery staple"}
    answers = [client.post("/account/login/", form, HTTP_X_FORWARDED_FOR=f"198.51.100.{number}").status_code for number in (1, 2)]

    assert answers == [429, 302]


def test_the_limits_of_account_pages_behind_a_proxy_count_each_client(client: Client, cast: Any, settings: Any) -> None:
    settings.CLEAC = settings.CLEAC.model_copy(update={"trusted_proxies": 1})

    def forgotten(number: int, address: str) -> int:
        form = {"email": f"nobody{number}@acme.example"}
        return int(client.post("/account/password/reset/", form, HTTP_X_FORWARDED_FOR=address).status_code)

    assert 429 in [forgotten(number, "198.51.100.1") for number in range(30)]
    assert forgotten(99, "198.51.100.2") == 302


def test_no_address_is_kept_and_every_counter_dies_with_the_window_after_its_own(client: Client, cast: Any, window: Any) -> None:
    guess(client, REMOTE_ADDR="192.0.2.77")

    redis = cache._cache.get_client()  # type: ignore[attr-defined]  # reason: the keys themselves are what is looked at
    keys = list(redis.scan_iter("cleac:*throttle*"))
    assert len(keys) == 1
    assert b"192.0.2.77" not in keys[0]
    assert 0 < redis.ttl(keys[0]) <= 2 * WRONG_LINKS.seconds


def test_a_redis_that_hangs_is_waited_for_by_one_request_and_counts_again_when_it_wakes(
    client: Client, cast: Any, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = OwnRedis(tmp_path)
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": server.url}}
    server.hang()
    try:
        assert guess(client, 3) == [404] * 3
        assert [record.getMessage() for record in caplog.records if "not counted" in record.getMessage()] == [
            "limit wrong-links is not counted: TimeoutError"
        ]
        server.wake()
        monkeypatch.setattr(throttle, "SILENCE", 0.0)
        assert guess(client, WRONG_LINKS.times + 1)[-1] == 429
    finally:
        server.kill()


def test_while_redis_is_away_a_good_link_still_opens(client: Client, cast: Any, settings: Any) -> None:
    """The limit slows guessing down; it is not what keeps a guess out."""
    right = secret_of_gail(cast)
    away = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": away}

    assert client.post(OPEN, {"secret": right}, content_type=JSON).status_code == 200
    assert guess(client) == [404]
