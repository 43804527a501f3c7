"""Pages of the frame in states that a link alone does not reach: readable in every look, by keyboard, from our own origin only."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import pytest
from django.template import Context, Template
from django.utils import timezone
from playwright.async_api import Page, expect

from cleac_site.templatetags.cleac import MarkName, mark_words
from tenants import invitations, scope
from tenants.models import Membership, Person
from tenants.permissions import Actor
from tests import axe
from tests.calls import scenes

pytestmark = [pytest.mark.asyncio(loop_scope="session")]

Arrive = Callable[..., Awaitable[Any]]
SHOTS = os.environ.get("CLEAC_SCREENSHOTS")
SCHEMES = ["light", "dark"]
WIDTHS = [360, 1280]
MISSING = "/nowhere/"
SMALL_TARGETS = """() => [...document.querySelectorAll("main a, main button, main input:not([type=hidden]), header a, header button, footer a")]
    .filter(found => !found.closest("p") && found.checkVisibility())
    .filter(found => { const box = found.getBoundingClientRect(); return box.width < 24 || box.height < 24; })
    .map(found => found.outerHTML)"""


def options(scheme: str, width: int) -> dict[str, Any]:
    return {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}


async def keep_a_picture(page: Page) -> None:
    """A screenshot to be looked at, where a folder for them is named."""
    if SHOTS and page.viewport_size:
        scheme = "dark" if await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
        name = urlsplit(page.url).path.strip("/").replace("/", "-") or "front"
        await page.screenshot(path=Path(SHOTS) / f"{name}-{scheme}-{page.viewport_size['width']}.png", full_page=True)


async def faults(page: Page) -> list[str]:
    """What the accessibility rules, the width of the window and the size of targets (WCAG 2.2, 2.5.8: 24 px) say against a page."""
    await keep_a_picture(page)
    return await axe.faults(page) + [f"small target: {html}" for html in await page.evaluate(SMALL_TARGETS)]


async def faults_of(page: Page, pages: dict[str, str]) -> dict[str, list[str]]:
    seen = {}
    for name, path in pages.items():
        answer = await page.goto(path)
        assert answer is not None
        assert (answer.status, name) == (200, name)
        seen[name] = await faults(page)
    return {name: found for name, found in seen.items() if found}


def forget_the_answer_404(visitor: Any) -> None:
    """The browser reports the 404 that the test asked for; anything else stays in the list."""
    visitor.errors[:] = [text for text in visitor.errors if "status of 404" not in text]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_guests_own_pages_have_a_way_out(visitor: Arrive, live_cast: Any, live_url: str, scheme: str, width: int) -> None:
    with scenes.acme(live_cast):
        meeting = scenes.meeting(live_cast)
    gail = await visitor(**options(scheme, width))
    await gail.context.add_cookies([{"name": "cleac_guest", "value": scenes.guest_token(live_cast, meeting, live_cast.gail), "url": live_url}])
    await gail.page.goto("/my/")

    await gail.page.get_by_role("banner").get_by_role("button", name="Sign out").click()

    await expect(gail.page.get_by_role("status").filter(has_text="You are signed out.")).to_be_visible()
    assert await faults(gail.page) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_way_from_an_invitation_to_a_place_among_the_staff_has_no_accessibility_fault(
    visitor: Arrive, live_cast: Any, scheme: str, width: int
) -> None:
    with scenes.acme(live_cast):
        by, at = Actor.person(live_cast.ada), timezone.now()
        invitation = invitations.invite(name="Eva Example-Lastname", email="eva.example@acme.example", role="dpo", by=by, at=at)
        secret = invitations.new_secret(invitation=invitation, by=by, at=at)
    ada, eva = await visitor(**options(scheme, width)), await visitor(**options(scheme, width))
    await ada.page.goto(live_cast.links["Ada"])
    assert await faults_of(ada.page, {"members": "/t/acme/members/"}) == {}

    await eva.page.goto(f"/staff#{secret}")

    await expect(eva.page.get_by_role("heading", level=1)).to_have_text("Acme invites you")
    assert await faults(eva.page) == []
    await eva.page.get_by_role("link", name="Make an account").click()
    await expect(eva.page.get_by_label("Email")).to_have_value("eva.example@acme.example")
    assert await faults(eva.page) == []
    for label in ("Password", "Password (again)"):
        await eva.page.get_by_label(label, exact=True).fill("correct horse battery staple")
    await eva.page.get_by_role("button", name="Make the account").click()
    await eva.page.get_by_role("button", name="Accept").click()
    await expect(eva.page.get_by_role("status").filter(has_text="Welcome. You work for Acme now.")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_page_for_what_is_not_there_has_no_accessibility_fault(visitor: Arrive, live_cast: Any, scheme: str, width: int) -> None:
    ada = await visitor(**options(scheme, width))
    await ada.page.goto(live_cast.links["Ada"])

    answer = await ada.page.goto(MISSING)

    assert answer.status == 404
    assert await faults(ada.page) == []
    forget_the_answer_404(ada)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_choice_between_two_organisations_has_no_accessibility_fault(visitor: Arrive, live_cast: Any, scheme: str, width: int) -> None:
    add_membership(live_cast, live_cast.nils_user)
    nils = await visitor(**options(scheme, width))

    await nils.page.goto(live_cast.links["Nils"])

    await expect(nils.page.get_by_role("heading", level=1)).to_have_text("My organisations")
    await expect(nils.page.get_by_role("main").get_by_role("heading", level=2).get_by_role("link")).to_have_text(["Acme", "Globex"])
    assert await faults(nils.page) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_page_of_who_belongs_nowhere_has_no_accessibility_fault_and_a_way_out(
    visitor: Arrive, live_cast: Any, scheme: str, width: int
) -> None:
    Membership.objects.filter(user=live_cast.nils_user).delete()
    nils = await visitor(**options(scheme, width))

    await nils.page.goto(live_cast.links["Nils"])

    await expect(nils.page.get_by_role("heading", level=1)).to_have_text("You belong to no organisation")
    assert await faults(nils.page) == []
    await nils.page.get_by_role("main").get_by_role("button", name="Sign out").click()
    await expect(nils.page).to_have_url("/")


def add_membership(cast: Any, user: Any) -> None:
    """Makes a user of Globex a member of Acme too."""
    with scope.entered(cast.acme):
        person = Person.objects.create(tenant=cast.acme, email=user.email, name="Nils")
        Membership.objects.create(tenant=cast.acme, user=user, person=person, role="member")


async def test_a_wrong_password_is_explained_beside_the_form_without_blame(visitor: Arrive, live_cast: Any) -> None:
    stranger = await visitor(**options("light", 360))
    await stranger.page.goto("/account/login/")
    await stranger.page.get_by_label("Email").fill("nobody@acme.example")
    await stranger.page.get_by_label("Password", exact=True).fill("not the password")

    await stranger.page.get_by_role("main").get_by_role("button", name="Sign in").click()

    await expect(stranger.page.locator(".errorlist")).to_be_visible()
    assert await faults(stranger.page) == []


async def test_the_first_tab_offers_to_skip_to_the_content_and_focus_is_visible(visitor: Arrive, live_cast: Any) -> None:
    stranger = await visitor(**options("light", 1280))
    await stranger.page.goto("/")

    await stranger.page.keyboard.press("Tab")

    skip = stranger.page.get_by_role("link", name="Skip to the content")
    await expect(skip).to_be_focused()
    await expect(skip).to_have_css("outline-width", "3px")
    await stranger.page.keyboard.press("Enter")
    await expect(stranger.page.get_by_role("main")).to_be_focused()


async def test_nothing_moves_for_those_who_asked_for_less_motion(visitor: Arrive, live_cast: Any) -> None:
    stranger = await visitor(reduced_motion="reduce", forced_colors="active", **options("dark", 360))
    await stranger.page.goto("/")

    await expect(stranger.page.locator(".button").first).to_have_css("transition-duration", "0s, 0s")
    assert await faults(stranger.page) == []


async def test_the_front_page_draws_all_eight_marks_each_in_a_shape_of_its_own(visitor: Arrive, live_cast: Any) -> None:
    stranger = await visitor(**options("light", 1280))
    await stranger.page.goto("/")

    drawn = stranger.page.locator("dl .mark")
    await expect(drawn).to_have_count(8)
    assert set(await drawn.evaluate_all("marks => marks.map(m => m.dataset.mark)")) == set(get_args(MarkName))
    shapes = await drawn.evaluate_all("marks => marks.map(m => document.querySelector(m.querySelector('use').getAttribute('href')).innerHTML.trim())")
    assert len(set(shapes)) == 8


COLOUR_OF_EACH_MARK = """marks => {
    const name = colour => ["captured", "agreed", "uncaptured", "warning"].find(one => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(--${one})`;
        const found = getComputedStyle(probe).color === colour;
        probe.remove();
        return found;
    });
    return Object.fromEntries(marks.map(mark => [mark.dataset.mark, name(getComputedStyle(mark).color)]));
}"""


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_colour_of_capture_is_worn_only_while_something_is_written_and_that_of_agreement_only_by_a_yes(
    visitor: Arrive, live_cast: Any, scheme: str
) -> None:
    stranger = await visitor(**options(scheme, 1280))
    await stranger.page.goto("/")

    assert await stranger.page.locator("dl .mark").evaluate_all(COLOUR_OF_EACH_MARK) == {
        "captured": "captured",
        "starting": "captured",
        "stopping": "captured",
        "agreed": "agreed",
        "declined": "uncaptured",
        "undecided": "uncaptured",
        "paused": "uncaptured",
        "fault": "warning",
    }


async def test_a_mark_always_carries_words() -> None:
    for name in get_args(MarkName):
        drawn = Template("{% load cleac %}{% mark name %}").render(Context({"name": name}))
        assert mark_words(name) in drawn


async def test_a_state_that_is_none_of_the_eight_is_refused() -> None:
    with pytest.raises(ValueError, match="no mark of capture"):
        Template("{% load cleac %}{% mark 'recording' %}").render(Context())
