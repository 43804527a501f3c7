"""Every route names an ability, and the ability table alone decides what is public."""

from __future__ import annotations

import re

import pytest

from tenants.permissions import ABILITIES, EXTERNAL_ROUTES, ROLES, STRANGER

from .routes import Route, every_route

ROUTES = list(every_route())
PUBLIC = [route for route in ROUTES if route.ability and STRANGER in ABILITIES[route.ability]]
GUARDED = [route for route in ROUTES if route not in PUBLIC]


def names(routes: list[Route]) -> list[str]:
    return [f"{route.name} {route.path}" for route in routes]


def test_every_route_names_an_ability_of_the_table() -> None:
    assert [route.path for route in ROUTES if not route.ability or route.ability not in ABILITIES] == []


def test_every_ability_is_held_by_known_roles_only() -> None:
    assert {role for roles in ABILITIES.values() for role in roles} <= ROLES
    assert set(EXTERNAL_ROUTES.values()) <= set(ABILITIES)


def test_only_the_listed_pages_are_public() -> None:
    account = {name for name, ability in EXTERNAL_ROUTES.items() if STRANGER in ABILITIES[ability]}
    assert {route.name for route in PUBLIC} - account == {
        "front",
        "healthz",
        "readyz",
        "security_txt",
        "demo_sign_in",
        "link",
        "link_open",
        "invited",
        "invited_link",
        "invited_open",
        "receipt",
        "api_schema",
    }


def without_csrf(content: bytes) -> bytes:
    """The CSRF token in the sign-out form is masked anew in every answer."""
    return re.sub(rb'name="csrfmiddlewaretoken" value="[^"]*"', b"", content)


@pytest.mark.django_db
@pytest.mark.parametrize("route", GUARDED, ids=names(GUARDED))
def test_a_stranger_learns_nothing_from_a_guarded_route(client, cast, route: Route) -> None:
    """Signed out, an existing and an absent tenant are answered alike: the sign-in page, or 401 for the API."""
    here = client.get(route.path)
    nowhere = client.get(route.path.replace("/acme/", "/nobody/"))

    if route.path.startswith("/api/"):
        assert (here.status_code, here["Content-Type"]) == (401, "application/problem+json")
    else:
        assert here.status_code == 302
        assert here["Location"].startswith("/account/login/?next=")
    assert (nowhere.status_code, len(nowhere.content)) == (here.status_code, len(here.content))


@pytest.mark.django_db
@pytest.mark.parametrize("route", [r for r in GUARDED if r.path.startswith("/t/acme/")], ids=str)
def test_somebody_of_another_tenant_gets_404_as_if_nothing_were_there(sign_in, cast, route: Route) -> None:
    nils = sign_in(cast.nils_user)

    foreign = nils.get(route.path)
    absent = nils.get(route.path.replace("/acme/", "/nobody/"))

    assert foreign.status_code == absent.status_code == 404
    assert without_csrf(foreign.content) == without_csrf(absent.content)
