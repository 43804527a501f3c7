"""What a recorded call left on the disk, opened: every journal decrypted, its pictures and sounds decoded.

Nothing that the product says about a stretch is believed here: whose it is and when it was captured is read from what is burned in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple
from uuid import UUID

import av
import numpy as np
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.rtp import RtpPacket

from recordings import queries, storage
from recordings.journal import End, Item, Reader
from recordings.models import Artefact, Epoch
from recordings.sealing import Context
from tenants import scope
from tenants.keys import service as keys

from . import media
from .people import NUMBERS

PICTURES = ("cam", "screen")
SEQUENCE, PICTURE_IDS = 1 << 16, 1 << 15  # RFC 3550 section 5.1; RFC 7741 section 4.2


class Arrived(NamedTuple):
    """A packet as it was published, and when it arrived, in microseconds since the recording's time 0."""

    at_us: int
    packet: RtpPacket


class Shown(NamedTuple):
    """A decoded picture, and when the last packet of it arrived; `stamp` is None where it cannot be read."""

    at_us: int
    stamp: media.Stamp | None


@dataclass(frozen=True)
class Stretch:
    """One epoch as it lies on the disk. `end` is None for a journal without END."""

    name: str
    source: str
    number: int
    recording: UUID
    epoch: UUID
    sealed_key: UUID
    cut: str
    closed_at: datetime | None
    items: list[Item]
    end: End | None

    @cached_property
    def arrived(self) -> list[Arrived]:
        """Every packet in the order in which it was sent; one that came twice counts once."""
        found: dict[int, Arrived] = {}
        newest = None
        for item in self.items:
            if item.kind == b"P":
                packet = RtpPacket.parse(item.data)
                newest = packet.sequence_number if newest is None else newest + _ahead(packet.sequence_number - newest, SEQUENCE)
                found.setdefault(newest, Arrived(item.arrival_us, packet))
        return [found[number] for number in sorted(found)]

    @cached_property
    def shown(self) -> list[Shown]:
        """Every picture that can be decoded, in order; sound has none."""
        if self.source not in PICTURES:
            return []
        decoder: Any = av.CodecContext.create("vp8", "r")
        found = []
        for at_us, frame in self.frames():
            pictures = decoder.decode(av.Packet(frame))
            found += [Shown(at_us, media.stamp_of(np.asarray(one.to_ndarray(format="gray"), dtype=np.uint8))) for one in pictures]
        return found

    @property
    def number_of_owner(self) -> int:
        """The number that whatever can be seen or heard in it has to carry."""
        return NUMBERS[self.name] | (media.SCREEN if self.source == "screen" else 0)

    @property
    def stamps(self) -> list[media.Stamp]:
        """What the pictures say of themselves; those that cannot be read are left out."""
        return [one.stamp for one in self.shown if one.stamp]

    @cached_property
    def people(self) -> set[int | None]:
        """Whose numbers can be seen or heard in it; None is a picture that says nothing."""
        if self.source in PICTURES:
            return {one.stamp.who if one.stamp else None for one in self.shown}
        return {who for who in NUMBERS.values() if media.loudness(self.sound, who) >= media.AUDIBLE}

    @cached_property
    def sound(self) -> media.Sound:
        """Everything that can be heard, one packet after the other."""
        return media.sound_of(one.packet.payload for one in self.arrived)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Whole VP8 frames in order, from the first key frame on; where one is missing, from the next key frame on."""
        usable, before = False, None
        for packets in self._pictures():
            first, _ = VpxPayloadDescriptor.parse(packets[0].packet.payload)
            parts = [VpxPayloadDescriptor.parse(one.packet.payload)[1] for one in packets]
            key = not parts[0][0] & 1
            follows = before is not None and (first.picture_id - before) % PICTURE_IDS == 1
            usable, before = key or (usable and follows), first.picture_id
            if usable:
                yield max(one.at_us for one in packets), b"".join(parts)

    def _pictures(self) -> Iterator[list[Arrived]]:
        """The packets of each picture that is there from its first to its last packet."""
        waiting: list[Arrived] = []
        for one in self.arrived:
            descriptor, _ = VpxPayloadDescriptor.parse(one.packet.payload)
            if descriptor.partition_start and descriptor.partition_id == 0:
                waiting = [one]
            elif waiting and one.packet.sequence_number == (waiting[-1].packet.sequence_number + 1) % SEQUENCE:
                waiting.append(one)
            else:
                waiting = []
            if waiting and one.packet.marker:
                yield waiting
                waiting = []

    def missing(self) -> int:
        """How much is missing between the first thing stored and the last: pictures, or packets of sound."""
        if self.source in PICTURES:
            steps = [VpxPayloadDescriptor.parse(packets[0].packet.payload)[0].picture_id for packets in self._pictures()]
            return sum((after - before) % PICTURE_IDS - 1 for before, after in zip(steps, steps[1:], strict=False))
        numbers = [one.packet.sequence_number for one in self.arrived]
        return sum((after - before) % SEQUENCE - 1 for before, after in zip(numbers, numbers[1:], strict=False))


def _ahead(step: int, size: int) -> int:
    """A step between two counters that wrap, as the shorter way round."""
    return (step + size // 2) % size - size // 2


@dataclass(frozen=True)
class Held:
    """A journal with its key, held open: it can still be read when the product has finished it, and has deleted both."""

    epoch: Epoch
    sealed_key: UUID
    claim: Context
    data_key: bytes
    file: BinaryIO

    def read(self) -> Stretch:
        """What it holds now, as far as it was written."""
        with scope.entered(self.epoch.tenant):
            epoch = Epoch.objects.get(pk=self.epoch.pk)
        journal = Reader(self.file, self.data_key, self.claim)
        track, items = self.epoch.track, list(journal.items())
        facts = (epoch.number, track.recording_id, epoch.pk, self.sealed_key, epoch.cut, epoch.closed_at)
        return Stretch(track.person.name, track.source, *facts, items, journal.end)


@contextmanager
def held(tenant: Any, **which: Any) -> Iterator[list[Held]]:
    """Every journal of a tenant that was begun, in order of person, source and number; `which` narrows it as a filter of epochs does."""
    with ExitStack() as files:
        with scope.entered(tenant):
            found = Epoch.objects.select_related("tenant", "track__person").exclude(cut="unused").filter(**which)
            journals = [files.enter_context(_opened(one)) for one in found.order_by("track__person__name", "track__source", "number")]
        yield journals


@contextmanager
def _opened(epoch: Epoch) -> Iterator[Held]:
    artefact = epoch.artefacts.get(kind=Artefact.Kind.JOURNAL)
    claim = queries.claim(epoch=epoch)
    assert artefact.sealed_key is not None
    data_key = keys.unseal(sealed_key_id=artefact.sealed_key, tenant_id=epoch.tenant_id, context=claim.digest())
    with storage.store().open(artefact.object_name) as file:
        yield Held(epoch, artefact.sealed_key, claim, data_key, file)


def stretches(tenant: Any, **which: Any) -> list[Stretch]:
    """What `held` finds, as far as it was written. A journal that goes between being found and being opened makes it look again."""
    for last in (False, False, False, True):
        try:
            with held(tenant, **which) as found:
                return [one.read() for one in found]
        except FileNotFoundError:
            if last:
                raise
    raise AssertionError


# Where the recording's time 0 lies on the clock of the burned-in times


def start_not_before(found: list[Stretch]) -> float:
    """The earliest moment, in ms since 1970, that can be time 0: no picture arrives before it was captured."""
    return max(one.stamp.captured - one.at_us / 1000 for stretch in found for one in stretch.shown if one.stamp)


def start_not_after(requested_at: datetime, found: list[Stretch]) -> float:
    """The latest moment, in ms since 1970, that can be time 0.

    Time 0 is nowhere written as a time of day: the worker counts it back, on its monotonic clock, from the moment before a reading to
    the request by the age that the reading found. So it lies before the request by what that reading took. And a stretch is
    written down as closed after its cut, so it lies before any `closed_at` less that stretch's cut. Both are upper bounds for the same
    moment, and the lowest counts; browsers, worker and database share the clock of this machine.
    """
    closed = [one.closed_at.timestamp() * 1000 - one.end.cut_us / 1000 for one in found if one.closed_at and one.end]
    return min([requested_at.timestamp() * 1000, *closed])
