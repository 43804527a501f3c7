"""Makes what is missing of the demo, on a service that runs.

Every step first looks whether it is done. A recording that was interrupted is not taken up again: what was kept of it is erased in the
product's own way, and the meeting is played anew.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from django.conf import settings
from django.db import close_old_connections
from django.urls import reverse
from django.utils import timezone

from calls.models import Meeting
from cleac_site import demo
from recordings.models import Recording
from tenants import queries as house
from tenants import scope
from tenants.models import Tenant
from tenants.permissions import Actor

from . import film, notes, queries, services
from .notes import Notes, Staged

HOUSE = "acme"
GUESTS = ("Gail", "Gus")
PAST = ("Loan review", "We go through your application together.")
UPCOMING = ("Signing the contract", "We read the contract together and you sign it.")
PATIENCE = 180.0  # seconds until a recording that ended counts as not being finished
BY = Actor.job("demo")


class Unfinished(Exception):
    """The recording could not be finished; the text is for the log."""


def make(data: Path) -> None:
    """Make what is missing, and write down what cannot be read again."""
    with notes.alone(data, "demo"):
        demo.ensure_cast()
        known = notes.read(data)
        for slug in demo.MEMBERS:
            known.keys[slug] = _key(_tenant(slug), known.keys.get(slug, ""))
        tenant = _tenant(HOUSE)
        known.open = _opened(tenant, known.open)
        notes.write(data, known)
        _record(data, tenant, known)


def is_complete(known: Notes) -> bool:
    """Is there nothing left to make? Never raises for a database that has forgotten what is written down."""
    for slug in demo.MEMBERS:
        tenant = house.tenant_by_slug(slug)
        if tenant is None or not queries.key_works(tenant, known.keys.get(slug, "")):
            return False
    if not all(queries.link_opens(known.open.links.get(name, ""), timezone.now()) for name in GUESTS):
        return False
    with scope.reading(_tenant(HOUSE)):
        recorded, waiting = queries.recording(known.recorded.recording), queries.meeting(known.open.meeting)
        ready = recorded is not None and recorded.state == Recording.State.READY
        return ready and waiting is not None and waiting.state == Meeting.State.OPEN


def _tenant(slug: str) -> Tenant:
    found = house.tenant_by_slug(slug)
    if found is None:
        raise Unfinished(f"the tenant {slug} is gone")
    return found


def _key(tenant: Tenant, secret: str) -> str:
    if queries.key_works(tenant, secret):
        return secret
    with scope.entered(tenant):
        return services.issue_key(by=BY, at=timezone.now())


def _opened(tenant: Tenant, staged: Staged) -> Staged:
    """The open meeting: the one that is known while it is open, else a new one."""
    with scope.entered(tenant):
        at = timezone.now()
        meeting = queries.meeting(staged.meeting)
        if meeting is None or meeting.state != Meeting.State.OPEN:
            staged, meeting = _planned(*UPCOMING)
            services.open_room(meeting=meeting, by=BY, at=at)
        return _linked(staged, meeting)


def _planned(title: str, why: str) -> tuple[Staged, Meeting]:
    host = house.person_by_address(demo.address_of("Hana", HOUSE))
    assert host is not None  # the cast was made before
    meeting = services.plan(title=title, why=why, host=host, by=BY, at=timezone.now())
    return Staged(meeting=str(meeting.pk)), meeting


def _linked(staged: Staged, meeting: Meeting) -> Staged:
    """Every guest has a link that opens the meeting."""
    for name in GUESTS:
        person = house.person_by_address(demo.address_of(name, "guest"))
        assert person is not None  # the cast was made before
        secret = staged.links.get(name, "")
        staged.links[name] = services.link_for(meeting=meeting, person=person, secret=secret, by=BY, at=timezone.now())
    return staged


def _record(data: Path, tenant: Tenant, known: Notes) -> None:
    """The recorded meeting, up to READY. Raises Unexpected, TimeoutError and Unfinished."""
    with scope.entered(tenant):
        meeting, recording = queries.meeting(known.recorded.meeting), queries.recording(known.recorded.recording)
    if recording is None:
        if meeting is not None:
            services.discard(tenant=tenant, meeting=meeting, by=BY, at=timezone.now())
        with scope.entered(tenant):
            known.recorded, meeting = _planned(*PAST)
            _linked(known.recorded, meeting)
        notes.write(data, known)  # before the first frame: whoever comes after an interruption must find this meeting
        known.recorded.recording = _played(known.recorded)
        notes.write(data, known)
    _await_ready(tenant, known.recorded.recording)


def _played(staged: Staged) -> str:
    base = settings.CLEAC.public_url.rstrip("/")
    hana = next(link.url for link in demo.sign_in_links() if link.name == "Hana" and link.url)
    room = reverse("meeting_room", args=[HOUSE, staged.meeting])
    links = {name: f"{base}/j#{secret}" for name, secret in staged.links.items()}
    close_old_connections()  # the half minute needs none
    return asyncio.run(film.play(base=base, sign_in=hana, room=room, links=links))


def _await_ready(tenant: Tenant, recording_id: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with scope.reading(tenant):
            recording = queries.recording(recording_id)
        if recording is None:
            raise Unfinished("the recording is gone")
        if recording.state == Recording.State.READY:
            return
        if time.monotonic() > deadline:
            raise Unfinished(f"the recording is {recording.state}")
        time.sleep(0.3)
