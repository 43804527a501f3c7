"""Leaving a tenant: what a removed member still reaches, and who may remove whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.sessions.models import Session
from django.db import connections
from django.test import Client
from django.utils import timezone

from compliance import log
from compliance.models import LogEntry
from tenants import identity, queries, scope, services
from tenants.errors import Refused
from tenants.models import Membership, Person, Tenant, User
from tenants.permissions import Actor
from tenants.signals import access_changed

pytestmark = pytest.mark.django_db
PATIENCE = 30.0
BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


def remove(tenant: Tenant, membership: Membership, by: Person) -> None:
    with scope.entered(tenant):
        services.remove_member(membership=membership, by=Actor.person(by), at=timezone.now())


def add(tenant: Tenant, name: str, email: str, role: str, by: Person) -> Membership:
    with scope.entered(tenant):
        return services.add_member(name=name, email=email, role=role, by=Actor.person(by), at=timezone.now())


def kinds(tenant: Tenant) -> list[str]:
    with scope.entered(tenant):
        return list(LogEntry.objects.order_by("index").values_list("kind", flat=True))


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client


def test_a_removed_member_is_signed_out_and_the_account_without_a_tenant_is_gone(
    cast: Any, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    hana = browser_of(cast.hana_user)
    cookie = identity.Cookie(identity.STAFF, str(hana.session.session_key))
    assert hana.get("/t/acme/meetings/").status_code == 200
    heard: list[Any] = []

    def hear(sender: Any, *, tenant_id: Any, person_id: Any, **kwargs: Any) -> None:
        heard.append((tenant_id, person_id))

    access_changed.connect(hear)
    with django_capture_on_commit_callbacks(execute=True):
        remove(cast.acme, cast.memberships["Hana"], cast.ada)
    access_changed.disconnect(hear)

    answer = hana.get("/t/acme/meetings/")
    assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/account/login/")
    assert identity.standing_of(cookie, cast.acme) is None
    assert (cast.acme.pk, cast.hana.pk) in heard
    assert queries.user_by_address("hana@acme.example") is None
    assert not EmailAddress.objects.filter(email="hana@acme.example").exists()
    assert not Session.objects.filter(pk=cookie.secret).exists()


def test_the_person_stays_and_the_log_says_who_left_and_which_role(cast: Any) -> None:
    membership = cast.memberships["Hana"]

    remove(cast.acme, membership, cast.ada)

    with scope.entered(cast.acme):
        assert queries.person(cast.hana.pk) == cast.hana
        entry = LogEntry.objects.get(kind="membership.removed")
        assert (entry.on_id, entry.record["facts"]) == (str(membership.pk), {"person": str(cast.hana.pk), "role": "host"})
        assert (entry.record["by"]["id"], log.verify(cast.acme)) == (str(cast.ada.pk), [])


def test_who_works_for_two_tenants_keeps_account_and_session_for_the_other(cast: Any) -> None:
    membership = add(cast.acme, "Nils", "nils@globex.example", "admin", cast.ada)
    nils = browser_of(cast.nils_user)
    assert nils.get("/t/acme/").status_code == 200

    remove(cast.acme, membership, cast.ada)

    assert [nils.get(f"/t/{slug}/").status_code for slug in ("acme", "globex")] == [404, 200]


def test_an_operator_keeps_the_account(cast: Any) -> None:
    User.objects.filter(pk=cast.hana_user.pk).update(is_operator=True)

    remove(cast.acme, cast.memberships["Hana"], cast.ada)

    assert User.objects.filter(pk=cast.hana_user.pk).exists()


def test_removing_twice_is_removing_once(cast: Any) -> None:
    for _ in range(2):
        remove(cast.acme, cast.memberships["Otto"], cast.ada)

    assert kinds(cast.acme).count("membership.removed") == 1


def test_whoever_was_removed_can_be_taken_in_again_as_the_same_person(cast: Any) -> None:
    remove(cast.acme, cast.memberships["Hana"], cast.ada)

    again = add(cast.acme, "Hana", "hana@acme.example", "member", cast.ada)

    assert (again.person_id, again.role) == (cast.hana.pk, "member")


def test_the_last_owner_cannot_be_removed(cast: Any) -> None:
    with pytest.raises(Refused, match="last-owner"):
        remove(cast.acme, cast.memberships["Ada"], cast.ada)

    assert browser_of(cast.ada_user).get("/t/acme/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_owners_who_remove_each_other_at_once_one_stays(cast: Any) -> None:
    second = add(cast.acme, "Eva", "eva@acme.example", "owner", cast.ada)
    together, refused = threading.Barrier(2), []

    def leave(membership: Membership) -> None:
        try:
            together.wait(PATIENCE)
            remove(cast.acme, membership, cast.ada)
        except Refused as refusal:
            refused.append(refusal.code)
        finally:
            connections.close_all()

    both = [threading.Thread(target=leave, args=(membership,)) for membership in (cast.memberships["Ada"], second)]
    for one in both:
        one.start()
    for one in both:
        one.join(PATIENCE)

    assert refused == ["last-owner"]
    assert queries.owners_of(cast.acme.pk).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_who_add_the_same_address_at_once_get_one_person(cast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have found nobody before either writes: the second waits for the first one's commit and takes that person."""
    together, found = threading.Barrier(2), []
    looked = queries.person_by_address

    def looked_together(email: str) -> Person | None:
        known = looked(email)
        together.wait(PATIENCE)
        return known

    monkeypatch.setattr(queries, "person_by_address", looked_together)

    def invite() -> None:
        try:
            with scope.entered(cast.acme):
                by = Actor.person(cast.hana)
                found.append(services.add_person(name="Greta", email="Greta@guest.example", by=by, at=timezone.now()).pk)
        finally:
            connections.close_all()

    both = [threading.Thread(target=invite) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(PATIENCE)

    assert (len(found), len(set(found))) == (2, 1)
    assert kinds(cast.acme).count("person.added") == 1


# The button


def url_of(membership: Membership) -> str:
    return f"/t/acme/members/{membership.pk}/remove"


def test_an_owner_removes_a_host_from_the_page_of_members(cast: Any) -> None:
    ada, hana = browser_of(cast.ada_user), cast.memberships["Hana"]
    assert url_of(hana) in ada.get("/t/acme/members/").content.decode()

    answer = ada.post(url_of(hana), follow=True)

    assert answer.redirect_chain == [("/t/acme/members/", 303)]
    assert "The account of Hana opens nothing here any more." in answer.content.decode()
    assert not Membership.objects.filter(pk=hana.pk).exists()
    with scope.entered(cast.acme):
        assert LogEntry.objects.get(kind="membership.removed").by_id == str(cast.ada.pk)


def test_nobody_removes_oneself_and_only_an_owner_removes_an_owner(cast: Any) -> None:
    eva = add(cast.acme, "Eva", "eva@acme.example", "admin", cast.ada)
    add(cast.acme, "Olga", "olga@acme.example", "owner", cast.ada)
    ada, admin = browser_of(cast.ada_user), browser_of(eva.user)
    own = cast.memberships["Ada"]

    answers = [ada.post(url_of(own), follow=True), admin.post(url_of(own), follow=True)]

    said = [answer.content.decode() for answer in answers]
    assert "Somebody else has to remove you." in said[0]
    assert "Only an owner can remove an owner, make one, or change the role of one." in said[1]
    assert Membership.objects.filter(pk=own.pk).exists()
    assert url_of(own) not in said[0]


@pytest.mark.parametrize("name", ["hana", "dora", "otto", "nils"])
def test_to_everybody_else_the_button_does_not_exist(cast: Any, name: str) -> None:
    someone = browser_of(getattr(cast, f"{name}_user"))

    assert someone.post(url_of(cast.memberships["Dora"])).status_code == 404
    assert someone.get("/t/acme/members/").status_code == 404
    assert Membership.objects.filter(pk=cast.memberships["Dora"].pk).exists()


def test_an_owner_reaches_nobody_of_another_tenant(cast: Any) -> None:
    ada = browser_of(cast.ada_user)

    assert ada.post(url_of(cast.memberships["Nils"])).status_code == 404
    assert Membership.objects.filter(pk=cast.memberships["Nils"].pk).exists()


# Roles


def role_url(membership: Membership) -> str:
    return f"/t/acme/members/{membership.pk}/role"


def test_an_owner_gives_a_host_another_role_and_the_log_says_from_which_to_which(cast: Any) -> None:
    ada, hana = browser_of(cast.ada_user), cast.memberships["Hana"]

    answer = ada.post(role_url(hana), {"role": "member"}, follow=True)

    assert "Hana has this role now: Member" in answer.content.decode()
    assert Membership.objects.get(pk=hana.pk).role == "member"
    assert browser_of(cast.hana_user).get("/t/acme/meetings/").status_code == 404
    with scope.entered(cast.acme):
        entry = LogEntry.objects.get(kind="membership.role_changed")
        assert (entry.by_id, entry.record["facts"]) == (str(cast.ada.pk), {"was": "host", "role": "member"})


def test_an_administrator_makes_no_owner_and_changes_none(cast: Any) -> None:
    admin = browser_of(add(cast.acme, "Eva", "eva@acme.example", "admin", cast.ada).user)
    add(cast.acme, "Olga", "olga@acme.example", "owner", cast.ada)
    hana, ada = cast.memberships["Hana"], cast.memberships["Ada"]

    said = [admin.post(role_url(hana), {"role": "owner"}, follow=True), admin.post(role_url(ada), {"role": "member"}, follow=True)]

    assert ["Only an owner can" in answer.content.decode() for answer in said] == [True, True]
    assert [Membership.objects.get(pk=one.pk).role for one in (hana, ada)] == ["host", "owner"]
    shown = admin.get("/t/acme/members/").content.decode()
    assert 'value="owner"' not in shown
    assert role_url(ada) not in shown


@pytest.mark.parametrize(
    "change",
    [
        lambda owner, by: services.remove_member(membership=owner, by=by, at=timezone.now()),
        lambda owner, by: services.change_role(membership=owner, role="host", by=by, at=timezone.now()),
    ],
)
def test_the_rule_about_owners_is_held_by_the_service_for_people_and_keys(cast: Any, change: Callable[[Membership, Actor], None]) -> None:
    add(cast.acme, "Olga", "olga@acme.example", "owner", cast.ada)
    eva = add(cast.acme, "Eva", "eva@acme.example", "admin", cast.ada)
    key = Actor("api_key", str(cast.ada.pk), str(cast.acme.pk))

    for by in (Actor.person(eva.person), Actor.person(cast.nils), key):
        with scope.entered(cast.acme), pytest.raises(Refused, match="owners-only"):
            change(cast.memberships["Ada"], by)

    assert Membership.objects.get(pk=cast.memberships["Ada"].pk).role == "owner"


def test_an_unknown_role_and_ones_own_are_refused(cast: Any) -> None:
    ada, own, hana = browser_of(cast.ada_user), cast.memberships["Ada"], cast.memberships["Hana"]

    said = [ada.post(role_url(hana), {"role": "emperor"}, follow=True), ada.post(role_url(own), {"role": "host"}, follow=True)]

    assert "There is no such role." in said[0].content.decode()
    assert "Somebody else has to change your role." in said[1].content.decode()
    assert [Membership.objects.get(pk=one.pk).role for one in (hana, own)] == ["host", "owner"]


@pytest.mark.parametrize("name", ["hana", "dora", "otto", "nils"])
def test_nobody_else_changes_a_role(cast: Any, name: str) -> None:
    assert browser_of(getattr(cast, f"{name}_user")).post(role_url(cast.memberships["Dora"]), {"role": "host"}).status_code == 404
    assert Membership.objects.get(pk=cast.memberships["Dora"].pk).role == "dpo"
