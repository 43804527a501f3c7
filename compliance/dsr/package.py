"""The package of an access request (GDPR Art. 15, 20): a zip that is made while it is sent, opens offline and loads nothing.

What must never happen here, and what holds it:

* *Media in clear lies on a disk, or all of it in memory.* Files go into the zip piece by piece, at most 1 MiB at a time, and straight out.
* *Somebody else's part.* Files are those of a viewing of the own part, which `recordings.release` judges again for each piece.
* *A broken package looks whole.* `checksums.txt` comes last; where a file fails, sending ends without it and without the zip's directory.
* *A slow line breaks the package off.* A viewing that ends while the package is being sent is followed by another one, with its own entry, for a day.
* *One lost file takes the rest with it.* Each is opened to its end before it is sent; what cannot be opened is left out and named, on the
  first page and in `manifest.json`, which are therefore made after the media. `tried` is the same without anybody to send it to.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from django.template.loader import render_to_string
from django.utils import timezone

from calls import queries as calls
from compliance.registry import Export, holdings
from consent import queries as answers
from recordings import playback, vault, viewing
from recordings import queries as recordings
from recordings.models import Artefact, Recording, Viewing
from recordings.sealing import Tampered
from tenants import scope
from tenants.errors import Refused
from tenants.models import Person, Tenant
from tenants.permissions import Actor

LONGEST = timedelta(days=1)  # that a package is being sent: as long as the session of a guest who asked for it
PIECE = 1024 * 1024  # bytes of media in memory at a time
MIME = "application/zip"
LOST = frozenset({"not-found", "key-gone", "key-foreign", "no-consent"})  # of a file that will not open tomorrow either
SHEET = """body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #14212b; background: #fbfaf7 }
video, audio { display: block; max-width: 100%; margin: 0.5rem 0 1.5rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid #d9d6ce }
@media (prefers-color-scheme: dark) { body { color: #e8eef1; background: #0f1519 } a { color: #7fcbd6 } }
"""


@dataclass
class Looks:
    """The viewings of the own part of one recording that a package is sent under, one after the other."""

    recording: Recording
    person: Person
    by: Actor
    began: datetime
    newest: Viewing

    def viewing(self, at: datetime) -> Viewing:
        """The one that opens something now. When the last is over another one is made (entry: `content.opened`); raises Refused as `viewing.view`."""
        if self.newest.expires_at <= at < self.began + LONGEST:
            self.newest = _viewing(self.recording, self.person, self.by, at)
        return self.newest


def _viewing(recording: Recording, person: Person, by: Actor, at: datetime) -> Viewing:
    return viewing.view(recording=recording, by=by, person=person, whole=False, purpose=Viewing.Purpose.OWN, at=at)


@dataclass(frozen=True)
class Media:
    """One own file of the package, and what opens it."""

    name: str
    title: str
    sound: bool
    looks: Looks
    artefact: Artefact


@dataclass(frozen=True)
class Package:
    """What goes into the zip: small files as bytes, media as what is to be opened, and what the first page tells."""

    tenant: Tenant
    small: dict[str, bytes] = field(default_factory=dict)
    media: list[Media] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)


class Opened(NamedTuple):
    """How many files of media could be opened to their end, and the ids of those that could not."""

    files: int
    lost: list[str]


def collected(*, person: Person, tenant: Tenant, by: Actor, at: datetime) -> Package:
    """Everything that the registry exports about a person, and viewings of the own part of each recording. Inside the tenant's scope.

    Entries: `content.opened`, one for each recording that is in it.
    """
    data = _data(person)
    media = [one for recording in recordings.own_recordings(person) for one in _media(recording, person, by, at)]
    decisions, looks = data.get("consent.Decision", []), data.get("recordings.Viewing", [])
    small = {"style.css": SHEET.encode(), "data.json": _json(data), "decisions.json": _json(decisions), "looks.json": _json(looks)}
    told = {"person": person, "controller": tenant.name, "contact": tenant.contact_email, "at": at}
    told |= {"answers": _answers(person), "looks": [_look(one) for one in looks]}
    return Package(tenant, small, media, told)


def named(tenant: Tenant, at: datetime) -> str:
    """What the zip is called."""
    return f"{tenant.slug}-{at.date().isoformat()}.zip"


def tried(*, person: Person) -> Opened:
    """Make everything of a package and throw it away: every export, and every own file opened to its end. Inside the tenant's scope.

    Raises whatever an export raises, and Refused, as "keys-away" 503, where it may be different tomorrow.
    """
    _json(_data(person))
    files = [file for recording in recordings.own_recordings(person) for _part, _number, file in _files(recording, person)]
    lost = [str(file.pk) for file in files if not _opens(partial(_prove, file))]
    return Opened(len(files) - len(lost), lost)


def _prove(file: Artefact) -> None:
    vault.proof(artefact=file)()


def _opens(whole: Callable[[], object]) -> bool:
    """Can it be opened to its end? Raises Refused where it may be different tomorrow, or where it may not be sent any more."""
    try:
        whole()
    except (Tampered, OSError):
        return False
    except Refused as refused:
        if refused.code not in LOST:
            raise
        return False
    return True


def _data(person: Person) -> dict[str, list[Any]]:
    return {held.model: list(held.export(person)) for held in holdings() if held.export and _exported(held.fields)}


def _answers(person: Person) -> list[dict[str, Any]]:
    """Every decision, newest first, as the person's own page shows it; `stands` for the one that counts."""
    found = list(answers.every_decision(person=person.pk))
    sittings = calls.sittings_by_id({decision.call_id for decision in found})
    seen: set[tuple[Any, Any]] = set()
    told = []
    for decision in found:
        sitting, question = sittings.get(decision.call_id), (decision.purpose_id, decision.call_id)
        told.append({"decision": decision, "meeting": sitting.meeting.title if sitting else "", "stands": question not in seen})
        seen.add(question)
    return told


def _look(exported: Mapping[str, Any]) -> dict[str, Any]:
    """One look in words: codes are for programs, in looks.json. A reason that is not offered any more is told by its code."""
    why = dict(Viewing.Purpose.choices).get(exported["purpose"], exported["purpose"])
    return {"at": exported["opened_at"], "own": exported["viewer"] == "own", "why": why}


def _exported(fields: Any) -> bool:
    return any(one.export is Export.INCLUDE for one in fields.values())


def _json(value: Any) -> bytes:
    """Readable, times in ISO 8601 with their offset."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain).encode()


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _media(recording: Recording, person: Person, by: Actor, at: datetime) -> Iterator[Media]:
    """The own files of one recording that can be played now, under one viewing."""
    found = list(_files(recording, person))
    if not found:
        return
    looks = Looks(recording, person, by, at, _viewing(recording, person, by, at))
    for part, number, artefact in found:
        name = f"media/{recording.requested_at:%Y-%m-%d}-{str(recording.pk)[:8]}-{part.source}-{number}.webm"
        yield Media(name, f"{recording.call.meeting.title}: {part.label} {number}", part.source in ("mic", "screen-audio"), looks, artefact)


def _files(recording: Recording, person: Person) -> Iterator[tuple[viewing.Part, int, Artefact]]:
    """The own files of one recording that can be played now, each with its number among those of its source."""
    (share,) = viewing.shares(recording, only=person)
    if recording.state in viewing.PLAYABLE:
        for part in share.parts:
            yield from ((part, number, artefact) for number, artefact in enumerate(part.files, 1))


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


def stream(package: Package) -> Generator[bytes, None, Opened]:
    """The zip, piece by piece; at its end, what of the media was in it. Opens the tenant's scope for each piece itself.

    A file that cannot be opened is left out and named. Raises what `vault.reader` raises, in the middle, for one that fails while it is sent
    or may not be sent any more.
    """
    outbox, sums = _Outbox(), dict[str, str]()
    sent, lost = list[Media](), list[Media]()
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, content in package.small.items():
            sums[name] = _added(archive, name, content)
            yield outbox.taken()
        for media in package.media:
            if not _opens(partial(_verify, package.tenant, media)):
                lost.append(media)
                continue
            digest = sha256()
            with archive.open(_info(media.name), "w", force_zip64=True) as entry:
                for piece in _pieces(package.tenant, media):
                    digest.update(piece)
                    entry.write(piece)
                    yield outbox.taken()
            sums[media.name] = digest.hexdigest()
            sent.append(media)
            yield outbox.taken()
        page = render_to_string("compliance/package.html", {**package.told, "media": sent, "lost": lost})
        sums["index.html"] = _added(archive, "index.html", page.encode())
        sums["manifest.json"] = _added(archive, "manifest.json", _manifest(package, sums, lost))
        _added(archive, "checksums.txt", "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode())
    yield outbox.taken()
    return Opened(len(sent), [str(media.artefact.pk) for media in lost])


def _added(archive: zipfile.ZipFile, name: str, content: bytes) -> str:
    """A small file, written; its SHA-256 in hex."""
    archive.writestr(_info(name), content)
    return sha256(content).hexdigest()


def _manifest(package: Package, sums: dict[str, str], lost: list[Media]) -> bytes:
    """What is in the zip, and what of the media should be and could not be opened."""
    files = [{"name": name, "sha256": digest} for name, digest in sums.items()]
    left_out = [{"name": media.name, "title": media.title, "why": "cannot-be-opened"} for media in lost]
    return _json({"made_at": package.told["at"], "files": files, "left_out": left_out})


def _info(name: str) -> zipfile.ZipInfo:
    now = timezone.now()
    return zipfile.ZipInfo(name, (now.year, now.month, now.day, now.hour, now.minute, now.second))


def _verify(tenant: Tenant, media: Media) -> None:
    with scope.entered(tenant):
        _reader(media).verify()


def _reader(media: Media) -> playback.Reader:
    at = timezone.now()
    return vault.reader(viewing=media.looks.viewing(at), artefact=media.artefact, at=at)


def _pieces(tenant: Tenant, media: Media) -> Iterator[bytes]:
    position, size = 0, 1
    while position < size:
        with scope.entered(tenant):  # judged anew for each piece
            reader = _reader(media)
            size = reader.size
            piece = reader.read(position, min(PIECE, size - position))
        yield piece
        position += len(piece)
