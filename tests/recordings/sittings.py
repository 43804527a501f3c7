"""A call of Acme's that is on: Hana hosts, Gail and Gus are in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from calls.models import Call, Meeting, Participant
from consent import gate
from consent import services as consent
from recordings import services
from recordings.models import Artefact, Epoch, Recording
from tenants import scope
from tenants.permissions import Actor
from tests.calls import scenes


@dataclass
class Sitting:
    """The rows of one call; `who` maps a name of the cast to the Participant."""

    cast: Any
    meeting: Meeting
    call: Call
    who: dict[str, Participant]

    def answer(self, name: str, *purposes: str, granted: bool = True) -> None:
        """The person says yes or no to these purposes, having seen them."""
        person, at = getattr(self.cast, name), timezone.now()
        with scope.entered(self.cast.acme):
            for purpose in purposes:
                consent.serve(person=person, call_id=self.call.pk, purposes=[purpose], at=at)
                consent.decide(call_id=self.call.pk, person=person, purpose=purpose, granted=granted, by=Actor.person(person), at=at)

    def start(self) -> Recording:
        with scope.entered(self.cast.acme):
            return services.start(call=self.call, by=Actor.person(self.cast.hana), at=timezone.now())

    def open_epoch(self, recording: Recording, name: str, source: str, data_key: bytes = b"k" * 32) -> tuple[Epoch, Artefact]:
        """As the worker does it. Inside the scope, under the person's permit."""
        permit = gate.permits(self.call.pk)[str(self.who[name].person_id)][source]
        who = {"recording_id": recording.pk, "participant_id": self.who[name].pk}
        return services.open_epoch(**who, source=source, permit=permit, data_key=data_key, fence=1, by=Actor.job("test"), at=timezone.now())


def made(cast: Any) -> Sitting:
    with scope.entered(cast.acme):
        meeting = scenes.meeting(cast)
        who = {name: scenes.admitted(meeting, getattr(cast, name)) for name in ("hana", "gail", "gus")}
        return Sitting(cast, meeting, scenes.call_of(meeting), who)
