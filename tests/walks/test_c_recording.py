"""Path (c): Hana records; whoever agreed is kept, whoever declined is not, and a withdrawal takes effect in the middle of it.

What was stored is not believed but opened: every journal is decrypted, its pictures are decoded, and the stamp burned into each
picture says whose it is and when it was captured.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from consent.models import Decision
from recordings import storage
from recordings.models import Artefact, Epoch, Recording, Track
from tenants import scope
from tests.stack import Stack

from . import canary
from .people import NUMBERS, PATIENCE, QUESTIONS, Attendee, Recorded, created_meeting, marked, until
from .stored import Stretch, held, start_not_after, start_not_before, stretches

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SLOW = PATIENCE * 1000  # ms
TRACKS = [(name, source) for name in ("Hana", "Gail") for source in ("mic", "cam")]
COLOURS = """worn => {
  const probe = document.body.appendChild(document.createElement("i"));
  const colour = name => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const found = {worn: worn.map(one => getComputedStyle(document.querySelector(one)).color), "told by": ["captured", "agreed"].map(colour)};
  probe.remove();
  return found;
}"""


# What people see


def line(attendee: Attendee, panel: str, name: str, source: str) -> Locator:
    """The mark of one source of somebody, in a panel that is open in this person's page."""
    return attendee.page.locator(f"#{panel}-panel .person", has_text=name).locator(".mark", has_text=source)


async def nobody_seems_kept(viewer: Attendee) -> None:
    """What is said of the recording as a whole has neither a mark that stands for an answer nor a colour of capture or agreement."""
    for mark in ("[data-kept]", "[data-record-state]"):
        await expect(viewer.page.locator(mark)).to_have_attribute("data-mark", "off")
    colours = await viewer.page.evaluate(COLOURS, ["[data-kept]", "[data-record-state]", "[data-recording]"])
    assert not set(colours["worn"]) & set(colours["told by"])


async def kept_now(viewers: list[Attendee], words: str) -> None:
    for viewer in viewers:
        await expect(viewer.page.locator("[data-kept]")).to_have_text(f"Kept now: {words} people", timeout=SLOW)


async def closed(tenant: Any, *names: str) -> None:
    """Every epoch of these people is closed."""

    async def found() -> bool:
        def look() -> bool:
            with scope.entered(tenant):
                return not Epoch.objects.filter(track__person__name__in=names, closed_at=None).exists()

        return await asyncio.to_thread(look)

    await until(f"every epoch of {names} is closed", found)


def withdrawn_at(tenant: Any, person: str, purpose: str) -> float:
    """When the no was decided, in ms since 1970."""
    with scope.entered(tenant):
        decision = Decision.objects.filter(person__name=person, purpose__key=purpose, granted=False).latest("decided_at")
        return float(decision.decided_at.timestamp() * 1000)


def answer_to(attendee: Attendee, purpose: str, answer: str) -> Locator:
    return attendee.page.locator(f'#consent-panel [data-purpose="{purpose}"] [data-answer="{answer}"]')


def requested_at(tenant: Any) -> datetime:
    """When the only recording of a tenant was asked for."""
    with scope.entered(tenant):
        asked: datetime = Recording.objects.get().requested_at
        return asked


def objects_of(tenant: Any, *names: str) -> set[str]:
    """The names of everything that is stored of these people."""
    with scope.entered(tenant):
        return set(Artefact.objects.filter(epochs__track__person__name__in=names).values_list("object_name", flat=True))


def screen_is_stored(tenant: Any) -> bool:
    """A picture of Gail's screen can be decoded from what is stored."""
    return any(one.people for one in stretches(tenant, track__person__name="Gail", track__source="screen"))


def nothing_of_others(found: list[Stretch]) -> None:
    """Each stretch is one stream; all that can be decoded of it says whose it is, and that is the person it was stored for."""
    for stretch in found:
        assert len({one.packet.ssrc for one in stretch.arrived}) <= 1
        assert stretch.people <= {stretch.number_of_owner}


async def test_recording_is_told_to_everybody_and_keeps_only_who_agreed(recorded: Recorded) -> None:
    await kept_now(recorded.everybody, "2 of 3")
    await expect(recorded.hana.control("record")).to_have_attribute("aria-pressed", "true")
    for viewer in recorded.everybody:
        await expect(viewer.page.locator("[data-recording]")).to_have_attribute("data-state", "on")
        await expect(viewer.page.locator("[data-kept]")).to_have_attribute("data-mark", "captured")
    for guest in (recorded.gail, recorded.gus):
        await expect(guest.control("record")).to_be_hidden()
    inside, outside = (recorded.hana.page.locator(f"#record-panel [data-list={side}] .person") for side in ("in", "out"))
    await expect(inside).to_have_count(2)
    await expect(outside).to_have_count(1)
    await expect(outside).to_contain_text("Gus")
    await expect(outside).to_contain_text("camera: Live only")
    await recorded.hana.inspect("9 recording")
    await recorded.gus.sees("Gail")


async def test_a_recording_in_which_everybody_declined_never_looks_as_if_somebody_were_kept(people: dict[str, Attendee], live_cast: Any) -> None:
    hana = people["Hana"]
    await created_meeting(hana, live_cast.links["Hana"])
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(False)
    await hana.in_the_room()
    state = hana.page.locator("[data-record-state]")

    await hana.control("record").click()

    await expect(hana.page.locator("[data-recording]")).to_have_text("Recording, nobody is kept")
    await expect(state).to_have_text("Recording, nobody is kept")
    await expect(hana.control("record")).to_have_attribute("aria-pressed", "true")
    await nobody_seems_kept(hana)
    await hana.inspect("9 recording nobody")

    await hana.control("record").click()

    await expect(state).to_have_text("Not recording")
    await expect(hana.control("record")).to_have_attribute("aria-pressed", "false")
    await nobody_seems_kept(hana)
    await hana.inspect("9 not recording")


async def test_a_withdrawal_stops_capture_at_once_and_a_new_yes_begins_under_a_new_key(recorded: Recorded, live_cast: Any) -> None:
    """The cut that END names is put on the clock of the burned-in times: no later than `start_not_after` allows."""
    hana, gail, gus = recorded.everybody
    await gus.page.keyboard.press("p")
    await gail.page.keyboard.press("k")

    await answer_to(gail, "record-camera", "no").click()

    await expect(gail.page.locator('#consent-panel [data-purpose="record-camera"]')).to_contain_text("Withdrawn.", timeout=SLOW)
    told = time.time() * 1000
    await expect(line(hana, "record", "Gail", "camera")).to_have_attribute("data-mark", "declined")
    await expect(line(gus, "people", "Gail", "camera")).to_have_attribute("data-mark", "declined")
    await expect(gail.page.locator("[data-own-mark]")).to_have_text("Kept: voice")
    await answer_to(gail, "record-voice", "no").click()
    await marked([hana, gail, gus], Gail="agreed", Hana="captured")
    await kept_now([hana, gail, gus], "1 of 3")
    await hana.sees("Gail")
    await closed(live_cast.acme, "Gail")
    first, voice = stretches(live_cast.acme, track__person__name="Gail", cut="withdrawn")
    assert (first.source, voice.source) == ("cam", "mic")
    nothing_of_others([first, voice])
    assert first.people == voice.people == {NUMBERS["Gail"]}
    latest = start_not_after(requested_at(live_cast.acme), [voice, first])
    earliest = start_not_before([first])
    assert earliest <= latest
    for stretch in (voice, first):
        assert stretch.end is not None
        assert stretch.end.reason == "withdrawn"
        assert max(one.at_us for one in stretch.arrived) <= stretch.end.cut_us
    assert first.end is not None
    assert max(stamp.captured for stamp in first.stamps) < latest + first.end.cut_us / 1000
    assert earliest + first.end.cut_us / 1000 < told
    assert first.closed_at is not None
    assert withdrawn_at(live_cast.acme, "Gail", "record-camera") < first.closed_at.timestamp() * 1000

    await answer_to(gail, "record-camera", "yes").click()

    await marked([hana, gail, gus], Gail="captured")
    again, *later = stretches(live_cast.acme, track__person__name="Gail", track__source="cam", number__gte=first.number)
    assert (again.sealed_key, again.items) == (first.sealed_key, first.items)
    assert later
    assert all(second.sealed_key != first.sealed_key for second in later)

    await gail.page.get_by_role("button", name="Stop, and erase what is kept of me").click()
    await gail.inspect("9 stop and erase")
    await gail.page.get_by_role("button", name="Stop and erase", exact=True).click()

    await expect(gail.page.locator("[data-slot=erased]")).to_have_text(
        "What was kept of you in this meeting is being erased. Nobody can play it any more."
    )
    await marked([hana, gail, gus], Gail="declined", Hana="captured")
    for purpose in QUESTIONS:
        await expect(answer_to(gail, purpose, "no")).to_have_attribute("aria-pressed", "true")
    await hana.sees("Gail")
    await closed(live_cast.acme, "Gail")
    with scope.entered(live_cast.acme):
        whatever = Epoch.objects.filter(track__person__name="Gail", restricted_at=None)
        assert not whatever.exclude(cut="unused").exists()
        assert not Artefact.objects.filter(epochs__in=whatever).exclude(state=Artefact.State.SHREDDED).exists(), "what was never begun has no key"
        assert not Epoch.objects.filter(track__person__name="Hana").exclude(restricted_at=None).exists()


async def test_after_the_stop_nothing_more_is_kept_and_nothing_of_gus_ever_was(recorded: Recorded, live_cast: Any, stack: Stack) -> None:
    """Every stored object is opened and decoded. Then pieces of what was in them are looked for in clear, and found only where planted.

    Gail and Gus share a screen each, and everybody sees both; only Gail agreed to have hers kept.
    """
    await recorded.gail.sees("Gus")
    await recorded.gail.hears("Gus")
    for sharing in (recorded.gail, recorded.gus):
        await sharing.control("share").click()
        await recorded.hana.sees(sharing.name, "screen")
    await until("a picture of Gail's screen is stored", lambda: asyncio.to_thread(screen_is_stored, live_cast.acme))

    with held(live_cast.acme) as journals:
        await recorded.hana.page.keyboard.press("r")
        await closed(live_cast.acme, "Hana", "Gail")
        found = [journal.read() for journal in journals]
    needles: list[bytes] = []

    await marked(recorded.everybody, Hana="agreed", Gail="agreed", Gus="declined")
    await kept_now(recorded.everybody, "0 of 3")
    for viewer in recorded.everybody:
        await expect(viewer.page.locator("[data-recording]")).to_have_text("Not recording")
        await nobody_seems_kept(viewer)
    await expect(recorded.hana.control("record")).to_have_attribute("aria-pressed", "false")
    nothing_of_others(found)
    for name, source in (*TRACKS, ("Gail", "screen")):
        theirs = [stretch for stretch in found if (stretch.name, stretch.source) == (name, source)]
        assert {number for stretch in theirs for number in stretch.people} == {theirs[0].number_of_owner}
        needles += canary.needles(theirs)
    with scope.entered(live_cast.acme):
        assert not Track.objects.filter(person__name="Gus").exists()
        assert {stretch.epoch for stretch in found} == set(Epoch.objects.exclude(cut="unused").values_list("pk", flat=True))
    assert set(storage.store().names()) - recorded.before <= objects_of(live_cast.acme, "Hana", "Gail")
    assert all(stretch.end for stretch in found)
    assert canary.places(needles, stack, recorded.since) == []
    canary.planted_is_found(stack, recorded.since)


async def test_the_page_after_the_call_says_what_was_kept_and_how_to_take_it_back(recorded: Recorded) -> None:
    for attendee in (recorded.gail, recorded.gus):
        await attendee.control("leave").click()

    await expect(recorded.gail.page.locator("[data-after]")).to_contain_text("Kept of you while this page was open: voice, camera")
    await expect(recorded.gail.page.get_by_text("join again and open “My consent”")).to_be_visible()
    await recorded.gail.inspect("10 after")
    await expect(recorded.gus.page.locator("[data-after]")).to_contain_text("Nothing of you was kept while this page was open")
    await expect(recorded.gus.page.get_by_text("join again and open “My consent”")).to_be_hidden()
    for attendee in (recorded.gail, recorded.gus):
        await attendee.page.get_by_role("link", name="What is kept of me").click()
        await expect(attendee.page.get_by_role("heading", name="What is kept of you")).to_be_visible()


async def test_what_was_erased_in_the_call_is_not_called_kept_on_the_page_after_it(recorded: Recorded) -> None:
    gail = recorded.gail
    await expect(gail.page.locator("[data-kept]")).to_have_attribute("data-mark", "captured")
    await gail.page.keyboard.press("k")
    await gail.page.get_by_role("button", name="Stop, and erase what is kept of me").click()
    await gail.page.get_by_role("button", name="Stop and erase", exact=True).click()
    await marked([gail], Gail="declined")
    await expect(gail.page.locator("[data-slot=erased]")).to_contain_text("is being erased")

    await gail.control("leave").click()

    after = gail.page.locator("[data-after]")
    await expect(after.locator("[data-after-mark]")).to_have_text(
        "What was kept of you in this meeting is being erased. Nobody can play it any more."
    )
    await expect(after.locator("[data-after-mark]")).to_have_attribute("data-mark", "stopping")
    await expect(after.locator("[data-after-withdraw]")).to_be_hidden()
    await gail.inspect("10 after erased")


async def test_a_stop_that_does_not_reach_the_server_is_told_while_the_panel_is_closed(recorded: Recorded) -> None:
    hana = recorded.hana
    await hana.page.keyboard.press("Escape")
    await expect(hana.page.locator("#record-panel")).to_be_hidden()
    await hana.page.route("**/stop", lambda route: route.abort())

    await hana.page.keyboard.press("r")

    await expect(hana.page.locator("[data-banner=note]")).to_contain_text("The server could not be reached. Nothing was changed; try again.")
    await expect(hana.page.locator("[data-recording]")).to_have_attribute("data-state", "on")
    hana.visitor.errors[:] = [text for text in hana.visitor.errors if "net::ERR_FAILED" not in text]
