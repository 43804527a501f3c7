"""The package of an access request (GDPR Art. 15, 20): a zip that is made while it is sent, opens offline and loads nothing.

What must never happen here, and what holds it:

* *Media in clear lies on a disk, or all of it in memory.* Files go into the zip piece by piece, at most 1 MiB at a time, and straight out.
* *Somebody else's part.* Files are those of a viewing of the own part, which `recordings.release` judges again for each piece.
* *A broken package looks whole.* `checksums.txt` comes last; where a file fails, sending ends without it and without the zip's directory.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from compliance.registry import Export, holdings
from recordings import queries as recordings
from recordings import vault, viewing
from recordings.models import Artefact, Recording, Viewing
from tenants import scope
from tenants.models import Person, Tenant
from tenants.permissions import Actor

PIECE = 1024 * 1024  # bytes of media in memory at a time
MIME = "application/zip"
SHEET = """body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #14212b; background: #fbfaf7 }
video, audio { display: block; max-width: 100%; margin: 0.5rem 0 1.5rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid #d9d6ce }
@media (prefers-color-scheme: dark) { body { color: #e8eef1; background: #0f1519 } a { color: #7fcbd6 } }
"""


@dataclass(frozen=True)
class Media:
    """One own file of the package, and the viewing that opens it."""

    name: str
    title: str
    sound: bool
    viewing: Viewing
    artefact: Artefact


@dataclass(frozen=True)
class Package:
    """What goes into the zip: small files as bytes, media as what is to be opened."""

    name: str
    tenant: Tenant
    small: dict[str, bytes] = field(default_factory=dict)
    media: list[Media] = field(default_factory=list)


def collected(*, person: Person, tenant: Tenant, by: Actor, at: datetime) -> Package:
    """Everything that the registry exports about a person, and viewings of the own part of each recording. Inside the tenant's scope.

    Entries: `content.opened`, one for each recording that is in it.
    """
    data = {held.model: list(held.export(person)) for held in holdings() if held.export and _exported(held.fields)}
    media = [one for recording in recordings.own_recordings(person) for one in _media(recording, person, by, at)]
    decisions, looks = data.get("consent.Decision", []), data.get("recordings.Viewing", [])
    told = {"person": person, "controller": tenant.name, "contact": tenant.contact_email, "at": at, "media": media}
    page = render_to_string("compliance/package.html", {**told, "decisions": decisions, "looks": looks})
    small = {
        "index.html": page.encode(),
        "style.css": SHEET.encode(),
        "data.json": _json(data),
        "decisions.json": _json(decisions),
        "looks.json": _json(looks),
    }
    return Package(f"{tenant.slug}-{at.date().isoformat()}.zip", tenant, small, media)


def _exported(fields: Any) -> bool:
    return any(one.export is Export.INCLUDE for one in fields.values())


def _json(value: Any) -> bytes:
    """Readable, times in ISO 8601 with their offset."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain).encode()


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _media(recording: Recording, person: Person, by: Actor, at: datetime) -> Iterator[Media]:
    """The own files of one recording that can be played now."""
    (share,) = viewing.shares(recording, only=person)
    if recording.state not in viewing.PLAYABLE or not share.playable:
        return
    opened = viewing.view(recording=recording, by=by, person=person, whole=False, purpose=Viewing.Purpose.OWN, at=at)
    for part in share.parts:
        for number, artefact in enumerate(part.files, 1):
            name = f"media/{recording.requested_at:%Y-%m-%d}-{str(recording.pk)[:8]}-{part.source}-{number}.webm"
            yield Media(name, f"{recording.call.meeting.title}: {part.label} {number}", part.source in ("mic", "screen-audio"), opened, artefact)


class _Outbox(io.RawIOBase):
    """What the zip writes, until it is sent. Cannot be sought, so sizes follow each file instead of standing before it."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        whole, self._waiting = b"".join(self._waiting), []
        return whole


def stream(package: Package) -> Iterator[bytes]:
    """The zip, piece by piece. Opens the tenant's scope for each piece itself. Raises what `vault.reader` raises, in the middle."""
    outbox, sums = _Outbox(), []
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, content in package.small.items():
            sums.append(f"{sha256(content).hexdigest()}  {name}")
            archive.writestr(_info(name), content)
            yield outbox.taken()
        for media in package.media:
            digest = sha256()
            with archive.open(_info(media.name), "w", force_zip64=True) as entry:
                for piece in _pieces(package.tenant, media):
                    digest.update(piece)
                    entry.write(piece)
                    yield outbox.taken()
            sums.append(f"{digest.hexdigest()}  {media.name}")
            yield outbox.taken()
        archive.writestr(_info("checksums.txt"), "\n".join([*sums, ""]))
    yield outbox.taken()


def _info(name: str) -> zipfile.ZipInfo:
    now = timezone.now()
    return zipfile.ZipInfo(name, (now.year, now.month, now.day, now.hour, now.minute, now.second))


def _pieces(tenant: Tenant, media: Media) -> Iterator[bytes]:
    position, size = 0, 1
    while position < size:
        with scope.entered(tenant):  # judged anew for each piece
            reader = vault.reader(viewing=media.viewing, artefact=media.artefact, at=timezone.now())
            size = reader.size
            piece = reader.read(position, min(PIECE, size - position))
        yield piece
        position += len(piece)
