"""An erasure while the database's thread is about to open a stretch: whoever comes first, nothing is captured that the erasure did not see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections
from django.utils import timezone

from calls.media.orders import Outcome
from consent import gate
from recordings import forgetting, queries
from recordings.capture import written
from recordings.capture.orders import EpochOpened, OpenEpoch
from recordings.models import Epoch, Recording
from tenants import scope
from tenants.permissions import Actor
from tests.recordings.sittings import Sitting, made

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)
PATIENCE = 30.0  # seconds until somebody who must wait counts as not waiting
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"


@pytest.fixture
def sitting(cast: Any) -> Sitting:
    found = made(cast)
    found.answer("gail", "record-voice")
    return found


def order(sitting: Sitting, recording: Recording) -> OpenEpoch:
    """What capture orders when a packet of Gail's voice is there, under the yes that it has read."""
    with scope.entered(sitting.cast.acme):
        permit = gate.permits(sitting.call.pk)[str(sitting.cast.gail.pk)]["mic"]
    who = (str(sitting.who["gail"].pk), str(sitting.cast.gail.pk), "mic")
    return OpenEpoch(str(sitting.call.pk), 1, sitting.cast.acme.pk, recording.pk, *who, permit.decision_id, uuid4())


def beside(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Do it in a thread with connections of its own; the list gets what came of it."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def until_somebody_waits() -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with connection.cursor() as cursor:
            cursor.execute(WAITING)
            if cursor.fetchone()[0]:
                return
        assert time.monotonic() < deadline, "nobody waits"


def erase(sitting: Sitting, recording: Recording, whole: bool) -> None:
    facts = {"person": sitting.cast.gail, "by": Actor.person(sitting.cast.gail), "at": timezone.now()}
    with scope.entered(sitting.cast.acme):
        if whole:
            forgetting.erase_of_meeting(meeting=sitting.meeting, **facts)
        else:
            forgetting.erase_own(recording=recording, **facts)


@pytest.mark.parametrize("whole", [False, True], ids=["own part", "meeting"])
def test_who_waits_for_an_erasure_finds_no_yes_any_more(sitting: Sitting, whole: bool) -> None:
    recording = sitting.start()
    asked = order(sitting, recording)
    with scope.entered(sitting.cast.acme):
        erase(sitting, recording, whole)
        thread, outcome = beside(lambda: written.open_epoch(asked, lambda: True))
        until_somebody_waits()
    thread.join(PATIENCE)

    assert [(type(one), one.failed) for one in outcome] == [(Outcome, "no-consent")]
    with scope.entered(sitting.cast.acme):
        assert not Epoch.objects.exists()


@pytest.mark.parametrize("whole", [False, True], ids=["own part", "meeting"])
def test_an_erasure_that_waits_for_a_stretch_restricts_it(sitting: Sitting, whole: bool) -> None:
    recording = sitting.start()
    asked = order(sitting, recording)
    with scope.entered(sitting.cast.acme):
        queries.locked(recording.pk)
        outcome = written.open_epoch(asked, lambda: True)
        thread, _ = beside(lambda: erase(sitting, recording, whole))
        until_somebody_waits()
    thread.join(PATIENCE)

    assert isinstance(outcome, EpochOpened)
    with scope.entered(sitting.cast.acme):
        assert Epoch.objects.get().restricted_at is not None
        assert gate.permits(sitting.call.pk).get(str(sitting.cast.gail.pk), {}) == {}
