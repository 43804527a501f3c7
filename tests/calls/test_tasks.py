"""The sweep of calls: each call by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from calls import services, tasks
from calls.models import Call, Participant
from tenants import services as house
from tenants.permissions import Actor
from tests.broken import broken

from . import scenes

pytestmark = pytest.mark.django_db
BY = Actor.job("test")


def two_calls(cast: Any) -> list[Call]:
    """Two of Hana's that are on, with Gail in the room for an hour and no worker."""
    then = timezone.now() - timedelta(hours=1)
    made = [scenes.meeting(cast) for _ in range(2)]
    for meeting in made:
        services.joined(participant=scenes.admitted(meeting, cast.gail), by=BY, at=then)
    Call.objects.update(started_at=then)
    Participant.objects.update(entered_at=then)
    return [scenes.call_of(meeting) for meeting in made]


@pytest.mark.parametrize("which", [0, 1])
def test_a_call_that_cannot_be_ended_keeps_no_other_without_a_host_from_its_end(cast: Any, which: int) -> None:
    with scenes.acme(cast):
        calls = two_calls(cast)
        house.change_role(membership=cast.memberships["Hana"], role="member", by=Actor.person(cast.ada), at=timezone.now())
        broken(calls[which])

    tasks.sweep()

    with scenes.acme(cast):
        assert {call.pk: call.state for call in Call.objects.all()} == {calls[which].pk: "OPEN", calls[1 - which].pk: "ENDED"}


@pytest.mark.parametrize("which", [0, 1])
def test_a_call_without_a_worker_that_breaks_keeps_no_other_from_being_written_down_as_empty(cast: Any, which: int) -> None:
    with scenes.acme(cast):
        calls = two_calls(cast)
        stuck, other = (Participant.objects.get(call=calls[index]) for index in (which, 1 - which))
        broken(stuck)

    tasks.sweep()

    with scenes.acme(cast):
        assert {one.pk: one.state for one in Participant.objects.all()} == {stuck.pk: "JOINED", other.pk: "LEFT"}
