"""Who may invite whom among the staff, how often and how many, and until when an invitation is kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from compliance.registry import Outcome, holdings
from tenants import invitations, scope, services, tasks
from tenants.errors import Refused
from tenants.models import LinkSecret, Membership, StaffInvitation
from tenants.permissions import Actor
from tests.broken import broken
from tests.tenants.test_members import browser_of

from .inviting import ADDRESS, PAGE, holder, invite, invited, kinds, member, queries_open, send, sign_up, work

pytestmark = pytest.mark.django_db


# Who may invite whom


def administrator(cast: Any) -> Membership:
    with scope.entered(cast.acme):
        add = {"name": "Adam", "email": "adam@acme.example", "role": "admin", "by": Actor.person(cast.ada), "at": timezone.now()}
        return services.add_member(**add)


def test_an_administrator_invites_everybody_but_an_owner(cast: Any) -> None:
    adam = browser_of(administrator(cast).user)
    assert 'value="owner"' not in adam.get(PAGE).content.decode()

    answers = [adam.post(PAGE, send(role=role, email=f"{role}@acme.example")).status_code for role in Membership.Role.values]

    assert dict(zip(Membership.Role.values, answers, strict=True)) == dict.fromkeys(Membership.Role.values, 303) | {"owner": 422}


@pytest.mark.parametrize(
    "change",
    [
        lambda found, by: invitations.invite(**send(role="owner", email="olga@acme.example"), by=by, at=timezone.now()),
        lambda found, by: invitations.remind(invitation=found, by=by, at=timezone.now()),
        lambda found, by: invitations.revoke(invitation=found, by=by, at=timezone.now()),
    ],
)
def test_that_only_owners_deal_with_the_place_of_an_owner_is_held_by_the_service(cast: Any, change: Callable[..., Any]) -> None:
    found = invite(cast, role="owner")
    adam = administrator(cast)
    key = Actor("api_key", str(cast.ada.pk), str(cast.acme.pk))

    for by in (Actor.person(adam.person), Actor.person(cast.nils), key):
        with scope.entered(cast.acme), pytest.raises(Refused, match="owners-only"):
            change(found, by)

    shown = browser_of(adam.user).get(PAGE).content.decode()
    assert (ADDRESS in shown, f"invitations/{found.pk}" in shown) == (True, False)


@pytest.mark.parametrize("name", ["hana", "dora", "otto", "nils"])
def test_to_everybody_else_there_is_nothing_to_invite_with(cast: Any, name: str) -> None:
    found, someone = invite(cast), browser_of(getattr(cast, f"{name}_user"))

    assert someone.post(PAGE, send(email="x@acme.example")).status_code == 404
    assert [someone.post(f"{PAGE}invitations/{found.pk}/{what}").status_code for what in ("remind", "revoke")] == [404, 404]
    assert [one.pk for one in queries_open(cast)] == [found.pk]


def test_an_owner_reaches_no_invitation_of_another_tenant(cast: Any) -> None:
    with scope.entered(cast.globex):
        found = invitations.invite(**send(), by=Actor.person(cast.nils), at=timezone.now())

    ada = browser_of(cast.ada_user)

    assert [ada.post(f"{PAGE}invitations/{found.pk}/{what}").status_code for what in ("remind", "revoke")] == [404, 404]
    assert ADDRESS not in ada.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"role": "emperor"}, "unknown-role"),
        ({"name": " "}, "name-malformed"),
        ({"name": "x" * 121}, "name-malformed"),
        ({"email": "nobody"}, "address-malformed"),
        ({"email": "Hana@Acme.example"}, "already-member"),
    ],
)
def test_what_cannot_be_invited_is_refused_by_name_and_leaves_nothing(cast: Any, changed: dict[str, str], code: str) -> None:
    before = kinds(cast.acme)

    with pytest.raises(Refused, match=code):
        invite(cast, **changed)

    assert browser_of(cast.ada_user).post(PAGE, send(**changed)).status_code == 422
    assert kinds(cast.acme) == before


def test_an_address_is_invited_once_and_mailed_at_most_once_a_minute(cast: Any, time_machine: Any) -> None:
    time_machine.move_to("2030-05-09T10:00:00Z", tick=False)
    ada = browser_of(cast.ada_user)
    found = invite(cast)

    said = ada.post(PAGE, send()).content.decode()
    soon = ada.post(f"{PAGE}invitations/{found.pk}/remind", follow=True).content.decode()
    time_machine.shift(60)
    later = ada.post(f"{PAGE}invitations/{found.pk}/remind", follow=True).content.decode()

    assert "This address is invited already." in said
    assert "Wait a minute" in soon
    assert "Another mail" in later


def test_there_is_an_end_to_the_number_of_open_invitations(cast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "MOST_OPEN", 1)
    invite(cast)

    with pytest.raises(Refused, match="too-many-invitations"):
        invite(cast, email="olga@acme.example")


def test_a_guest_who_is_invited_works_here_as_the_same_person(cast: Any) -> None:
    gail = holder(invited(cast, name="Somebody else", email=cast.gail.email))
    sign_up(gail, email=cast.gail.email)

    gail.post("/staff/invitation")

    made = member(cast.acme, cast.gail.email)
    assert made is not None
    assert made.person_id == cast.gail.pk


# What is held


def test_an_erasure_takes_the_invitation_with_it_and_a_copy_names_it(cast: Any) -> None:
    found = invite(cast)
    holding = next(one for one in holdings() if one.model == "tenants.StaffInvitation")
    assert holding.export is not None
    assert holding.erase is not None

    with scope.entered(cast.acme):
        [told] = holding.export(found.person)
        line = holding.erase(found.person, timezone.now())

    assert (told["role"], line.outcome, line.rows, queries_open(cast)) == ("host", Outcome.DONE, 1, [])


def test_what_ended_thirty_days_ago_is_forgotten_with_its_links(cast: Any, time_machine: Any) -> None:
    invited(cast)
    time_machine.move_to(timezone.now() + invitations.LIFE + timedelta(days=29, hours=23), tick=False)
    tasks.forget_staff_invitations()
    assert len(queries_open(cast)) == 1

    time_machine.shift(timedelta(hours=2))
    for _ in range(2):
        tasks.forget_staff_invitations()

    assert (queries_open(cast), LinkSecret.objects.filter(kind="staff").count()) == ([], 0)
    assert kinds(cast.acme).count("staff_invitation.expired") == 1


def test_an_invitation_that_cannot_be_forgotten_keeps_no_other_from_being(cast: Any, time_machine: Any) -> None:
    first, second = invite(cast, email="eva@acme.example"), invite(cast, email="olli@acme.example", name="Olli")
    broken(first)
    time_machine.move_to(timezone.now() + invitations.LIFE + timedelta(days=31), tick=False)

    tasks.forget_staff_invitations()

    with scope.entered(cast.acme):
        assert [one.pk for one in StaffInvitation.objects.all()] == [first.pk]
    assert kinds(cast.acme).count("staff_invitation.expired") == 1
    assert second.pk != first.pk


def test_taking_an_invitation_back_and_sending_it_anew_is_no_way_past_the_pause_between_mails(cast: Any, time_machine: Any) -> None:
    time_machine.move_to(timezone.now(), tick=False)
    first = invite(cast)
    with scope.entered(cast.acme):
        invitations.revoke(invitation=first, by=Actor.person(cast.ada), at=timezone.now())
    time_machine.shift(timedelta(seconds=59))
    with pytest.raises(Refused, match="sent-just-now"):
        invite(cast)
    with scope.entered(cast.globex):
        nils = {"by": Actor.person(cast.nils), "at": timezone.now()}
        assert invitations.invite(**send(), **nils).pk  # Globex knows nothing of it

    time_machine.shift(timedelta(seconds=2))

    assert invite(cast).pk != first.pk
    work(cast.acme)
    assert [one.to for one in mail.outbox] == [[ADDRESS]]
