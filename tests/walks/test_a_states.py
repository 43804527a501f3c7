"""The states in which nobody can go on: each says what happened, what becomes of camera and microphone, and what to do next."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from django.db import connections
from django.test import Client
from django.utils import timezone
from playwright.async_api import Page, expect

from calls import services
from calls.models import Call, Meeting, Participant
from calls.queries import GUEST_SEATS
from tenants import scope
from tenants import services as house
from tenants.models import GuestSession, LinkSecret
from tenants.permissions import Actor
from tenants.throttle import WRONG_LINKS
from tests.calls import scenes
from tests.conftest import Visitor, forget_cached_limits
from tests.stack import Stack

from . import media
from .people import CONNECTIONS, NUMBERS, PATIENCE, Attendee, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

T = TypeVar("T")
Visit = Callable[..., Awaitable[Any]]


class Meetings:
    """Meetings of Hana's, each in a state of its own, and Gail's link to it."""

    def __init__(self, cast: Any) -> None:
        self.cast = cast

    async def elsewhere(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do it inside Acme's scope, in a thread: what it tells to open pages needs a loop of its own."""

        def done() -> T:
            try:
                with scope.entered(self.cast.acme):
                    return work(*arguments)
            finally:
                connections.close_all()

        return await asyncio.to_thread(done)

    def open(self) -> tuple[Meeting, str]:
        """A meeting that people may enter."""
        return self._linked(scenes.meeting(self.cast))

    def _linked(self, found: Meeting) -> tuple[Meeting, str]:
        return found, "/j#" + scenes.link(self.cast, found, self.cast.gail)

    def ended(self) -> str:
        found, link = self.open()
        scenes.entered(found, self.cast.hana)
        services.end(call=scenes.call_of(found), **self._by_hana())
        return link

    def cancelled(self) -> str:
        found, link = self.open()
        services.cancel(meeting=found, **self._by_hana())
        return link

    def too_early(self) -> str:
        return self._linked(scenes.meeting(self.cast, starts_at=scenes.later(days=2)))[1]

    def expired(self) -> str:
        found, link = self.open()
        LinkSecret.objects.filter(person=self.cast.gail).update(expires_at=timezone.now() - timedelta(minutes=1))
        return link

    def revoked(self) -> str:
        found, link = self.open()
        invitation = found.invitations.get(person=self.cast.gail)
        services.revoke_invitation(invitation=invitation, stolen=False, **self._by_hana())
        return link

    def full(self) -> str:
        """Every guest seat is taken by somebody else; the meeting begins with Hana in it."""
        found, link = self.open()
        scenes.admitted(found, self.cast.hana)
        for number in range(GUEST_SEATS):
            invitation, _ = services.invite(meeting=found, name=f"Guest {number}", email="", **self._by_hana())
            scenes.admitted(found, invitation.person)
        return link

    def is_waiting(self) -> bool:
        """The page shows its next step before the house has heard that she is ready."""
        return self._gail().state == Participant.State.WAITING

    def let_in(self) -> None:
        services.admit(participant=self._gail(), **self._by_hana())

    def one_guest_leaves(self) -> None:
        other = Participant.objects.select_related("person").filter(role=Participant.Role.GUEST).first()
        services.leave(participant=other, by=Actor.person(other.person), at=timezone.now())

    def remove_gail(self) -> None:
        services.remove(participant=self._gail(), **self._by_hana())

    def sign_gail_out(self) -> None:
        session = GuestSession.objects.get(person=self.cast.gail)
        house.end_guest_session(session=session, by=Actor.person(self.cast.gail), at=timezone.now())

    def end(self) -> None:
        services.end(call=self._gail().call, **self._by_hana())

    def end_without_host(self) -> None:
        """Hana works for Acme no more; what the sweep does after the time to mend it."""
        by, at = Actor.person(self.cast.ada), timezone.now()
        house.change_role(membership=self.cast.memberships["Hana"], role="member", by=by, at=at)
        Call.objects.update(started_at=at - timedelta(hours=1))
        services.end_without_host(call=self._gail().call, away_since=at, by=Actor.job("test"), at=at)

    def set_role(self, role: str, started_at: datetime) -> None:
        """Hana's role among the staff, and when the call began: without a host it ends half a minute later, and then with the next sweep."""
        house.change_role(membership=self.cast.memberships["Hana"], role=role, by=Actor.person(self.cast.ada), at=timezone.now())
        Call.objects.update(started_at=started_at)

    def _gail(self) -> Participant:
        found: Participant = Participant.objects.select_related("call").get(person=self.cast.gail)
        return found

    def _by_hana(self) -> dict[str, Any]:
        return {"by": Actor.person(self.cast.hana), "at": timezone.now()}


@pytest.fixture
def meetings(live_cast: Any) -> Meetings:
    return Meetings(live_cast)


@pytest_asyncio.fixture(loop_scope="session")
async def gail(visitor: Visit) -> Attendee:
    arrived = await visitor(viewport={"width": 1280, "height": 800}, color_scheme="light", reduced_motion="reduce")
    await media.burn_in(arrived.context, NUMBERS["Gail"])
    await arrived.context.add_init_script(KEEP_TRACKS)
    await arrived.context.add_init_script(CONNECTIONS)
    return Attendee("Gail", arrived)


@pytest_asyncio.fixture(loop_scope="session")
async def link(gail: Attendee, meetings: Meetings) -> str:
    """Gail's link to a meeting in whose room she is; Hana let her in from elsewhere."""
    _, link = await meetings.elsewhere(meetings.open)
    await gail.page.goto(link)
    await gail.walk_in(False)
    await expect(gail.page.locator('[data-step="waiting"] h1')).to_be_focused()
    await until("the house knows that Gail waits", lambda: meetings.elsewhere(meetings.is_waiting))
    await meetings.elsewhere(meetings.let_in)
    await gail.in_the_room()
    return link


def seen(page: Page, heading: str) -> Any:
    return expect(page.get_by_role("heading", level=1, name=heading)).to_be_visible(timeout=PATIENCE * 1000)


async def devices_are_off(page: Page) -> None:
    """Every track that this page ever asked for has ended."""

    async def off() -> bool:
        return bool(await page.evaluate("tracks.length > 0 && tracks.every(track => track.readyState === 'ended')"))

    await until("camera and microphone are off", off)


KEEP_TRACKS = """globalThis.tracks = [];
const devices = navigator.mediaDevices;  // an empty page has none
const asked = devices?.getUserMedia.bind(devices);
if (devices) devices.getUserMedia = async wanted => { const got = await asked(wanted); tracks.push(...got.getTracks()); return got; };"""

BEFORE_THE_DOOR = [
    ("full", "This call is full", "Try again"),
    ("too_early", "You are early", "Try again"),
    ("expired", "This invitation has expired", "Ask whoever invited you for a new link."),
    ("revoked", "This invitation was taken back", "Look for a later message, or ask whoever invited you."),
    ("ended", "The call has ended", "If you said yes to a recording, you can see what was kept of you and have it erased."),
    ("cancelled", "This meeting was cancelled", "If you expected it to happen, ask whoever invited you."),
]


@pytest.mark.parametrize(("state", "heading", "next_step"), BEFORE_THE_DOOR, ids=[state for state, *_ in BEFORE_THE_DOOR])
async def test_who_cannot_come_in_is_told_why_and_what_to_do(gail: Attendee, meetings: Meetings, state: str, heading: str, next_step: str) -> None:
    link = await meetings.elsewhere(getattr(meetings, state))

    await gail.page.goto(link)

    await seen(gail.page, heading)
    await expect(gail.page.get_by_role("main").get_by_text(next_step, exact=True)).to_be_visible()
    await expect(gail.page.get_by_role("heading", level=1)).to_have_count(1)
    assert "#" not in gail.page.url
    await gail.inspect(f"state {state}")


async def test_who_found_the_call_full_comes_in_once_somebody_left(gail: Attendee, meetings: Meetings) -> None:
    link = await meetings.elsewhere(meetings.full)
    await gail.page.goto(link)
    await seen(gail.page, "This call is full")
    await meetings.elsewhere(meetings.one_guest_leaves)

    await gail.page.get_by_role("link", name="Try again").click()

    await seen(gail.page, "Hana invites you to a call")


async def test_who_joins_from_another_tab_goes_on_there_and_can_come_back(gail: Attendee, link: str) -> None:
    """The same for another device: the newest place counts, and the older one says so."""
    second = Attendee("Gail", Visitor(gail.visitor.context, await gail.visitor.context.new_page()))
    await second.page.goto(link)
    await second.in_the_room()

    await seen(gail.page, "You joined from another place")
    await expect(gail.page.get_by_role("link", name="Join here instead")).to_be_visible()
    await gail.inspect("state replaced")
    await gail.page.get_by_role("link", name="Join here instead").click()

    await gail.in_the_room()
    await seen(second.page, "You joined from another place")


@pytest.mark.parametrize(("way", "heading"), [("remove_gail", "You were removed from the call"), ("sign_gail_out", "You are no longer signed in")])
async def test_who_may_not_be_there_any_more_is_told_so_and_media_end_although_the_page_would_hold_on(
    gail: Attendee, link: str, meetings: Meetings, way: str, heading: str
) -> None:
    """What `bench access` takes the time of."""
    await until("media flow", lambda: gail.page.evaluate("connections.some(one => one.connectionState === 'connected')"))
    await gail.page.evaluate("RTCPeerConnection.prototype.close = () => {}")

    await meetings.elsewhere(getattr(meetings, way))

    await seen(gail.page, heading)
    await devices_are_off(gail.page)
    await until("the server has let go", lambda: gail.page.evaluate("connections.every(one => one.connectionState !== 'connected')"))


async def test_whose_session_ends_in_the_call_is_out_and_comes_back_by_the_link(gail: Attendee, link: str, meetings: Meetings) -> None:
    """Signed out elsewhere: the page stops by itself, says so, and the invitation still works."""
    await meetings.elsewhere(meetings.sign_gail_out)

    await seen(gail.page, "You are no longer signed in")
    await expect(gail.page.get_by_text("Open the link in your invitation again")).to_be_visible()
    await gail.inspect("state signed out")
    await gail.page.goto("about:blank")
    await gail.page.goto(link)

    await gail.in_the_room()


async def test_when_the_host_ends_the_meeting_everybody_is_told_and_nothing_runs_on(gail: Attendee, link: str, meetings: Meetings) -> None:
    await meetings.elsewhere(meetings.end)

    await seen(gail.page, "The call has ended")
    await expect(gail.page.get_by_role("heading", name="What was kept of you")).to_be_visible()
    await devices_are_off(gail.page)
    await gail.inspect("state ended in the call")


async def test_when_no_host_is_left_everybody_is_told_why_it_ended_and_what_becomes_of_the_recording(
    gail: Attendee, link: str, meetings: Meetings
) -> None:
    await meetings.elsewhere(meetings.end_without_host)

    await seen(gail.page, "The call has ended because no host is left")
    await expect(gail.page.get_by_text("the recording has stopped with it")).to_be_visible()
    await devices_are_off(gail.page)
    await gail.inspect("state no host")


async def test_who_is_left_without_a_host_sees_and_hears_the_end_coming_and_that_it_is_called_off(
    gail: Attendee, link: str, meetings: Meetings, stack: Stack
) -> None:
    """The jobs, one of which ends the call, stand still while the page says that the end is there."""
    coming = gail.page.locator('[data-banner="hostless"]')

    await meetings.elsewhere(meetings.set_role, "member", scenes.later(minutes=5))

    await expect(coming).to_have_text(re.compile(r"No host is left\. The call, and any recording of it, ends in [45]:\d\d unless"))
    first = await coming.inner_text()
    await expect(gail.page.locator("[data-announce]", has_text="No host is left.")).to_have_count(1)
    await expect(coming).not_to_have_text(first)
    await gail.inspect("state no host soon")

    await meetings.elsewhere(meetings.set_role, "host", timezone.now())
    await expect(coming).to_be_hidden()
    await expect(gail.page.locator("[data-announce]", has_text="The call has a host again and goes on.")).to_have_count(1)

    stack.processes["jobs"].send_signal(signal.SIGSTOP)
    try:
        await meetings.elsewhere(meetings.set_role, "member", scenes.later(hours=-1))
        await expect(coming).to_have_text(re.compile("ends any moment now"))
    finally:
        stack.processes["jobs"].send_signal(signal.SIGCONT)
    await seen(gail.page, "The call has ended because no host is left")


async def test_who_opens_a_good_link_where_too_many_were_guessed_is_told_to_wait_and_not_that_it_is_bad(gail: Attendee, meetings: Meetings) -> None:
    """Somebody on the same network guessed links: Gail's own is not looked at, and works once the limit is over."""
    _, link = await meetings.elsewhere(meetings.open)
    await asyncio.to_thread(guess_too_often)

    await gail.page.goto(link)

    await seen(gail.page, "Too many links were tried")
    await expect(gail.page.get_by_role("button", name="Try again")).to_be_visible()
    await gail.inspect("state too many")
    forget_cached_limits()
    await gail.page.get_by_role("button", name="Try again").click()
    await seen(gail.page, "Hana invites you to a call")
    gail.visitor.errors[:] = [text for text in gail.visitor.errors if "status of 429" not in text]


def guess_too_often() -> None:
    """From this process: the running site counts in the same Redis."""
    client = Client()
    try:
        for _ in range(2 * WRONG_LINKS.times):  # twice: as many as that count also when a new window begins meanwhile
            client.post("/j/open", {"secret": "A" * 22}, content_type="application/json")
    finally:
        connections.close_all()
