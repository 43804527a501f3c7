"""Meetings and sittings: every step of the table, every step that is not in it, and what history remembers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from calls import queries, services, tasks
from calls.errors import Door
from calls.models import Call, Invitation, Meeting, Participant
from calls.services.sittings import MOVES
from compliance.registry import Outcome, holdings
from tenants import queries as house
from tenants import scope
from tenants.errors import Refused
from tenants.models import OutboxRow, Person
from tenants.permissions import Actor
from tests.calls import scenes
from tests.calls.scenes import acme

State = Participant.State


def by(person: Person) -> dict[str, object]:
    return {"by": Actor.person(person), "at": timezone.now()}


def refusal(step, **arguments) -> str:
    with pytest.raises(Refused) as refused:
        step(**arguments)
    return refused.value.code


def door(found: Meeting, person: Person, link=None) -> Door:
    return queries.door(Meeting.objects.get(pk=found.pk), person, link, timezone.now())


# Meetings


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"title": "  "}, "title-missing"),
        ({"title": "x" * 121}, "title-too-long"),
        ({"why": "x" * 1001}, "why-too-long"),
        ({"purposes": ["record-voice", "read-minds"]}, "unknown-purpose"),
        ({"starts_at": scenes.later(days=-2)}, "starts-in-the-past"),
        ({"starts_at": scenes.later(days=1000)}, "starts-too-late"),
    ],
)
def test_a_meeting_that_cannot_be_is_refused_by_name(cast, changed, code: str) -> None:
    with acme(cast):
        assert refusal(services.schedule, **({"title": "Review", "host": cast.hana} | by(cast.hana) | changed)) == code


def test_a_meeting_may_ask_for_nothing(cast) -> None:
    with acme(cast):
        made = services.schedule(title=" A \n  talk ", host=cast.hana, **by(cast.hana))

        assert (made.title, made.purposes, made.state) == ("A talk", [], "SCHEDULED")
        assert scenes.kinds()[-1] == "meeting.scheduled"


def test_inviting_by_an_address_finds_whoever_has_it_and_a_link_is_made_for_nobody_else(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast, guests=())
        again, unseen = services.invite(meeting=found, name="Somebody", email="GAIL@guest.example", **by(cast.hana))
        assert (unseen, house.links_to(again.pk).exists()) == ("", False)
        fresh, url = services.invite(meeting=found, name="Greta", **by(cast.hana))

        assert again.person == cast.gail
        assert (fresh.person.name, fresh.person.email) == ("Greta", "")
        assert "/j#" in url
        assert OutboxRow.objects.filter(task="calls.send_invitation").count() == 1
        assert scenes.kinds()[-3:] == ["person.added", "link.issued", "invitation.sent"]


def test_the_mail_says_who_why_what_and_who_answers_and_carries_a_link_that_opens(cast, client) -> None:
    with acme(cast):
        found = scenes.meeting(cast, guests=("gail",), starts_at=scenes.later(days=1))
        row = OutboxRow.objects.get()
    tasks.send_invitation(**row.arguments, tenant_id=str(row.tenant_id), row_id=str(row.pk))

    sent = mail.outbox[0]
    assert sent.to == ["gail@guest.example"]
    assert sent.subject == "Hana of Acme invites you: Review"
    for words in ("Hana of Acme", "To look at the offer", "May Acme record your voice?", "the controller", "contact@acme.example"):
        assert words in sent.body
    assert "&" not in sent.body
    assert not getattr(sent, "alternatives", [])
    secret = sent.body.partition("/j#")[2].split()[0]
    assert client.post("/j/open", {"secret": secret}, content_type="application/json").json() == {"next": f"/join/{found.pk}/"}
    with acme(cast):
        assert Invitation.objects.get().sent_at is not None
        assert "invitation.mailed" in scenes.kinds()


def test_no_mail_goes_out_for_an_invitation_that_was_taken_back(cast) -> None:
    with acme(cast):
        scenes.meeting(cast, guests=("gail",))
        row = OutboxRow.objects.get()
        services.revoke_invitation(invitation=Invitation.objects.get(), **by(cast.hana))
    tasks.send_invitation(**row.arguments, tenant_id=str(row.tenant_id), row_id=str(row.pk))

    assert mail.outbox == []
    row.refresh_from_db()
    assert row.done_at is not None


def test_the_host_needs_no_invitation_and_nobody_is_invited_to_what_is_over(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        assert refusal(services.invite_again, meeting=found, person=cast.hana, **by(cast.hana)) == "invites-the-host"
        services.cancel(meeting=found, **by(cast.hana))
        assert refusal(services.invite_again, meeting=found, person=cast.gail, **by(cast.hana)) == "meeting-over"
        assert refusal(services.cancel, meeting=found, **by(cast.hana)) == "meeting-not-scheduled"
        assert refusal(services.open_call, meeting=found, **by(cast.hana)) == "meeting-cancelled"


# The door


def test_a_guest_is_told_that_it_is_too_early_until_a_quarter_of_an_hour_before_or_the_host_opens(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast, starts_at=scenes.later(minutes=30))
        assert (door(found, cast.gail), door(found, cast.hana)) == (Door.TOO_EARLY, Door.OPEN)
        assert refusal(services.enter_lobby, meeting=found, person=cast.gail, **by(cast.gail)) == "too-early"

        Meeting.objects.update(starts_at=scenes.later(minutes=14))
        assert door(found, cast.gail) == Door.OPEN

        Meeting.objects.update(starts_at=scenes.later(minutes=30))
        services.open_call(meeting=found, **by(cast.hana))
        assert door(found, cast.gail) == Door.OPEN


def test_the_holder_of_a_link_is_told_its_state(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        invitation = Invitation.objects.get(person=cast.gail)
        link = house.links_to(invitation.pk).get()
        link.expires_at = timezone.now() - timedelta(seconds=1)
        assert door(found, cast.gail, link) == Door.EXPIRED

        services.revoke_invitation(invitation=invitation, **by(cast.hana))
        link.refresh_from_db()
        assert door(found, cast.gail, link) == Door.REVOKED
        assert door(found, cast.gus) == Door.OPEN

        services.cancel(meeting=found, **by(cast.hana))
        assert door(found, cast.gus) == Door.CANCELLED


def test_an_old_link_stays_closed_when_a_new_one_is_issued(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        invitation = Invitation.objects.get(person=cast.gail)
        old = house.links_to(invitation.pk).get()
        services.revoke_invitation(invitation=invitation, **by(cast.hana))
        scenes.link(cast, found, cast.gail)
        old.refresh_from_db()
        new = house.links_to(invitation.pk).exclude(pk=old.pk).get()

        assert (door(found, cast.gail, old), door(found, cast.gail, new)) == (Door.REVOKED, Door.OPEN)


def test_a_call_carries_sixteen_and_keeps_the_hosts_seat(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        for number in range(queries.GUEST_SEATS):
            invitation, _ = services.invite(meeting=found, name=f"Guest {number}", **by(cast.hana))
            last = scenes.admitted(found, invitation.person)

        assert door(found, cast.gail) == Door.FULL
        assert refusal(services.enter_lobby, meeting=found, person=cast.gail, **by(cast.gail)) == "full"
        assert scenes.admitted(found, cast.hana).state == State.ADMITTED

        services.leave(participant=last, **by(last.person))
        gail, gus = scenes.waiting(found, cast.gail), scenes.waiting(found, cast.gus)
        services.admit(participant=gail, **by(cast.hana))
        assert refusal(services.admit, participant=gus, **by(cast.hana)) == "full"


def test_a_seat_that_was_lost_and_taken_is_not_given_twice(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        lost = services.joined(participant=scenes.admitted(found, cast.gail), **by(cast.gail))
        lost = services.left(participant=lost, **by(cast.gail))
        assert services.issue_ticket(participant=lost, kind="call", session_ref="x", at=timezone.now())

        for number in range(queries.GUEST_SEATS):
            invitation, _ = services.invite(meeting=found, name=f"Guest {number}", **by(cast.hana))
            scenes.admitted(found, invitation.person)

        assert refusal(services.issue_ticket, participant=lost, kind="call", session_ref="x", at=timezone.now()) == "full"


# Sittings


def test_the_first_to_enter_opens_the_sitting_and_everybody_enters_the_same(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        gail, hana = scenes.entered(found, cast.gail), scenes.entered(found, cast.hana)

        assert gail.call == hana.call
        assert (gail.role, hana.role) == ("guest", "host")
        assert Meeting.objects.get().state == "OPEN"
        assert scenes.kinds()[-3:] == ["call.opened", "participant.entered", "participant.entered"]


def test_a_host_goes_straight_in_and_a_guest_waits_to_be_admitted(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)

        assert scenes.waiting(found, cast.hana).state == State.ADMITTED
        gail, gus = scenes.waiting(found, cast.gail), scenes.waiting(found, cast.gus)
        assert [queries.position(one) for one in (gail, gus)] == [1, 2]
        services.admit(participant=gail, **by(cast.hana))
        assert [one.person for one in queries.waiting(gus.call)] == [cast.gus]
        assert queries.position(gus) == 1


def test_somebody_who_lost_the_ability_to_host_enters_as_a_guest(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        before = scenes.admitted(found, cast.hana)
        after = services.enter_lobby(meeting=found, person=cast.hana, host=False, **by(cast.hana))

        assert (after.role, after.state, after.epoch) == ("guest", State.LOBBY, before.epoch + 1)


def test_closing_the_waiting_page_gives_up_the_wait_and_keeps_the_place(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        gail, _ = scenes.waiting(found, cast.gail), scenes.waiting(found, cast.gus)
        gail = services.step_back(participant=gail, **by(cast.gail))

        assert gail.state == State.LOBBY
        assert queries.position(services.ready(participant=gail, **by(cast.gail))) == 1


def test_a_page_whose_call_was_deleted_meanwhile_is_told_that_it_is_over(cast) -> None:
    with acme(cast):
        gail = scenes.waiting(scenes.meeting(cast), cast.gail)
        gail.call.delete()

        with pytest.raises(Refused, match="ended"):
            services.step_back(participant=gail, **by(cast.gail))


def test_whoever_left_comes_back_through_the_lobby_without_waiting_again(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        gail = services.joined(participant=scenes.admitted(found, cast.gail), **by(cast.gail))
        services.leave(participant=gail, **by(cast.gail))

        back = scenes.entered(found, cast.gail)
        assert back.state == State.LOBBY
        assert services.ready(participant=back, **by(cast.gail)).state == State.ADMITTED


def test_a_lost_line_leaves_the_participant_admitted(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        gail = services.joined(participant=scenes.admitted(found, cast.gail), **by(cast.gail))
        gail = services.left(participant=gail, **by(cast.gail))

        assert gail.state == State.ADMITTED
        assert gail.left_at is not None
        assert services.joined(participant=gail, **by(cast.gail)).left_at is None


def test_whoever_was_removed_or_denied_comes_back_by_a_new_invitation_only(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        gail = services.remove(participant=scenes.admitted(found, cast.gail), **by(cast.hana))
        gus = services.deny(participant=scenes.waiting(found, cast.gus), **by(cast.hana))
        assert (door(found, cast.gail), door(found, cast.gus)) == (Door.REMOVED, Door.DENIED)
        assert (gail.epoch, gus.epoch) == (1, 1)

        for person in (cast.gail, cast.gus):
            services.invite_again(meeting=found, person=person, **by(cast.hana))
            back = scenes.waiting(found, person)
            assert (back.state, back.epoch) == (State.WAITING, 2)


def test_the_host_cannot_be_removed(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        assert refusal(services.remove, participant=scenes.admitted(found, cast.hana), **by(cast.hana)) == "removes-the-host"


def test_taking_an_invitation_back_removes_from_the_call_and_closes_every_link(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        gail = scenes.admitted(found, cast.gail)
        invitation = Invitation.objects.get(person=cast.gail)
        scenes.link(cast, found, cast.gail)
        for _ in range(2):
            services.revoke_invitation(invitation=invitation, **by(cast.hana))

        gail.refresh_from_db()
        assert gail.state == State.REMOVED
        assert not house.links_to(invitation.pk).filter(revoked_at=None).exists()
        assert scenes.kinds().count("invitation.revoked") == 1


def test_the_end_closes_the_meeting_and_a_further_sitting_asks_anew(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        scenes.admitted(found, cast.gail)
        first = scenes.call_of(found)
        for _ in range(2):
            services.end(call=first, **by(cast.hana))
        assert door(found, cast.gail) == Door.ENDED
        assert scenes.kinds().count("call.ended") == 1

        second = services.open_call(meeting=found, **by(cast.hana))
        assert second.pk != first.pk
        assert scenes.entered(found, cast.gail).state == State.LOBBY


# step -> (service, code of its refusal, states in which it changes nothing)
STEPS = {
    "ready": (services.ready, "not-in-lobby", {State.WAITING, State.ADMITTED, State.JOINED}),
    "step back": (services.step_back, "", set(State) - {State.WAITING}),
    "admit": (services.admit, "not-waiting", {State.ADMITTED, State.JOINED}),
    "deny": (services.deny, "not-waiting", set()),
    "joined": (services.joined, "not-admitted", {State.JOINED}),
    "lost": (services.left, "", set(State) - {State.JOINED}),
    "leave": (services.leave, "not-present", {State.LEFT}),
    "remove": (services.remove, "not-present", set()),
}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("step", STEPS)
def test_every_step_from_every_state_goes_by_the_table_or_is_refused_by_name(cast, step: str, state: State) -> None:
    service, code, still = STEPS[step]
    with acme(cast):
        gail = scenes.entered(scenes.meeting(cast), cast.gail)
        Participant.objects.filter(pk=gail.pk).update(state=state, ready_at=timezone.now())
        before = len(scenes.kinds())

        if state in still:
            assert service(participant=gail, **by(cast.hana)).state == state
            assert len(scenes.kinds()) == before
        elif state in MOVES[step]:
            assert service(participant=gail, **by(cast.hana)).state == MOVES[step][state]
            assert len(scenes.kinds()) == before + 1
        else:
            assert refusal(service, participant=gail, **by(cast.hana)) == code
            assert len(scenes.kinds()) == before


@pytest.mark.parametrize("step", ["ready", "admit", "deny", "leave", "remove"])
def test_nothing_moves_in_a_call_that_is_over(cast, step: str) -> None:
    with acme(cast):
        gail = scenes.waiting(scenes.meeting(cast), cast.gail)
        Participant.objects.filter(pk=gail.pk).update(state=State.LOBBY if step == "ready" else State.WAITING)
        Call.objects.update(state="ENDED", ended_at=timezone.now())

        assert refusal(STEPS[step][0], participant=gail, **by(cast.hana)) == "ended"


def test_another_tenant_sees_none_of_it(cast) -> None:
    with acme(cast):
        found = scenes.meeting(cast)
        scenes.waiting(found, cast.gail)
    with scope.entered(cast.globex):
        assert [model.objects.count() for model in (Meeting, Invitation, Call, Participant)] == [0, 0, 0, 0]
        assert refusal(queries.meeting_for, actor=Actor.person(cast.nils), roles=frozenset({"owner"}), meeting_id=found.pk) == "not-found"


def test_a_guests_part_is_exported_and_erased(cast) -> None:
    held = {holding.model: holding for holding in holdings() if holding.model.startswith("calls.")}
    with acme(cast):
        found = scenes.meeting(cast)
        gail = scenes.admitted(found, cast.gail)
        services.issue_ticket(participant=gail, kind="call", session_ref="x", at=timezone.now())
        exported = {model: list(holding.export(cast.gail)) for model, holding in held.items() if holding.export}
        lines = [holding.erase(cast.gail, timezone.now()) for holding in held.values() if holding.erase]

        assert [row["meeting"] for row in exported["calls.Invitation"]] == ["Review"]
        assert [row["state"] for row in exported["calls.Participant"]] == ["ADMITTED"]
        assert {(line.model, line.outcome, line.rows) for line in lines} == {
            ("calls.Meeting", Outcome.DONE, 0),
            ("calls.Invitation", Outcome.DONE, 1),
            ("calls.Ticket", Outcome.DONE, 1),
        }
        assert held["calls.Meeting"].erase(cast.hana, timezone.now()).outcome == Outcome.KEPT
