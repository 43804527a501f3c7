"""Staff by invitation: what the link is worth to whom, and that one invitation makes one member."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compliance import log
from tenants import invitations, scope, services
from tenants.errors import Refused
from tenants.models import LinkSecret, Membership, OutboxRow, User
from tenants.permissions import Actor
from tests.tenants.test_members import PATIENCE, browser_of

from .inviting import ADDRESS, JSON, PAGE, holder, invite, invited, kinds, member, opened, queries_open, secret_of, seen, send, sign_up, work

pytestmark = pytest.mark.django_db


# From the page to the membership


def test_whoever_is_invited_makes_an_account_from_the_mail_and_becomes_a_member_with_that_role(cast: Any) -> None:
    ada = browser_of(cast.ada_user)

    said = ada.post(PAGE, send(), follow=True).content.decode()

    assert f"A mail to {ADDRESS} is on its way." in said
    assert "mail on its way" in said
    secret = secret_of(cast)
    assert mail.outbox[-1].to == [ADDRESS]
    assert mail.outbox[-1].subject == "Acme invites you to work with it on Cleac"
    eva = holder(secret)
    assert "Make an account" in seen(eva)
    assert sign_up(eva)["Location"] == "/staff/invitation"
    assert EmailAddress.objects.get(email=ADDRESS).verified
    assert eva.get("/t/acme/").status_code == 404
    assert "Accept" in seen(eva)
    assert eva.post("/staff/invitation")["Location"] == "/t/acme/"
    assert "Welcome. You work for Acme now." in eva.get("/t/acme/").content.decode()
    made = member(cast.acme, ADDRESS)
    assert made is not None
    with scope.entered(cast.acme):
        assert (made.role, made.person.name) == ("host", "Eva")
        assert log.verify(cast.acme) == []
    assert kinds(cast.acme)[-6:] == [
        *("person.added", "staff_invitation.sent", "link.issued", "staff_invitation.mailed"),
        *("staff_invitation.accepted", "membership.added"),
    ]
    assert ADDRESS in ada.get(PAGE).content.decode()
    assert not queries_open(cast)


def test_somebody_with_an_account_signs_in_and_accepts(cast: Any) -> None:
    nils = holder(invited(cast, name="Nils", email=cast.nils_user.email, role="admin"))
    assert "There is an account with this address." in seen(nils)
    User.objects.get(pk=cast.nils_user.pk)
    nils.force_login(cast.nils_user, backend="allauth.account.auth_backends.AuthenticationBackend")

    assert nils.post("/staff/invitation")["Location"] == "/t/acme/"

    assert [nils.get(f"/t/{slug}/").status_code for slug in ("acme", "globex")] == [200, 200]


def test_the_secret_has_128_random_bits_is_kept_as_a_hash_and_stands_in_no_address_that_is_requested(cast: Any) -> None:
    secret = invited(cast)

    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", secret)
    assert secret not in str([vars(link) for link in LinkSecret.objects.all()])
    assert secret not in str([vars(row) for row in OutboxRow.objects.all()])
    assert holder(secret).get("/staff").status_code == 200


# Whom the link opens nothing for


@pytest.mark.parametrize("secret", ["", "A" * 22, "A" * 2000, "Ä" * 22, "\x00"])
def test_a_guessed_link_is_answered_like_any_other_that_never_was_after_one_query(cast: Any, secret: str) -> None:
    invited(cast)

    with CaptureQueriesContext(connection) as queried, pytest.raises(Refused, match="unknown-link"):
        invitations.link_of(secret=secret)

    assert len(queried) == 1
    stranger = Client()
    assert (opened(stranger, secret).status_code, opened(stranger, secret).json()) == (404, {"code": "unknown-link"})
    assert stranger.get("/staff/invitation")["Location"] == "/staff"
    assert sign_up(stranger).status_code == 200
    assert not User.objects.filter(email=ADDRESS).exists()


def test_guessing_is_counted_together_with_the_links_of_guests(cast: Any) -> None:
    from tenants.throttle import WRONG_LINKS  # noqa: PLC0415 - reason: beside its only use

    browser = Client()
    for number in range(WRONG_LINKS.times):
        browser.post("/j/open" if number % 2 else "/staff/open", {"secret": "A" * 22}, content_type=JSON)

    right = opened(browser, invited(cast))

    assert (right.status_code, right["Content-Type"]) == (429, "application/problem+json")


def test_a_guests_link_is_no_invitation_of_staff_and_the_other_way_round(cast: Any) -> None:
    with scope.entered(cast.acme):
        facts = {"person": cast.gail, "kind": "invitation", "subject_id": cast.gail.pk, "expires_at": timezone.now() + timedelta(days=1)}
        _, guests = services.new_link(**facts, by=Actor.person(cast.hana), at=timezone.now())
    staff = invited(cast)

    assert opened(Client(), guests).status_code == 404
    with pytest.raises(Refused, match="unknown-link"):
        services.open_guest_session(secret=staff, at=timezone.now())


def test_somebody_signed_in_with_another_address_is_told_so_and_cannot_accept(cast: Any) -> None:
    hana = holder(invited(cast), browser_of(cast.nils_user))

    said = seen(hana)

    assert "You are signed in as nils@globex.example, but the invitation is for eva@acme.example." in said
    assert "Accept</button>" not in said
    answer = hana.post("/staff/invitation", follow=True)
    assert "This invitation is for another address." in answer.content.decode()
    assert member(cast.acme, cast.nils_user.email) is None


def test_an_address_that_the_account_claims_but_never_confirmed_does_not_count(cast: Any) -> None:
    EmailAddress.objects.create(user=cast.nils_user, email=ADDRESS, verified=False)
    nils = holder(invited(cast), browser_of(cast.nils_user))

    nils.post("/staff/invitation")

    assert member(cast.acme, cast.nils_user.email) is None


def test_a_second_confirmed_address_of_the_account_counts(cast: Any) -> None:
    EmailAddress.objects.create(user=cast.nils_user, email=ADDRESS, verified=True)
    nils = holder(invited(cast), browser_of(cast.nils_user))

    assert nils.post("/staff/invitation")["Location"] == "/t/acme/"

    assert member(cast.acme, cast.nils_user.email) is not None


def test_an_account_is_made_for_the_invited_address_and_no_other(cast: Any) -> None:
    eva = holder(invited(cast))

    said = sign_up(eva, email="mallory@acme.example")

    assert (said.status_code, "The invitation is for another address." in said.content.decode()) == (200, True)
    assert not User.objects.filter(email__in=("mallory@acme.example", ADDRESS)).exists()


def test_a_stranger_who_would_accept_is_sent_to_sign_in(cast: Any) -> None:
    eva = holder(invited(cast))

    assert eva.post("/staff/invitation")["Location"].startswith("/account/login/")
    assert [one.accepted_at for one in queries_open(cast)] == [None]


# The states of an invitation


def test_an_expired_invitation_is_told_and_opens_nothing_until_it_is_sent_again(cast: Any, time_machine: Any) -> None:
    secret = invited(cast)
    time_machine.move_to(timezone.now() + invitations.LIFE, tick=False)
    eva = holder(secret)

    assert "This invitation has expired" in seen(eva)
    assert "Accounts are by invitation" in sign_up(eva).content.decode()
    ada = browser_of(cast.ada_user)
    assert "expired on" in ada.get(PAGE).content.decode()
    [found] = queries_open(cast)
    said = ada.post(f"{PAGE}invitations/{found.pk}/remind", follow=True).content.decode()

    assert f"Another mail to {ADDRESS} is on its way." in said
    assert sign_up(holder(secret_of(cast)))["Location"] == "/staff/invitation"


def test_a_revoked_invitation_is_told_and_opens_nothing(cast: Any) -> None:
    secret, ada = invited(cast), browser_of(cast.ada_user)
    eva = holder(secret)
    sign_up(eva)
    [found] = queries_open(cast)

    for _ in range(2):
        ada.post(f"{PAGE}invitations/{found.pk}/revoke")

    assert "This invitation was taken back" in seen(eva)
    assert "This invitation was taken back." in eva.post("/staff/invitation", follow=True).content.decode()
    assert member(cast.acme, ADDRESS) is None
    assert (kinds(cast.acme).count("staff_invitation.revoked"), kinds(cast.acme).count("link.revoked")) == (1, 1)
    assert ADDRESS not in ada.get(PAGE).content.decode()


def test_a_mail_whose_invitation_was_taken_back_meanwhile_is_not_sent(cast: Any) -> None:
    found = invite(cast)
    with scope.entered(cast.acme):
        invitations.revoke(invitation=found, by=Actor.person(cast.ada), at=timezone.now())

    work(cast.acme)

    assert mail.outbox == []


def test_a_used_invitation_is_used_for_everybody_who_comes_later(cast: Any) -> None:
    secret = invited(cast)
    eva = holder(secret)
    sign_up(eva)
    eva.post("/staff/invitation")

    later = holder(secret, browser_of(cast.nils_user))

    assert "This invitation was accepted already" in seen(later)
    assert "Accounts are by invitation" in sign_up(holder(secret), email=ADDRESS).content.decode()
    assert "You work for Acme already" in seen(holder(secret, eva))
    assert eva.post("/staff/invitation")["Location"] == "/t/acme/"
    assert kinds(cast.acme).count("membership.added") == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_acceptances_at_once_one_makes_the_member(cast: Any) -> None:
    found = invite(cast)
    user = User.objects.create_user(ADDRESS)
    EmailAddress.objects.create(user=user, email=ADDRESS, verified=True, primary=True)
    together, refused = threading.Barrier(2), []

    def accept() -> None:
        try:
            with scope.entered(cast.acme):
                together.wait(PATIENCE)
                invitations.accept(invitation=found, user=user, at=timezone.now())
        except Refused as refusal:
            refused.append(refusal.code)
        finally:
            connections.close_all()

    both = [threading.Thread(target=accept) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(PATIENCE)

    assert refused == ["invitation-used"]
    assert Membership.objects.filter(tenant=cast.acme, user=user).count() == 1
    assert kinds(cast.acme).count("staff_invitation.accepted") == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_who_invite_the_same_address_at_once_one_is_told_that_it_is_invited(cast: Any) -> None:
    with scope.entered(cast.acme):
        services.add_person(name="Eva", email=ADDRESS, by=Actor.person(cast.ada), at=timezone.now())
    together, refused = threading.Barrier(2), []

    def ask() -> None:
        try:
            together.wait(PATIENCE)
            invite(cast)
        except Refused as refusal:
            refused.append(refusal.code)
        finally:
            connections.close_all()

    both = [threading.Thread(target=ask) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(PATIENCE)

    assert (refused, len(queries_open(cast))) == (["already-invited"], 1)
