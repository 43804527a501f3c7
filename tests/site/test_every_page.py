"""Every page that the site has, in real Chromium: light and dark, on a phone and on a desktop, by key alone, without an accessibility fault.

A route is either in `PAGES`, and is opened here, or it must never answer with a page. So a new page without a look fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from allauth.account.forms import EmailAwarePasswordResetTokenGenerator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.template.loader import render_to_string
from django.test import Client
from django.urls import get_resolver, resolve, reverse
from django.utils import timezone
from playwright.async_api import Page, Route, expect

from compliance.dsr import desk
from compliance.models import Request
from recordings import viewing
from recordings.models import Viewing
from tenants import invitations, scope
from tenants.models import ApiKey, Membership, Person
from tenants.permissions import Actor
from tests import make
from tests.calls import scenes
from tests.house.routes import every_route
from tests.recordings import stored
from tests.recordings.sittings import made as sat
from tests.recordings.stored import Stored
from tests.site.keyboard import left_to_the_mouse
from tests.site.test_pages_look import SCHEMES, WIDTHS, Arrive, faults

# Who opens which pages, by the name of the route. Hana hosts and has a password, Ada owns the house and has none, Nils works for two.
PAGES: dict[str, list[str]] = {
    "a stranger": [
        *("front", "link", "invited_link", "receipt", "account_login", "account_signup", "account_inactive"),
        *("account_email_verification_sent", "account_confirm_email"),
        *("account_reset_password", "account_reset_password_done", "account_reset_password_from_key", "account_reset_password_from_key_done"),
    ],
    "Eva": ["invited"],
    "Gail": [
        *("join", "my_home", "my_network", "my_recordings", "my_recording", "my_recording_play", "my_recording_erase"),
        *("my_requests", "my_erasure"),
    ],
    "Hana": [
        *("tenant_home", "people", "meetings", "meeting", "meeting_room", "recordings", "recording", "recording_play"),
        *("own_home", "own_network", "own_recordings", "own_recording", "own_recording_play", "own_recording_erase", "own_requests", "own_erasure"),
        *("account_email", "account_change_password", "account_reauthenticate", "account_logout"),
    ],
    "Ada": ["members", "api_keys", "requests", "request_enter", "dpo_home", "account_set_password"],
    "Nils": ["home"],
}
PHONE = min(WIDTHS)
STILL = {"reduced_motion": "reduce"}  # colours change at once when the scheme does
WITHOUT_ROUTE = sorted(path.name for path in (settings.BASE_DIR / "cleac_site" / "templates").glob("[45]*.html"))


@dataclass
class House:
    """A recording of everybody's, a request, a key, an invitation: what the addresses of pages name."""

    recorded: Stored
    ids: dict[str, Any]
    open_meeting: Any
    addresses: dict[str, str]

    @property
    def cast(self) -> Any:
        return self.recorded.cast

    def path(self, name: str) -> str:
        """The route's address, with something that is there for each part."""
        if name in self.addresses:
            return self.addresses[name]
        (_, parts), *_rest = get_resolver().reverse_dict.getlist(name)[0][0]
        return reverse(name, kwargs={part: self._part(name, part) for part in parts})

    def _part(self, name: str, part: str) -> Any:
        if part == "viewing":
            return self.ids[f"viewing of {name.split('_')[0]}"]
        if part == "meeting" and name in ("join", "meeting_room"):
            return self.open_meeting.pk
        if name == "own_recording_media":
            return self.ids["own artefact" if part == "artefact" else part]
        return self.ids["staff_invitation" if part == "invitation" and name.startswith("invited_") else part]


@pytest.fixture
def house(live_cast: Any, worker_known: None) -> House:
    return filled(live_cast)


def filled(cast: Any) -> House:
    with scope.entered(cast.acme):
        recorded = stored.finished(sat(cast), ("gail", "mic"), ("gail", "cam"), ("gus", "mic"), ("hana", "mic"))
        by, at = Actor.person(cast.ada), timezone.now()
        staff = invitations.invite(name="Eva", email="eva@acme.example", role="dpo", by=by, at=at)
        secret = invitations.new_secret(invitation=staff, by=by, at=at)
        open_meeting = scenes.meeting(cast)
        asked = desk.open_request(person=cast.gail, kind=Request.Kind.ACCESS, channel=Request.Channel.LINK, by=Actor.person(cast.gail), at=at)
        make.api_key(cast.acme, "meetings:read")
        looks = {"my": (cast.gail, False), "own": (cast.hana, False), "recording": (cast.hana, True)}
        opened = {f"viewing of {kind}": seen_by(recorded, person, whole).pk for kind, (person, whole) in looks.items()}
        ids = {
            **opened,
            "slug": "acme",
            "meeting": recorded.sitting.meeting.pk,
            "invitation": recorded.sitting.meeting.invitations.first().pk,
            "staff_invitation": staff.pk,
            "recording": recorded.recording.pk,
            "artefact": recorded.files["gail", "cam"].pk,
            "own artefact": recorded.files["hana", "mic"].pk,
            "request_id": asked.pk,
            "membership": cast.memberships["Otto"].pk,
            "api_key": ApiKey.objects.get().pk,
        }
    return House(recorded, ids, open_meeting, addresses(cast, secret))


def seen_by(recorded: Stored, person: Person, whole: bool) -> Viewing:
    purpose = Viewing.Purpose.FOLLOW_UP if whole else Viewing.Purpose.OWN
    return viewing.view(recording=recorded.recording, by=Actor.person(person), person=person, whole=whole, purpose=purpose, at=timezone.now())


def addresses(cast: Any, secret: str) -> dict[str, str]:
    """Addresses with a key in them that was mailed to somebody."""
    hana = cast.hana_user
    hana.set_password("correct horse battery staple")
    hana.save()
    unconfirmed = EmailAddress.objects.create(user=hana, email="hana.second@acme.example")
    token = EmailAwarePasswordResetTokenGenerator().make_token(hana)
    key = f"{user_pk_to_url_str(hana)}-{token}"
    return {
        "account_confirm_email": reverse("account_confirm_email", args=[EmailConfirmationHMAC(unconfirmed).key]),
        "account_reset_password_from_key": f"/account/password/reset/key/{key}/",
        "demo_sign_in": cast.links["Hana"].partition("//")[2].partition("/")[2].join(("/", "")),
        "invited": f"/staff#{secret}",
        "request_enter": reverse("request_enter", args=["acme"]) + "?q=g",  # with the form, for whoever has this letter
    }


async def arrived(who: str, visitor: Arrive, house: House, url: str) -> Any:
    """That person's browser, signed in as they sign in."""
    found = await visitor(**STILL)
    if who == "Gail":
        token = scenes.guest_token(house.cast, house.open_meeting, house.cast.gail)
        await found.context.add_cookies([{"name": "cleac_guest", "value": token, "url": url}])
    if who == "Nils":
        with scope.entered(house.cast.acme):
            person = Person.objects.create(tenant=house.cast.acme, email=house.cast.nils_user.email, name="Nils")
            Membership.objects.create(tenant=house.cast.acme, user=house.cast.nils_user, person=person, role="member")
    if house.cast.links.get(who):
        await found.page.goto(house.cast.links[who])
    return found


MISSING_DRAWINGS = """() => [...document.querySelectorAll("use")].map(use => use.getAttribute("href"))
    .filter(name => !document.querySelector(name)).map(name => `no drawing ${name}`)"""


# Fields scroll by themselves what is typed into them; everything else, and the page itself, must fit.
SIDEWAYS = """() => [...document.querySelectorAll("html, body *:not(input, textarea, select)")]
    .filter(one => one.scrollWidth > one.clientWidth + 1 && one.checkVisibility() && !one.closest("[popover], .unseen, svg"))
    .filter(one => one.localName === "html" || ["auto", "scroll"].includes(getComputedStyle(one).overflowX))
    .map(one => `scrolls sideways: ${one.outerHTML.slice(0, 200)}`)"""


async def faults_in_every_look(page: Page) -> dict[str, list[str]]:
    found = {"any": await page.evaluate(MISSING_DRAWINGS)}
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 800})
        if width == PHONE:
            found["phone"] = await page.evaluate(SIDEWAYS)
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            found[f"{scheme} {width}"] = await faults(page)
    return {look: some for look, some in found.items() if some}


def route_of(page: Page) -> str:
    return resolve("/" + page.url.partition("//")[2].partition("/")[2].partition("?")[0].partition("#")[0]).url_name


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("who", PAGES)
async def test_no_page_has_an_accessibility_fault_in_any_look(visitor: Arrive, house: House, live_url: str, who: str) -> None:
    found = await arrived(who, visitor, house, live_url)
    seen = {}
    for name in PAGES[who]:
        answer = await found.page.goto(house.path(name))
        await expect(found.page.get_by_role("heading", level=1).first).to_be_visible()
        assert (name, answer.status if answer else 200) == (name, 200)
        await found.page.wait_for_url(lambda _url, name=name: route_of(found.page) == name)
        seen[name] = await faults_in_every_look(found.page)
        if by_mouse := await left_to_the_mouse(found.page):
            seen[name]["by key"] = by_mouse

    assert {name: some for name, some in seen.items() if some} == {}


@pytest.mark.asyncio(loop_scope="session")
async def test_on_a_phone_the_navigation_is_one_row_that_opens_with_a_key(visitor: Arrive, house: House, live_url: str) -> None:
    page = (await arrived("Ada", visitor, house, live_url)).page
    await page.set_viewport_size({"width": PHONE, "height": 800})
    await page.goto(house.path("members"))
    menu = page.get_by_role("button", name="Menu: Members")
    box = await page.get_by_role("navigation", name="Acme").bounding_box()
    assert box is not None
    assert box["height"] < 48
    await expect(page.get_by_role("link", name="Meetings")).to_be_hidden()

    await menu.focus()
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("link", name="Members")).to_have_attribute("aria-current", "page")
    assert await faults_in_every_look(page) == {}
    await page.set_viewport_size({"width": PHONE, "height": 800})
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("link", name="Meetings")).to_be_hidden()
    await menu.click()
    await page.get_by_role("link", name="Meetings").click()
    await expect(page.get_by_role("button", name="Menu: Meetings")).to_be_visible()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_table_on_a_phone_shows_each_value_with_its_label_and_stays_a_table(visitor: Arrive, house: House, live_url: str) -> None:
    """As the browser tells it to a screen reader."""
    page = (await arrived("Ada", visitor, house, live_url)).page
    await page.set_viewport_size({"width": PHONE, "height": 800})
    await page.goto(house.path("requests"))
    due = page.locator('td[data-label="Due"]')
    assert await due.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Due" / ""'

    nodes = (await (await page.context.new_cdp_session(page)).send("Accessibility.getFullAXTree"))["nodes"]
    told = [node["role"]["value"] for node in nodes if not node["ignored"]]

    assert [told.count(role) for role in ("table", "columnheader", "rowheader", "cell")] == [1, 6, 1, 5]


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("template", WITHOUT_ROUTE)
async def test_no_page_for_what_went_wrong_has_an_accessibility_fault_in_any_look(
    visitor: Arrive, live_cast: Any, live_url: str, template: str
) -> None:
    """Each as the house renders it where there may be no session and no database; sheets and icon come from the running site."""
    stranger = await visitor(**STILL)

    async def broken(route: Route) -> None:
        await route.fulfill(status=200, content_type="text/html", body=render_to_string(template))

    await stranger.page.route("**/broken", broken)
    await stranger.page.goto("/broken")

    await expect(stranger.page.get_by_role("heading", level=1)).to_be_visible()
    assert await faults_in_every_look(stranger.page) == {}


def test_every_kind_of_error_that_people_meet_has_a_page_of_its_own() -> None:
    assert WITHOUT_ROUTE == ["400.html", "403.html", "403_csrf.html", "404.html", "429.html", "500.html"]


# What has no look must be no page


ROUTES = {route.name: route for route in every_route()}
OPENED = {name for names in PAGES.values() for name in names}


def test_every_page_that_is_opened_is_a_route() -> None:
    assert OPENED - set(ROUTES) == set()


@pytest.mark.django_db(databases=["default", "keys"])
def test_no_route_besides_answers_with_a_page(cast: Any) -> None:
    """Each with something that is there, to everybody who might see it."""
    house = filled(cast)
    asked = [browser(house, who) for who in ("stranger", "Gail", "Hana", "Ada", "Dora")]
    found = {}
    for name in sorted(name for name in set(ROUTES) - OPENED if takes_get(ROUTES[name].view)):
        answers = [client.get(house.path(name), headers={"Cleac-Tenant": "acme"}) for client in asked]
        found[name] = [answer.status_code for answer in answers if answer.status_code == 200 and answer["Content-Type"].startswith("text/html")]
        assert (name, [answer.status_code for answer in answers if answer.status_code != 404]) != (name, []), "nobody was answered"

    assert {name: statuses for name, statuses in found.items() if statuses} == {}


def takes_get(view: Any) -> bool:
    """Whoever only takes what a form or a script sends shows no page by its address."""
    owner = getattr(view, "view_class", None) or getattr(view, "cls", None)
    return owner is None or ("get" in owner.http_method_names and hasattr(owner, "get"))


def browser(house: House, who: str) -> Client:
    client = Client()
    if who == "Gail":
        client.cookies["cleac_guest"] = scenes.guest_token(house.cast, house.open_meeting, house.cast.gail)
    elif who != "stranger":
        client.force_login(getattr(house.cast, f"{who.lower()}_user"), backend="allauth.account.auth_backends.AuthenticationBackend")
    return client
