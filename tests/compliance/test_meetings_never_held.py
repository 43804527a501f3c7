"""A meeting that nobody ever came to is not kept for ever: it goes by the timetable, after its invitations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from calls import services as meetings
from calls.models import Call, Invitation, Meeting
from calls.services.meetings import LINK_LIFE
from compliance import log
from compliance.models import Hold
from tenants.models import LinkSecret
from tenants.permissions import Actor
from tests.calls import scenes
from tests.recordings.stored import acting

from .timetable import expired

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
DAY = timedelta(days=1)


def called_off(cast: Any) -> Meeting:
    """Hana's meeting with Gus, which nobody ever came to."""
    with acting(cast):
        meeting = scenes.meeting(cast, guests=("gus",))
        meetings.cancel(meeting=meeting, by=Actor.person(cast.hana), at=timezone.now())
        Invitation.objects.filter(meeting=meeting).update(created_at=timezone.now() - DAY)
        return Meeting.objects.get(pk=meeting.pk)


def left(cast: Any, meeting: Meeting) -> tuple[bool, bool, bool]:
    """Is the meeting there still, its invitation, and a link of it?"""
    link = LinkSecret.objects.filter(person=cast.gus).exists()
    with acting(cast):
        return Meeting.objects.filter(pk=meeting.pk).exists(), Invitation.objects.filter(meeting=meeting).exists(), link


def test_a_meeting_that_was_called_off_goes_thirty_days_later_with_its_invitations_and_links(cast: Any) -> None:
    meeting = called_off(cast)
    over = meeting.ended_at + 30 * DAY
    held_once = called_off(cast)
    with acting(cast):
        Call.objects.create(tenant=cast.acme, meeting=held_once, state="ENDED", started_at=meeting.created_at, ended_at=meeting.ended_at)

    early = expired(cast, over)
    assert (early.meetings, left(cast, meeting)) == (0, (True, True, True))
    report = expired(cast, over + timedelta(minutes=1))

    assert (report.meetings, report.failed) == (1, 0)
    assert left(cast, meeting)[:2] == (False, False)
    assert left(cast, held_once)[0]
    with acting(cast):
        assert [entry.on_id for entry in log.of_kinds(["meeting.expired"])] == [str(meeting.pk)]
        assert log.verify(cast.acme) == []
    assert expired(cast, over + DAY).meetings == 0


@pytest.mark.parametrize("who", ["hana", "gus"])
def test_a_hold_on_host_or_guest_keeps_a_meeting_that_was_called_off(cast: Any, who: str) -> None:
    meeting = called_off(cast)
    later = meeting.ended_at + 31 * DAY
    with acting(cast):
        hold = Hold.objects.create(tenant=cast.acme, person_id=getattr(cast, who).pk, reason="claim", placed_at=timezone.now())

    assert (expired(cast, later).meetings, left(cast, meeting)[0]) == (0, True)
    with acting(cast):
        Hold.objects.filter(pk=hold.pk).update(lifted_at=timezone.now())
    assert (expired(cast, later).meetings, left(cast, meeting)) == (1, (False, False, False))


def planned(cast: Any, starts_at: datetime | None, guests: tuple[str, ...] = ()) -> Meeting:
    """A meeting of Hana's, planned a minute ago."""
    with acting(cast):
        meeting = scenes.meeting(cast, guests=guests)
        Meeting.objects.filter(pk=meeting.pk).update(starts_at=starts_at, created_at=timezone.now() - timedelta(minutes=1))
        return Meeting.objects.get(pk=meeting.pk)


@pytest.mark.parametrize("ahead", [None, 10 * DAY], ids=["undated", "in ten days"])
def test_a_planned_meeting_that_nobody_came_to_goes_thirty_days_after_its_start_or_after_it_was_planned(cast: Any, ahead: timedelta | None) -> None:
    meeting = planned(cast, None if ahead is None else timezone.now() + ahead)
    over = (meeting.starts_at or meeting.created_at) + 30 * DAY

    assert (expired(cast, over - timedelta(minutes=1)).meetings, left(cast, meeting)[0]) == (0, True)
    assert (expired(cast, over + timedelta(minutes=1)).meetings, left(cast, meeting)[0]) == (1, False)
    with acting(cast):
        assert [entry.on_id for entry in log.of_kinds(["meeting.expired"])] == [str(meeting.pk)]


def test_a_planned_meeting_stays_while_somebody_is_invited_to_it(cast: Any) -> None:
    meeting = planned(cast, None, guests=("gus",))
    with acting(cast):
        scenes.link(cast, meeting, cast.gus)
    links_end = timezone.now() + LINK_LIFE

    assert (expired(cast, links_end + 29 * DAY).meetings, left(cast, meeting)) == (0, (True, True, True))
    assert (expired(cast, links_end + 31 * DAY).meetings, left(cast, meeting)) == (1, (False, False, False))
