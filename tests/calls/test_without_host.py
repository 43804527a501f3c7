"""A call whose host may host no more does not go on for ever: after a while to come back it ends for everybody, and so does its recording."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from calls import queries, services, tasks
from calls.models import Call, Meeting, Participant
from compliance.models import LogEntry
from recordings import services as recordings
from recordings import tasks as recording_tasks
from recordings.models import Recording
from tenants import identity
from tenants import services as house
from tenants.models import User
from tenants.permissions import Actor

from . import scenes

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
BY = Actor.job("test")


@pytest.fixture
def meeting(cast: Any) -> Meeting:
    """Hana's, with Hana and Gail in the room for an hour."""
    then = timezone.now() - timedelta(hours=1)
    with scenes.acme(cast):
        made = scenes.meeting(cast)
        for person in (cast.hana, cast.gail):
            services.joined(participant=scenes.admitted(made, person), by=BY, at=then)
        Call.objects.update(started_at=then)
        Participant.objects.update(entered_at=then)
    return made


def lose_the_role(cast: Any) -> None:
    house.change_role(membership=cast.memberships["Hana"], role="member", by=Actor.person(cast.ada), at=timezone.now())


def be_removed(cast: Any) -> None:
    house.remove_member(membership=cast.memberships["Hana"], by=Actor.person(cast.ada), at=timezone.now())


def be_locked_out(cast: Any) -> None:
    User.objects.filter(pk=cast.hana_user.pk).update(is_active=False)


def go(cast: Any, meeting: Meeting, **ago: float) -> None:
    """Hana's line is lost: the worker writes it down."""
    own = queries.participation_of(cast.hana, scenes.call_of(meeting))
    assert own is not None
    services.left(participant=own, by=BY, at=timezone.now() - timedelta(**ago))


def state(cast: Any) -> str:
    with scenes.acme(cast):
        return str(Call.objects.get().state)


@pytest.mark.parametrize("cause", [lose_the_role, be_removed, be_locked_out])
def test_a_call_ends_for_everybody_when_its_host_may_host_no_more(cast: Any, meeting: Meeting, cause: Callable[[Any], None]) -> None:
    with scenes.acme(cast):
        cause(cast)
        go(cast, meeting, minutes=1)

    for _ in range(2):
        tasks.sweep()

    assert state(cast) == "ENDED"
    with scenes.acme(cast):
        assert Meeting.objects.get().state == "ENDED"
        entry = LogEntry.objects.get(kind="call.ended")
        assert entry.record["by"]["id"] == "calls-without-host"


def test_a_guest_who_comes_back_is_told_that_the_call_is_over_and_why(cast: Any, meeting: Meeting) -> None:
    gail = Client()
    gail.cookies[identity.GUEST_COOKIE] = scenes.guest_token(cast, meeting, cast.gail)
    with scenes.acme(cast):
        be_removed(cast)
        go(cast, meeting, minutes=1)

    tasks.sweep()

    shown = gail.get(f"/join/{meeting.pk}/").content.decode()
    assert "The call has ended" in shown
    assert "its host no longer works for the organisation" in shown


def test_its_recording_stops_with_it(cast: Any, meeting: Meeting) -> None:
    with scenes.acme(cast):
        recordings.start(call=scenes.call_of(meeting), by=Actor.person(cast.hana), at=timezone.now())
        be_removed(cast)
        go(cast, meeting, minutes=1)

    tasks.sweep()
    recording_tasks.sweep()

    with scenes.acme(cast):
        assert Recording.objects.get().state not in Recording.LIVE


def test_a_host_who_only_just_lost_the_line_has_time_for_the_mistake_to_be_mended(cast: Any, meeting: Meeting) -> None:
    with scenes.acme(cast):
        lose_the_role(cast)
        go(cast, meeting, seconds=5)
    tasks.sweep()
    assert state(cast) == "OPEN"

    with scenes.acme(cast):
        own = cast.memberships["Hana"]
        house.change_role(membership=own, role="host", by=Actor.person(cast.ada), at=timezone.now())
        Participant.objects.update(left_at=timezone.now() - timedelta(minutes=1))
    tasks.sweep()

    assert state(cast) == "OPEN"


def test_people_are_told_the_very_moment_from_which_on_the_sweep_ends_the_call(cast: Any, meeting: Meeting) -> None:
    with scenes.acme(cast):
        call = scenes.call_of(meeting)
        assert queries.ends_without_host(call) is None
        lose_the_role(cast)
        assert queries.ends_without_host(call) is None  # she is still inside
        go(cast, meeting, seconds=5)

        ends_at = queries.ends_without_host(call)

        assert ends_at is not None
        away_since = ends_at - queries.HOSTLESS
        assert not queries.calls_without_host(away_since - timedelta(microseconds=1)).exists()
        assert queries.calls_without_host(away_since).exists()


def test_a_call_into_which_no_host_ever_came_counts_from_its_start(cast: Any) -> None:
    with scenes.acme(cast):
        made = scenes.meeting(cast)
        scenes.entered(made, cast.gail)
        lose_the_role(cast)
        call = scenes.call_of(made)

        assert queries.ends_without_host(call) == call.started_at + queries.HOSTLESS


@pytest.mark.parametrize("role", ["admin", "owner"])
def test_a_host_with_another_role_that_hosts_goes_on(cast: Any, meeting: Meeting, role: str) -> None:
    with scenes.acme(cast):
        house.change_role(membership=cast.memberships["Hana"], role=role, by=Actor.person(cast.ada), at=timezone.now())
        go(cast, meeting, minutes=1)

    tasks.sweep()

    assert state(cast) == "OPEN"


def test_a_host_who_went_for_a_while_keeps_the_call(cast: Any, meeting: Meeting) -> None:
    with scenes.acme(cast):
        go(cast, meeting, minutes=50)

    tasks.sweep()

    assert state(cast) == "OPEN"


def test_a_call_that_was_given_back_its_host_meanwhile_is_not_ended(cast: Any, meeting: Meeting) -> None:
    """The sweep found it, and the role came back before its turn."""
    with scenes.acme(cast):
        found = scenes.call_of(meeting)
        go(cast, meeting, minutes=1)

        assert services.end_without_host(call=found, away_since=timezone.now(), by=BY, at=timezone.now()) is False
