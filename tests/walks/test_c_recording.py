"""Path (c): Hana records; whoever agreed is kept, whoever declined is not, and a withdrawal takes effect in the middle of it.

What was stored is not believed but opened: every journal is decrypted, its pictures are decoded, and the stamp burned into each
picture says whose it is and when it was captured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import av
import numpy as np
import pytest
import pytest_asyncio
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.rtp import RtpPacket
from playwright.async_api import Locator, expect

from consent.models import Decision
from recordings import services, storage
from recordings.journal import Reader
from recordings.models import Artefact, Epoch, Track
from tenants import scope
from tenants.keys import service as keys

from . import media
from .people import NUMBERS, PATIENCE, Attendee, Trio, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SLOW = PATIENCE * 1000  # ms


# What is stored


@dataclass(frozen=True)
class Stretch:
    """One epoch as it lies on the disk, opened."""

    name: str
    source: str
    number: int
    sealed_key: UUID
    closed_at: datetime | None
    packets: list[bytes]
    complete: bool

    @property
    def stamps(self) -> list[media.Stamp]:
        """What the pictures say of themselves, in their order; those that cannot be read are left out."""
        return [stamp for picture in pictures(self.packets) if (stamp := media.stamp_of(picture))]


def stretches(tenant: Any, person: str = "", source: str = "") -> list[Stretch]:
    """Every epoch of a tenant in order, as far as it was written; of one person or source where named."""
    with scope.entered(tenant):
        found = Epoch.objects.select_related("track__person").order_by("track__person__name", "track__source", "number")
        return [
            opened(epoch)
            for epoch in found
            if person in ("", epoch.track.person.name) and source in ("", epoch.track.source) and epoch.cut != "unused"
        ]


def opened(epoch: Epoch) -> Stretch:
    artefact = epoch.artefacts.get(kind=Artefact.Kind.JOURNAL)
    claim = services.claim(epoch=epoch)
    assert artefact.sealed_key is not None
    data_key = keys.unseal(sealed_key_id=artefact.sealed_key, tenant_id=epoch.tenant_id, context=claim.digest())
    with storage.store().open(artefact.object_name) as file:
        journal = Reader(file, data_key, claim)
        packets = [item.data for item in journal.items() if item.kind == b"P"]
    return Stretch(epoch.track.person.name, epoch.track.source, epoch.number, artefact.sealed_key, epoch.closed_at, packets, journal.complete)


def frames(packets: list[bytes]) -> Iterator[bytes]:
    """Whole VP8 frames (RFC 7741) in order; after a hole nothing until the next key frame."""
    parsed = {packet.sequence_number: packet for packet in map(RtpPacket.parse, packets)}
    ordered = sorted(parsed.values(), key=lambda packet: (packet.timestamp, packet.sequence_number))
    frame, following, usable = b"", None, False
    for packet in ordered:
        descriptor, part = VpxPayloadDescriptor.parse(packet.payload)
        first = bool(descriptor.partition_start) and descriptor.partition_id == 0
        if following not in (None, packet.sequence_number):
            frame, usable = b"", False
        if first:
            frame = b""
            usable = usable or not part[0] & 1
        following = (packet.sequence_number + 1) & 0xFFFF
        frame += part
        if packet.marker and usable and frame:
            yield frame


def pictures(packets: list[bytes]) -> Iterator[media.Gray]:
    decoder: Any = av.CodecContext.create("vp8", "r")
    for frame in frames(packets):
        for picture in decoder.decode(av.Packet(frame)):
            yield np.asarray(picture.to_ndarray(format="gray"), dtype=np.uint8)


# What people see


def line(attendee: Attendee, panel: str, name: str, source: str) -> Locator:
    """The mark of one source of somebody, in a panel that is open in this person's page."""
    return attendee.page.locator(f"#{panel}-panel .person", has_text=name).locator(".mark", has_text=source)


async def marked(viewers: list[Attendee], **marks: str) -> None:
    """In every page the tile of each of these people carries the mark."""
    for viewer in viewers:
        for name, mark in marks.items():
            await expect(viewer.tile(name).locator(".mark")).to_have_attribute("data-mark", mark, timeout=SLOW)


async def kept_now(viewers: list[Attendee], words: str) -> None:
    for viewer in viewers:
        await expect(viewer.page.locator("[data-kept]")).to_have_text(f"Kept now: {words} people", timeout=SLOW)


async def closed(tenant: Any, *which: str) -> list[Stretch]:
    """The epochs, as soon as all of them are closed."""

    async def found() -> list[Stretch]:
        def look() -> list[Stretch]:
            there = stretches(tenant, *which)
            return there if all(stretch.closed_at for stretch in there) else []

        return await asyncio.to_thread(look)

    result: list[Stretch] = await until(f"every epoch of {which or 'all'} is closed", found)
    return result


def withdrawn_at(tenant: Any, person: str, purpose: str) -> float:
    """When the no was decided, in ms since 1970."""
    with scope.entered(tenant):
        decision = Decision.objects.filter(person__name=person, purpose__key=purpose, granted=False).latest("decided_at")
        return float(decision.decided_at.timestamp() * 1000)


def answer_to(attendee: Attendee, purpose: str, answer: str) -> Locator:
    return attendee.page.locator(f'#consent-panel [data-purpose="{purpose}"] [data-answer="{answer}"]')


@pytest_asyncio.fixture(loop_scope="session")
async def recorded(trio: Trio) -> Trio:
    """The call of three, being recorded: Hana and Gail are kept, Gus is not."""
    await trio.hana.control("record").click()
    await marked(trio.everybody, Hana="captured", Gail="captured", Gus="declined")
    return trio


async def test_recording_is_told_to_everybody_and_keeps_only_who_agreed(recorded: Trio) -> None:
    await kept_now(recorded.everybody, "2 of 3")
    await expect(recorded.hana.control("record")).to_have_attribute("aria-pressed", "true")
    for viewer in recorded.everybody:
        await expect(viewer.page.locator("[data-recording]")).to_have_attribute("data-state", "on")
    for guest in (recorded.gail, recorded.gus):
        await expect(guest.control("record")).to_be_hidden()
    inside, outside = (recorded.hana.page.locator(f"#record-panel [data-list={side}] .person") for side in ("in", "out"))
    await expect(inside).to_have_count(2)
    await expect(outside).to_have_count(1)
    await expect(outside).to_contain_text("Gus")
    await expect(outside).to_contain_text("camera: Live only")
    await recorded.hana.inspect("9 recording")
    await recorded.gus.sees("Gail")


async def test_a_withdrawal_stops_capture_at_once_and_a_new_yes_begins_under_a_new_key(recorded: Trio, live_cast: Any) -> None:
    hana, gail, gus = recorded.everybody
    await gus.page.keyboard.press("p")
    await gail.page.keyboard.press("k")

    await answer_to(gail, "record-camera", "no").click()

    await expect(gail.page.locator('#consent-panel [data-purpose="record-camera"]')).to_contain_text("Withdrawn.", timeout=SLOW)
    await expect(line(hana, "record", "Gail", "camera")).to_have_attribute("data-mark", "declined")
    await expect(line(gus, "people", "Gail", "camera")).to_have_attribute("data-mark", "declined")
    await expect(gail.page.locator("[data-own-mark]")).to_have_text("Kept: voice")
    await answer_to(gail, "record-voice", "no").click()
    await marked([hana, gail, gus], Gail="agreed", Hana="captured")
    await kept_now([hana, gail, gus], "1 of 3")
    await hana.sees("Gail")
    [first] = await closed(live_cast.acme, "Gail", "cam")
    assert first.complete
    assert {stamp.who for stamp in first.stamps} == {NUMBERS["Gail"]}
    assert first.closed_at is not None
    applied = first.closed_at.timestamp() * 1000
    assert withdrawn_at(live_cast.acme, "Gail", "record-camera") < applied
    assert max(stamp.captured for stamp in first.stamps) < applied

    await answer_to(gail, "record-camera", "yes").click()

    await marked([hana, gail, gus], Gail="captured")
    again, second = stretches(live_cast.acme, "Gail", "cam")
    assert (again.sealed_key, second.number) == (first.sealed_key, first.number + 1)
    assert second.sealed_key != first.sealed_key
    assert again.packets == first.packets


async def test_after_the_stop_nothing_more_is_kept_and_nothing_of_gus_ever_was(recorded: Trio, live_cast: Any) -> None:
    await recorded.gail.sees("Gus")

    await recorded.hana.page.keyboard.press("r")

    await marked(recorded.everybody, Hana="agreed", Gail="agreed", Gus="declined")
    await kept_now(recorded.everybody, "0 of 3")
    for viewer in recorded.everybody:
        await expect(viewer.page.locator("[data-recording]")).to_have_text("Not recording")
    await expect(recorded.hana.control("record")).to_have_attribute("aria-pressed", "false")
    found = await closed(live_cast.acme)
    assert {(stretch.name, stretch.source) for stretch in found} == {(name, source) for name in ("Hana", "Gail") for source in ("mic", "cam")}
    with scope.entered(live_cast.acme):
        assert not Track.objects.filter(person__name="Gus").exists()
    for stretch in found:
        assert stretch.complete
        assert stretch.packets
        if stretch.source == "cam":
            assert {stamp.who for stamp in stretch.stamps} == {NUMBERS[stretch.name]}


async def test_the_page_after_the_call_says_what_was_kept_and_how_to_take_it_back(recorded: Trio) -> None:
    for attendee in (recorded.gail, recorded.gus):
        await attendee.control("leave").click()

    await expect(recorded.gail.page.locator("[data-after]")).to_contain_text("Kept of you while this page was open: voice, camera")
    await expect(recorded.gail.page.get_by_text("join again and open “My consent”")).to_be_visible()
    await recorded.gail.inspect("10 after")
    await expect(recorded.gus.page.locator("[data-after]")).to_contain_text("Nothing of you was kept while this page was open")
    await expect(recorded.gus.page.get_by_text("join again and open “My consent”")).to_be_hidden()
