"""Writes of the house: tenants, members, people, personal links, guest sessions, roles, API keys. Each leaves its entry in the tenant's log.

Called inside the tenant's scope, except `add_tenant`, and `open_guest_session`: there the secret is what names the tenant.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from uuid import UUID

from allauth.account.models import EmailAddress
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from compliance import log

from . import jobs, queries, scope
from .credentials import hashed, new_key, prefix_of
from .errors import Refused
from .models import ApiKey, GuestSession, LinkSecret, Membership, OutboxRow, Person, SignInFailures, Tenant, User
from .permissions import SCOPES, Actor, scopes_within
from .signals import send_access_changed

SECRET_BYTES = 16  # 22 characters, 128 random bits
TOKEN_BYTES = 32
GUEST_SESSION = timedelta(hours=24)
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
NAME_LENGTH = 120
KEY_NAME_LENGTH = 80
KEY_LIFE = timedelta(days=365)  # what is offered where somebody makes a key
MOST_KEYS = 50  # of one tenant that open something


@transaction.atomic
def add_tenant(*, slug: str, name: str, contact_email: str, by: Actor, at: datetime) -> Tenant:
    """A new tenant. Its keys and notices come from rooms above: `cleac_site.founding`. Entry: `tenant.created`.

    Raises Refused("slug-malformed"), Refused("name-malformed"), Refused("slug-taken", 409).
    """
    name = " ".join(name.split())
    if not SLUG.fullmatch(slug):
        raise Refused("slug-malformed")
    if not 0 < len(name) <= NAME_LENGTH:
        raise Refused("name-malformed")
    tenant, made = Tenant.objects.get_or_create(slug=slug, defaults={"name": name, "contact_email": contact_email})
    if not made:
        raise Refused("slug-taken", 409)
    with scope.entered(tenant):
        log.record("tenant.created", on=tenant, by=by, at=at)
    return tenant


@transaction.atomic
def add_member(*, name: str, email: str, role: str, by: Actor, at: datetime) -> Membership:
    """Somebody with an account in the current tenant; `by` vouches for the address. Known accounts and people are taken as they are.

    Safe to run twice: a member keeps the role. Entry: `membership.added`. Raises Refused("unknown-role").
    """
    if role not in Membership.Role.values:
        raise Refused("unknown-role")
    address = email.strip().lower()
    user = queries.user_by_address(address) or User.objects.create_user(address)
    EmailAddress.objects.get_or_create(user=user, email=address, defaults={"verified": True, "primary": True})
    known = queries.membership_in(scope.current(), user)
    if known is not None:
        return known
    person = add_person(name=name, email=address, by=by, at=at)
    membership = Membership.objects.create(tenant=scope.current(), user=user, person=person, role=role)
    log.record("membership.added", on=membership, by=by, at=at, person=person.pk, role=role)
    return membership


@transaction.atomic
def invite_owner(*, membership: Membership, by: Actor, at: datetime) -> None:
    """Promise the mail that tells an owner how to sign in. Entry: `membership.invited`."""
    jobs.later("tenants.send_owner_mail", membership_id=membership.pk)
    log.record("membership.invited", on=membership, by=by, at=at, person=membership.person_id)


@transaction.atomic
def add_person(*, name: str, email: str, by: Actor, at: datetime) -> Person:
    """The person of the current tenant with this address, made when there is none. Safe to run twice at once. Entry: `person.added`."""
    address, name = email.strip().lower(), " ".join(name.split())
    known = queries.person_by_address(address) if address else None
    if known is not None:
        return known
    person, made = Person(tenant=scope.current(), name=name), True
    if address:
        person, made = Person.objects.get_or_create(tenant=scope.current(), email=address, defaults={"name": name})
    else:
        person.save(force_insert=True)
    if not made:  # somebody else was faster
        return person
    log.record("person.added", on=person, by=by, at=at)
    return person


@transaction.atomic
def new_link(*, person: Person, kind: str, subject_id: UUID, expires_at: datetime, by: Actor, at: datetime) -> tuple[LinkSecret, str]:
    """A personal link and its secret (22 characters, 128 random bits), which is kept nowhere. Entry: `link.issued`."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    link = LinkSecret.objects.create(
        tenant=scope.current(),
        person=person,
        kind=kind,
        subject_id=subject_id,
        secret_hash=hashed(secret),
        created_at=at,
        expires_at=expires_at,
    )
    log.record("link.issued", on=link, by=by, at=at, person=person.pk, subject=subject_id)
    return link, secret


@transaction.atomic
def revoke_link(*, link: LinkSecret, stolen: bool = False, by: Actor, at: datetime) -> LinkSecret:
    """Close what the link opened and end its guest sessions; reported stolen, it is as if it had never been. Entry: `link.revoked`.

    Safe to run twice; a link revoked earlier can still be reported stolen.
    """
    link = LinkSecret.objects.select_for_update(no_key=True).get(pk=link.pk)
    if link.revoked_at is not None and (link.stolen or not stolen):
        return link
    link.revoked_at = link.revoked_at or at
    link.stolen = link.stolen or stolen
    link.save(update_fields=["revoked_at", "stolen"])
    GuestSession.objects.filter(link=link, ended_at=None).update(ended_at=at)
    send_access_changed(tenant_id=link.tenant_id, person_id=link.person_id)
    log.record("link.revoked", on=link, by=by, at=at, person=link.person_id, stolen=link.stolen)
    return link


def forget_links(*, subject_id: UUID) -> int:
    """Delete every link of the current tenant to what is deleted, with the sessions that it opened; returns how many rows."""
    return LinkSecret.objects.filter(tenant=scope.current(), subject_id=subject_id).delete()[0]


def forget_old_links(*, person: Person, made_before: datetime) -> int:
    """Delete every link of the person that was made until then, with the sessions that it opened; how many links. What they hold open closes."""
    gone = queries.links_of_person(person).filter(created_at__lte=made_before).delete()[1]
    send_access_changed(tenant_id=person.tenant_id, person_id=person.pk)
    return gone.get("tenants.LinkSecret", 0)


def open_guest_session(*, secret: str, at: datetime) -> tuple[GuestSession, str]:
    """A browser session for the holder of a personal link, and its token. Entry: `guest_session.opened`.

    A revoked or expired link opens a session too: its holder is told the link's state and keeps what is the holder's own.
    Raises Refused("unknown-link", 404) for every other secret, malformed, guessed, reported stolen, of somebody erased or of another kind,
    after the same work: one hash and one query.
    """
    link = queries.link_by_hash(hashed(secret))
    if link is None or link.stolen or link.kind != LinkSecret.Kind.INVITATION:
        raise Refused("unknown-link", 404)
    with scope.entered(link.tenant):
        person = queries.person(link.person_id)
        if person is None:
            raise Refused("unknown-link", 404)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        session = GuestSession.objects.create(
            tenant=link.tenant, person=person, link=link, token_hash=hashed(token), created_at=at, expires_at=at + GUEST_SESSION
        )
        log.record("guest_session.opened", on=session, by=Actor.person(person), at=at, link=link.pk)
    return session, token


@transaction.atomic
def end_guest_session(*, session: GuestSession, by: Actor, at: datetime) -> None:
    """The browser is signed out. Safe to run twice. Entry: `guest_session.ended`."""
    if GuestSession.objects.filter(pk=session.pk, ended_at=None).update(ended_at=at):
        send_access_changed(tenant_id=session.tenant_id, person_id=session.person_id)
        log.record("guest_session.ended", on=session, by=by, at=at, person=session.person_id)


@transaction.atomic
def change_role(*, membership: Membership, role: str, by: Actor, at: datetime) -> Membership:
    """Give a member another role; whatever they hold open closes. Entry: `membership.role_changed`.

    Raises Refused("unknown-role"); Refused("last-owner", 409), because a tenant always has an owner; Refused("owners-only", 403) for
    somebody who is no owner and would make one, or make one something else.
    """
    if role not in Membership.Role.values:
        raise Refused("unknown-role")
    owners = _locked_owners(membership.tenant_id)
    membership = Membership.objects.select_for_update(no_key=True).get(pk=membership.pk)
    if membership.role == role:
        return membership
    if owners == {membership.pk}:
        raise Refused("last-owner", 409)
    if Membership.Role.OWNER in (membership.role, role):
        _only_an_owner(by, owners)
    was, membership.role = membership.role, role
    membership.save(update_fields=["role"])
    send_access_changed(tenant_id=membership.tenant_id, person_id=membership.person_id)
    log.record("membership.role_changed", on=membership, by=by, at=at, was=was, role=role)
    return membership


@transaction.atomic
def remove_member(*, membership: Membership, by: Actor, at: datetime) -> None:
    """Somebody works here no more: whatever they hold open by their account closes, and it opens nothing of this tenant again.

    Their person stays, with what is held of them and with the invitations that they have as guests. An account that is left without
    any tenant goes too, and is signed out everywhere. Safe to run twice. Entries: `membership.removed`, for such an account after
    `membership.signed_out`.

    Raises Refused("last-owner", 409), because a tenant always has an owner, and Refused("owners-only", 403) for an owner whom somebody
    of a lower role would remove.
    """
    owners = _locked_owners(membership.tenant_id)
    found = Membership.objects.select_for_update().filter(pk=membership.pk).first()
    if found is None:
        return
    if owners == {found.pk}:
        raise Refused("last-owner", 409)
    if found.role == Membership.Role.OWNER:
        _only_an_owner(by, owners)
    # Locked, so that no other tenant takes the account in while it goes.
    user = User.objects.select_for_update().get(pk=found.user_id)
    others = queries.memberships_of_user(user.pk).exclude(pk=found.pk)
    if not user.is_operator and not others.exists():
        end_sessions_of(user=user, by=by, at=at)
        found.delete()
        user.delete()
    else:
        found.delete()
    send_access_changed(tenant_id=membership.tenant_id, person_id=membership.person_id)
    log.record("membership.removed", on=membership, by=by, at=at, person=membership.person_id, role=found.role)


def _locked_owners(tenant_id: UUID) -> set[UUID]:
    """The owners of a tenant, locked until the commit, so that two of them cannot go or step down at the same time."""
    return {owner.pk for owner in queries.owners_of(tenant_id).select_for_update(no_key=True).order_by("pk")}


def only_an_owner(*, by: Actor, tenant_id: UUID) -> None:
    """What only an owner may do to the place of an owner. Locks the tenant's owners until the commit. Raises Refused("owners-only", 403)."""
    _only_an_owner(by, _locked_owners(tenant_id))


def _only_an_owner(by: Actor, owners: set[UUID]) -> None:
    """Operators and our own jobs pass as well. Raises Refused("owners-only", 403)."""
    person_of_an_owner = by.kind == "person" and Membership.objects.filter(pk__in=owners, person=UUID(by.id)).exists()
    if not person_of_an_owner and by.kind not in ("operator", "job"):
        raise Refused("owners-only", 403)


@transaction.atomic
def issue_api_key(*, name: str, scopes: Iterable[str], last_day: date | None, by: Actor, at: datetime) -> tuple[ApiKey, str]:
    """A key of the current tenant for the REST API, and its secret, which is kept nowhere. Entry: `api_key.issued`.

    It works through `last_day` (in the service's zone), or with None until it is revoked.

    Raises Refused: "name-malformed" (1 to 80 characters), "scopes-missing", "unknown-scope", "ends-in-the-past", "ends-too-late" (where the
    calendar ends), "too-many-keys" 409, and "scope-beyond-role" 403 for a person who would give a key more than the own role may.
    """
    name, asked, tenant = " ".join(name.split()), list(dict.fromkeys(scopes)), scope.current()
    if not 0 < len(name) <= KEY_NAME_LENGTH:
        raise Refused("name-malformed")
    if not asked:
        raise Refused("scopes-missing")
    if not set(asked) <= set(SCOPES):
        raise Refused("unknown-scope")
    if by.kind not in ("operator", "job") and not set(asked) <= set(scopes_within(_roles_of(by))):
        raise Refused("scope-beyond-role", 403)
    expires_at = _end_of(last_day) if last_day else None
    if expires_at is not None and expires_at <= at:
        raise Refused("ends-in-the-past")
    if queries.api_keys_alive_at(tenant, at).count() >= MOST_KEYS:
        raise Refused("too-many-keys", 409, limit=MOST_KEYS)
    secret = new_key()
    shown = {"name": name, "prefix": prefix_of(secret), "scopes": asked, "expires_at": expires_at}
    key = ApiKey.objects.create(tenant=tenant, secret_hash=hashed(secret), **shown)
    end = {"last_day": last_day.isoformat()} if last_day else {}
    log.record("api_key.issued", on=key, by=by, at=at, scopes=asked, **end)
    return key, secret


def _end_of(day: date) -> datetime:
    """The first moment after a day of the service's zone."""
    try:
        return timezone.make_aware(datetime.combine(day + timedelta(days=1), time.min))
    except OverflowError:
        raise Refused("ends-too-late") from None


def _roles_of(by: Actor) -> set[str]:
    """The role that a person has in the current tenant; nothing for who is no member, and for a key."""
    return set(Membership.objects.filter(tenant=scope.current(), person=UUID(by.id)).values_list("role", flat=True)) if by.kind == "person" else set()


@transaction.atomic
def revoke_api_key(*, key: ApiKey, by: Actor, at: datetime) -> None:
    """The key opens nothing any more. Safe to run twice. Entry: `api_key.revoked`."""
    if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=at):
        log.record("api_key.revoked", on=key, by=by, at=at)


@transaction.atomic
def end_sessions_of(*, user: User, by: Actor, at: datetime) -> int:
    """Sign a user out everywhere; returns how many browser sessions ended. Entry in the current tenant: `membership.signed_out`.

    Browser sessions do not name their user in a column, so all living ones are read.
    """
    ended = 0
    for session in Session.objects.filter(expire_date__gt=at).iterator():
        if session.get_decoded().get("_auth_user_id") == str(user.pk):
            session.delete()
            ended += 1
    membership = queries.membership_in(scope.current(), user)
    if membership is not None:
        log.record("membership.signed_out", on=membership, by=by, at=at, sessions=ended)
    return ended


def forget_guest_sessions(*, before: datetime) -> int:
    """Delete guest sessions whose time was over before then; returns how many."""
    return GuestSession.objects.filter(expires_at__lt=before).delete()[0]


@transaction.atomic
def count_sign_in_failure(*, key: bytes, at: datetime, lasts: timedelta) -> int:
    """One more wrong password; returns how many there were, each within so long after the one before it."""
    row, _made = SignInFailures.objects.select_for_update().get_or_create(pk=key, defaults={"until": at})
    row.times = row.times + 1 if row.until > at else 1
    row.until = at + lasts
    row.save(update_fields=["times", "until"])
    return int(row.times)


def forget_sign_in_failures(*, before: datetime) -> int:
    """Delete counts of wrong passwords whose time was over before then; returns how many."""
    return SignInFailures.objects.filter(until__lt=before).delete()[0]


def forget_kept_promises(*, before: datetime) -> int:
    """Delete outbox rows that were done before then; returns how many."""
    return OutboxRow.objects.filter(done_at__lt=before).delete()[0]
