"""A call that another worker takes while this one's database thread is about to open a stretch: nothing of that stretch is written."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models import F

from calls import placement
from calls.models import Placement
from recordings import queries
from recordings.capture import written
from recordings.models import Epoch, Recording, Track
from tenants import scope
from tests.recordings.sittings import made
from tests.recordings.test_capture_erased import PATIENCE, beside, order, until_somebody_waits

pytestmark = pytest.mark.django_db(databases=["default", "keys"], transaction=True)


@pytest.mark.parametrize("taken", [False, True], ids=["still ours", "taken"])
def test_a_stretch_is_opened_only_where_the_call_is_still_this_worker_s_when_it_is_written(cast: Any, taken: bool) -> None:
    sitting = made(cast)
    sitting.answer("gail", "record-voice")
    recording = sitting.start()
    own, other = placement.register("127.0.0.1:1"), placement.register("127.0.0.1:2")
    place = placement.worker_for(sitting.call.pk, cast.acme)
    Placement.objects.update(worker=own, lease_until=F("lease_until") + timedelta(hours=1))
    asked, stays = order(sitting, recording), partial(placement.stays_held, own, sitting.call.pk, place.fence)
    with scope.entered(cast.acme):
        queries.locked(recording.pk)
        thread, outcome = beside(lambda: written.open_epoch(asked, stays))
        until_somebody_waits()
        if taken:
            Placement.objects.update(worker=other, fence=F("fence") + 1)
    thread.join(PATIENCE)

    assert [one.failed for one in outcome] == ["lost" if taken else ""]
    with scope.entered(cast.acme):
        assert (Track.objects.count(), Epoch.objects.count()) == ((0, 0) if taken else (1, 1))
        assert Recording.objects.get().state == (Recording.State.REQUESTED if taken else Recording.State.CAPTURING)
