"""A guest who came by a personal link signs out again: the session ends, whatever it holds open closes, the link stays good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tenants import identity
from tenants.signals import access_changed
from tests.calls import scenes

pytestmark = pytest.mark.django_db
BUTTON = 'action="/my/sign-out"'


@pytest.fixture
def gail(cast: Any) -> Client:
    """Gail's browser, in which her link was opened."""
    with scenes.acme(cast):
        meeting = scenes.meeting(cast)
    browser = Client()
    browser.cookies[identity.GUEST_COOKIE] = scenes.guest_token(cast, meeting, cast.gail)
    return browser


@pytest.mark.parametrize("path", ["/my/", "/my/requests/"])
def test_the_own_pages_of_a_guest_have_a_sign_out(gail: Client, path: str) -> None:
    assert BUTTON in gail.get(path).content.decode()


def test_a_guest_who_signs_out_is_nobody_and_everything_open_looks_again(
    cast: Any, gail: Client, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    token = gail.cookies[identity.GUEST_COOKIE].value
    heard: list[Any] = []

    def hear(sender: Any, *, tenant_id: Any, person_id: Any, **kwargs: Any) -> None:
        heard.append((tenant_id, person_id))

    access_changed.connect(hear)
    with django_capture_on_commit_callbacks(execute=True):
        answer = gail.post("/my/sign-out", follow=True)
    access_changed.disconnect(hear)

    assert answer.redirect_chain == [("/", 303)]
    assert "You are signed out." in answer.content.decode()
    assert gail.cookies[identity.GUEST_COOKIE].value == ""
    assert heard == [(cast.acme.pk, cast.gail.pk)]
    gail.cookies[identity.GUEST_COOKIE] = token
    assert gail.get("/my/").status_code == 302
    with scenes.acme(cast):
        assert scenes.kinds()[-1] == "guest_session.ended"


def test_staff_have_their_own_sign_out_and_this_one_is_not_there(sign_in: Callable[[Any], Client], cast: Any) -> None:
    hana = sign_in(cast.hana_user)

    assert BUTTON not in hana.get("/t/acme/my/").content.decode()
    assert hana.post("/my/sign-out").status_code == 404


def test_a_form_of_another_site_signs_nobody_out(gail: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = gail.cookies

    assert strict.post("/my/sign-out").status_code == 403
    assert strict.get("/my/").status_code == 200
