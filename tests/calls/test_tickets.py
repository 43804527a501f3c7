"""A ticket opens one socket, once, soon, for one browser session, one participant as it stood, and one kind."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from calls import services
from calls.models import Participant, Ticket
from tenants import scope
from tenants.errors import Refused
from tenants.permissions import Actor
from tests.calls import scenes
from tests.calls.scenes import acme

REF = "a" * 64


def issued(cast, kind: str = "call", **changed) -> str:
    gail = scenes.admitted(scenes.meeting(cast), cast.gail)
    return services.issue_ticket(**({"participant": gail, "kind": kind, "session_ref": REF, "at": timezone.now()} | changed))


def used(ticket: str, **changed):
    facts = {"secret": ticket.partition(".")[2], "kind": "call", "session_refs": [REF], "at": timezone.now()}
    return services.use_ticket(**(facts | changed))


def test_a_ticket_names_its_tenant_and_keeps_only_a_hash_of_its_secret(cast) -> None:
    with acme(cast):
        ticket = issued(cast)

        assert re.fullmatch(cast.acme.pk.hex + r"\.[A-Za-z0-9_-]{43}", ticket)
        assert ticket.partition(".")[2] not in str(vars(Ticket.objects.get()))


def test_a_ticket_lets_in_once(cast) -> None:
    with acme(cast):
        ticket = issued(cast)

        assert used(ticket)[0].person == cast.gail
        with pytest.raises(Refused, match="ticket"):
            used(ticket)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "lobby"},
        {"session_refs": ["b" * 64]},
        {"session_refs": []},
        {"secret": "A" * 43},
        {"secret": ""},
        {"at": timezone.now() + timedelta(hours=1)},
    ],
    ids=["for another kind", "by another session", "by nobody", "another one", "none", "too late"],
)
def test_a_ticket_used_wrongly_is_refused_and_stays_good_for_its_owner(cast, wrong) -> None:
    with acme(cast):
        ticket = issued(cast)

        with pytest.raises(Refused, match="ticket"):
            used(ticket, **wrong)
        assert used(ticket)


def test_a_ticket_is_good_for_less_than_half_a_minute(cast) -> None:
    with acme(cast):
        at = timezone.now()
        ticket = issued(cast, at=at)

        with pytest.raises(Refused, match="ticket"):
            used(ticket, at=at + timedelta(seconds=30))
        assert used(ticket, at=at + timedelta(seconds=29))


def test_a_removal_makes_every_earlier_ticket_worthless(cast) -> None:
    with acme(cast):
        ticket = issued(cast)
        by = {"by": Actor.person(cast.hana), "at": timezone.now()}
        participant = Participant.objects.get(person=cast.gail)
        services.remove(participant=participant, **by)
        services.invite_again(meeting=participant.call.meeting, person=cast.gail, **by)

        with pytest.raises(Refused, match="ticket"):
            used(ticket)


def test_a_ticket_is_worth_nothing_in_another_tenant(cast) -> None:
    with acme(cast):
        ticket = issued(cast)
    with scope.entered(cast.globex), pytest.raises(Refused, match="ticket"):
        used(ticket)


@pytest.mark.parametrize("state", [state for state in Participant.State if state not in ("ADMITTED", "JOINED")])
def test_there_is_no_call_ticket_before_the_admission_and_none_after_the_end_of_it(cast, state: str) -> None:
    with acme(cast):
        gail = scenes.admitted(scenes.meeting(cast), cast.gail)
        Participant.objects.filter(pk=gail.pk).update(state=state)

        with pytest.raises(Refused, match="not-admitted"):
            services.issue_ticket(participant=gail, kind="call", session_ref=REF, at=timezone.now())


def test_tickets_that_can_no_longer_be_used_go_with_the_next_one(cast) -> None:
    with acme(cast):
        gail = scenes.admitted(scenes.meeting(cast), cast.gail)
        for minutes in (-5, -3, 0):
            services.issue_ticket(participant=gail, kind="call", session_ref=REF, at=scenes.later(minutes=minutes))

        assert Ticket.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_sockets_with_one_ticket_one_gets_in(cast) -> None:
    with acme(cast):
        ticket = issued(cast)

    def attempt(_: int) -> bool:
        try:
            with acme(cast):
                used(ticket)
        except Refused:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [False] * 7 + [True]
