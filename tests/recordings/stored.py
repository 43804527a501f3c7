"""Finished recordings for tests: real keys, sealed journals and playback files of frames that nobody needs to see or hear."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.test import Client, TestCase
from django.utils import timezone

from calls import services as calls
from recordings import finishing, forgetting, journal, playback, queries, services, storage, vault
from recordings.models import Artefact, Epoch, Recording
from recordings.sealing import new_key
from recordings.webm import Frame
from tenants import scope
from tenants.keys import port
from tenants.models import OutboxRow
from tenants.permissions import Actor
from tests.calls import scenes
from tests.recordings.sittings import Sitting

JOB = Actor.job("test")
PURPOSE = {"mic": "record-voice", "cam": "record-camera"}
SECOND = 1_000_000  # microseconds


def sound(start_us: int, seconds: int) -> list[Frame]:
    """Opus packets of 20 ms (RFC 6716 section 3.1: configuration 19), each with bytes of its own."""
    return [Frame(start_us + number * 20_000, True, bytes([19 << 3]) + os.urandom(60)) for number in range(seconds * 50)]


def pictures(start_us: int, seconds: int, size: int = 400) -> list[Frame]:
    """VP8 pictures, ten a second: a key frame each second, by its head (RFC 6386 section 9.1), and others of the same size."""
    key, other = b"\x00\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00", b"\x01" + bytes(9)
    heads = [other if number % 10 else key for number in range(seconds * 10)]
    return [Frame(start_us + number * 100_000, number % 10 == 0, head + os.urandom(size)) for number, head in enumerate(heads)]


def rtp(number: int) -> bytes:
    """An RTP packet of sound (RFC 3550 section 5.1), the `number`th of its track."""
    return bytes([0x80, 111]) + number.to_bytes(2) + (number * 960).to_bytes(4) + (7).to_bytes(4) + bytes([19 << 3]) + os.urandom(60)


@dataclass
class Stored:
    """One recording of a sitting; `files` and `epochs` by (name, source)."""

    sitting: Sitting
    recording: Recording
    epochs: dict[tuple[str, str], Epoch] = field(default_factory=dict)
    journals: dict[tuple[str, str], Artefact] = field(default_factory=dict)
    files: dict[tuple[str, str], Artefact] = field(default_factory=dict)

    @property
    def cast(self) -> Any:
        return self.sitting.cast

    def capture(self, name: str, source: str, seconds: int = 2) -> Epoch:
        """A stretch under the person's permit, with a journal of sound, closed as the worker closes it."""
        key = new_key()
        epoch, artefact = self.sitting.open_epoch(self.recording, name, source, key)
        with storage.store().create(artefact.object_name) as file:
            writer = journal.Writer(file, key, queries.claim(epoch=epoch))
            items = [journal.Item(SECOND + number * 20_000, b"P", rtp(number)) for number in range(seconds * 50)]
            for start in range(0, len(items), 40):
                part = items[start : start + 40]
                writer.append(part[0].arrival_us, part[-1].arrival_us - part[0].arrival_us, part)
            writer.end("stopped", items[-1].arrival_us, writer.packets, writer.last_valid)
        kept, ended = services.kept(artefact=artefact), self.recording.requested_at + timedelta(seconds=1 + seconds)
        services.close_epoch(epoch=epoch, cut="stopped", complete=True, size=kept.size, stored_ms=kept.stored_ms, by=JOB, at=ended)
        self.epochs[name, source] = Epoch.objects.select_related("track__recording", "track__person").get(pk=epoch.pk)
        self.journals[name, source] = queries.journal(epoch)
        return epoch

    def finish(self, name: str, source: str, frames: list[Frame]) -> Artefact:
        """Its playback file under a key of its own; the journal goes, as it does when a file is finished."""
        epoch, key = self.epochs[name, source], new_key()
        claim, parent = queries.claim(epoch=epoch), self.journals[name, source]
        made = Artefact(tenant_id=epoch.tenant_id, kind=Artefact.Kind.PLAYBACK, object_name=storage.new_name(), parent=parent)
        with storage.store().create_object(made.object_name) as file:
            writer = playback.Writer(file, key, claim, source)
            for frame in frames:
                writer.add(frame)
            written = writer.finish()
        made.sealed_key = port.seal(tenant_id=epoch.tenant_id, key=key, context=claim.digest(), holder=queries.HOLDER)
        made.state, made.size, made.spans = Artefact.State.READY, written.size, written.spans
        made.save(force_insert=True)
        made.epochs.add(epoch)
        vault.shred([parent])
        self.files[name, source] = made
        return made

    def stop(self, state: str = Recording.State.READY) -> None:
        """Ten seconds after the start it was stopped, and now it is in this state."""
        self.recording = services.stop(recording=self.recording, by=JOB, at=timezone.now())
        self.recording.stopped_at, self.recording.state = self.recording.requested_at + timedelta(seconds=10), state
        self.recording.save(update_fields=["stopped_at", "state"])

    def forget(self, name: str) -> forgetting.Redacted:
        with acting(self.cast):
            person = getattr(self.cast, name)
            return forgetting.redact(person=person, recording=self.recording, by=JOB, at=timezone.now())

    def objects(self) -> dict[tuple[str, str], str]:
        """SHA-256 of each stored object that is there."""
        found = {}
        for place, artefact in self.files.items():
            path = settings.CLEAC.data / "objects" / artefact.object_name
            if path.exists():
                found[place] = sha256(path.read_bytes()).hexdigest()
        return found


@contextmanager
def acting(cast: Any) -> Iterator[None]:
    """Inside Acme's scope; what is to happen after the commit happens at the end."""
    with TestCase.captureOnCommitCallbacks(execute=True), scope.entered(cast.acme):
        yield


def captured(sitting: Sitting, *places: tuple[str, str]) -> Stored:
    """All three are in the call; these (name, source) agreed, and were captured for two seconds; it is stopped and not finished."""
    for name, source in places:
        sitting.answer(name, PURPOSE[source])
    with acting(sitting.cast):
        for participant in sitting.who.values():
            calls.joined(participant=participant, by=JOB, at=timezone.now())
    made = Stored(sitting, sitting.start())
    with acting(sitting.cast):
        for name, source in places:
            made.capture(name, source)
        made.stop(Recording.State.FINALISING)
    return made


def finished(sitting: Sitting, *places: tuple[str, str], size: int = 400) -> Stored:
    """As `captured`, and each has its playback file: media from 1 s to 3 s of the recording. `size`: bytes of a picture."""
    made = captured(sitting, *places)
    with acting(sitting.cast):
        for name, source in places:
            made.finish(name, source, sound(SECOND, 2) if source == "mic" else pictures(SECOND, 2, size))
        made.stop()
    return made


def as_answered(sitting: Sitting) -> Stored:
    """Hana was in it and never answered; Gail agreed to voice and camera, Gus to his voice and said no to his camera."""
    sitting.answer("gus", "record-camera", granted=False)
    return finished(sitting, ("gail", "mic"), ("gail", "cam"), ("gus", "mic"))


def ordered(made: Stored, name: str) -> list[finishing.Part]:
    """The person's playback files as they are about to be written: rows, and journals that are open."""
    with acting(made.cast):
        finishing.advance(recording=made.recording, by=JOB, at=timezone.now())
        mine = queries.being_written(made.recording).filter(epochs__track__person=getattr(made.cast, name))
        return [finishing.Part(artefact) for artefact in mine]


def guest(sitting: Sitting, name: str) -> Client:
    """A browser in which the person's link was opened."""
    browser = Client()
    browser.cookies["cleac_guest"] = scenes.guest_token(sitting.cast, sitting.meeting, getattr(sitting.cast, name))
    return browser


def promised(task: str) -> list[OutboxRow]:
    """What was promised for after the commit, oldest first."""
    return list(OutboxRow.objects.filter(task=task).order_by("due_at"))
