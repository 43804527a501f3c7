"""Staff by invitation: an address is offered a role, and whoever proves to hold that address becomes a member.

What must never happen here, and what holds it:

* *Somebody joins who does not hold the invited address.* Accepting asks for an account one of whose verified addresses it is; whoever
  makes an account from the link has proved it by the mail that the link came in.
* *Somebody gives a role that they could not give to a member.* Only owners invite, remind or take back an owner, as with members.
* *One invitation makes two members, or works after it was taken back.* Its row is locked while it is accepted, sent again or revoked.

A secret opens nothing by itself, and is kept nowhere but as a hash of the personal link (`LinkSecret`) that the mail carries.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from compliance import holds, log

from . import jobs, queries, scope, services
from .credentials import hashed
from .errors import Refused
from .models import LinkSecret, Membership, Person, StaffInvitation, User
from .permissions import Actor
from .services import NAME_LENGTH, new_link

LIFE = timedelta(days=7)
PAUSE = timedelta(minutes=1)  # between two mails to one address in one tenant
MOST_OPEN = 50  # of one tenant


class State(StrEnum):
    """What the holder of an invitation is told. Only an open one can be accepted."""

    OPEN = "open"
    USED = "used"
    REVOKED = "revoked"
    EXPIRED = "expired"


def state_of(invitation: StaffInvitation, at: datetime) -> State:
    """What an invitation is worth at this time."""
    if invitation.accepted_at is not None:
        return State.USED
    if invitation.revoked_at is not None:
        return State.REVOKED
    return State.EXPIRED if invitation.expires_at <= at else State.OPEN


@transaction.atomic
def invite(*, name: str, email: str, role: str, by: Actor, at: datetime) -> StaffInvitation:
    """Offer somebody a role in the current tenant and promise the mail. Entries: `person.added` where the person is new, `staff_invitation.sent`.

    Somebody whose invitation has expired is invited by the same row again.

    Raises Refused: "unknown-role", "name-malformed", "address-malformed", "owners-only" 403, "already-member" 409, "already-invited" 409,
    "too-many-invitations" 409, "sent-just-now" 409 within a minute of the last mail to the address, whatever became of its invitation.
    """
    name, address = " ".join(name.split()), email.strip().lower()
    _may_give(role, by)
    if not 0 < len(name) <= NAME_LENGTH:
        raise Refused("name-malformed")
    try:
        validate_email(address)
    except ValidationError:
        raise Refused("address-malformed") from None
    person = services.add_person(name=name, email=address, by=by, at=at)
    person = queries.people(scope.current().pk).select_for_update(no_key=True).get(pk=person.pk)
    if queries.members_at(scope.current(), address).exists():
        raise Refused("already-member", 409)
    invitation = queries.open_staff_invitations().filter(person=person).first()
    if invitation is not None and invitation.expires_at > at:
        raise Refused("already-invited", 409)
    _may_mail(person, at)
    if invitation is None:
        if queries.open_staff_invitations().filter(expires_at__gt=at).count() >= MOST_OPEN:
            raise Refused("too-many-invitations", 409, limit=MOST_OPEN)
        invitation = StaffInvitation(tenant=scope.current(), person=person, created_at=at)
    invitation.role = role
    _promise(invitation, by, at)
    log.record("staff_invitation.sent", on=invitation, by=by, at=at, person=person.pk, role=role)
    return invitation


@transaction.atomic
def remind(*, invitation: StaffInvitation, by: Actor, at: datetime) -> StaffInvitation:
    """Promise one more mail, good for the whole time again. Entry: `staff_invitation.sent`.

    Raises Refused: "invitation-over" 409, "owners-only" 403, "sent-just-now" 409 within a minute of the last mail.
    """
    invitation = _locked(invitation)
    if state_of(invitation, at) in (State.USED, State.REVOKED):
        raise Refused("invitation-over", 409)
    _may_give(invitation.role, by)
    _may_mail(invitation.person, at)
    _promise(invitation, by, at)
    log.record("staff_invitation.sent", on=invitation, by=by, at=at, person=invitation.person_id, role=invitation.role)
    return invitation


@transaction.atomic
def revoke(*, invitation: StaffInvitation, by: Actor, at: datetime) -> None:
    """Take an invitation back. Safe to run twice. Entries: `link.revoked` for each link, `staff_invitation.revoked`.

    Raises Refused("invitation-over", 409) when it was accepted, "owners-only" 403.
    """
    invitation = _locked(invitation)
    if invitation.accepted_at is not None:
        raise Refused("invitation-over", 409)
    if invitation.revoked_at is not None:
        return
    _may_give(invitation.role, by)
    invitation.revoked_at = at
    invitation.save(update_fields=["revoked_at"])
    for link in queries.links_to(invitation.pk):
        services.revoke_link(link=link, by=by, at=at)
    log.record("staff_invitation.revoked", on=invitation, by=by, at=at, person=invitation.person_id)


@transaction.atomic
def new_secret(*, invitation: StaffInvitation, by: Actor, at: datetime) -> str:
    """The secret for one mail of an invitation that is open. Entry: `link.issued`."""
    kind = LinkSecret.Kind.STAFF
    _, secret = new_link(person=invitation.person, kind=kind, subject_id=invitation.pk, expires_at=invitation.expires_at, by=by, at=at)
    return secret


@transaction.atomic
def mail_sent(*, invitation: StaffInvitation, by: Actor, at: datetime) -> None:
    """The mail was handed to the mail server. Entry: `staff_invitation.mailed`."""
    queries.staff_invitations().filter(pk=invitation.pk).update(sent_at=at)
    log.record("staff_invitation.mailed", on=invitation, by=by, at=at, person=invitation.person_id)


def link_of(*, secret: str) -> LinkSecret:
    """The personal link of an invitation, whatever state that is in: its holder is told.

    Raises Refused("unknown-link", 404) for every other secret, malformed, guessed, stolen or of another kind of link, after the same work:
    one hash and one query.
    """
    link = queries.link_by_hash(hashed(secret))
    if link is None or link.stolen or link.kind != LinkSecret.Kind.STAFF:
        raise Refused("unknown-link", 404)
    return link


@transaction.atomic
def accept(*, invitation: StaffInvitation, user: User, at: datetime) -> Membership:
    """The account becomes a member, as the person who was invited. Entries: `staff_invitation.accepted`, `membership.added`.

    Raises Refused: "invitation-used" 409, "invitation-revoked" 410, "invitation-expired" 410, "other-address" 403 for an account of which
    the invited address is not a verified one, "already-member" 409.
    """
    account = queries.account(user.pk).select_for_update(no_key=True).first()  # it may go with its last membership
    invitation = _locked(invitation)
    state, person = state_of(invitation, at), invitation.person
    if state is not State.OPEN:
        raise Refused(f"invitation-{state}", 409 if state is State.USED else 410)
    if account is None or not queries.proves(account, person.email):
        raise Refused("other-address", 403)
    if queries.memberships_of_person(person).exists():
        raise Refused("already-member", 409)
    offered = {"person": person, "role": invitation.role}
    membership, made = queries.memberships_of_user(account.pk).get_or_create(tenant=scope.current(), user=account, defaults=offered)
    if not made:
        raise Refused("already-member", 409)
    invitation.accepted_at = at
    invitation.save(update_fields=["accepted_at"])
    by = Actor.person(person)
    log.record("staff_invitation.accepted", on=invitation, by=by, at=at, person=person.pk, role=invitation.role)
    log.record("membership.added", on=membership, by=by, at=at, person=person.pk, role=invitation.role)
    return membership


@transaction.atomic
def forget(*, invitation: StaffInvitation, by: Actor, at: datetime) -> bool:
    """Delete an invitation that was over long ago, with its links; False while a hold stands on the person. Entry: `staff_invitation.expired`."""
    if holds.is_held(invitation.person_id):
        return False
    services.forget_links(subject_id=invitation.pk)
    queries.staff_invitations().filter(pk=invitation.pk).delete()
    log.record("staff_invitation.expired", on=invitation, by=by, at=at, person=invitation.person_id)
    return True


def _may_give(role: str, by: Actor) -> None:
    """Raises Refused("unknown-role"), and Refused("owners-only", 403) where somebody who is no owner deals with the place of one."""
    if role not in Membership.Role.values:
        raise Refused("unknown-role")
    if role == Membership.Role.OWNER:
        services.only_an_owner(by=by, tenant_id=scope.current().pk)


def _may_mail(person: Person, at: datetime) -> None:
    """Raises Refused("sent-just-now", 409) within a minute of the last mail that was promised to the person in this tenant."""
    if queries.staff_invitations().filter(person=person, asked_at__gt=at - PAUSE).exists():
        raise Refused("sent-just-now", 409)


def _locked(invitation: StaffInvitation) -> StaffInvitation:
    """Locked until the commit, with its person. Raises Refused("not-found", 404)."""
    found: StaffInvitation | None = queries.staff_invitations().select_for_update(no_key=True, of=("self",)).filter(pk=invitation.pk).first()
    if found is None:
        raise Refused("not-found", 404)
    return found


def _promise(invitation: StaffInvitation, by: Actor, at: datetime) -> None:
    invitation.asked_at, invitation.expires_at = at, at + LIFE
    invitation.save()
    jobs.later("tenants.send_staff_invitation", invitation_id=invitation.pk)
