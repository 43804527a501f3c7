"""What the house itself holds about people: who they are, how they sign in, where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Model

from compliance.registry import Data, Erase, Export, Field, Line, Outcome, Purpose, Retention, declare, fields

from . import queries
from .models import Person
from .signals import send_access_changed

FRAME = Field(Data.NONE, Purpose.OPERATION, Retention.TENANT)
ACCOUNT = Field(Data.NONE, Purpose.SIGN_IN, Retention.ACCOUNT)
NAME = Field(Data.IDENTITY, Purpose.MEETINGS, Retention.ACCOUNT, Export.INCLUDE, Erase.BLANK)
ADDRESS = Field(Data.CONTACT, Purpose.MEETINGS, Retention.ACCOUNT, Export.INCLUDE, Erase.BLANK)
WHEN = Field(Data.ACTIVITY, Purpose.MEETINGS, Retention.ACCOUNT, Export.INCLUDE, Erase.BLANK)
LOGIN = Field(Data.CONTACT, Purpose.SIGN_IN, Retention.ACCOUNT, Export.INCLUDE, Erase.DELETE)
SECRET = Field(Data.CREDENTIAL, Purpose.SIGN_IN, Retention.ACCOUNT, Export.OMIT, Erase.DELETE)
SEEN = Field(Data.ACTIVITY, Purpose.SIGN_IN, Retention.ACCOUNT, Export.INCLUDE, Erase.DELETE)
POINTER = Field(Data.PSEUDONYM, Purpose.SIGN_IN, Retention.ACCOUNT, Export.OMIT, Erase.DELETE)
PLACE = Field(Data.ACTIVITY, Purpose.SIGN_IN, Retention.ACCOUNT, Export.INCLUDE, Erase.DELETE)
API_SECRET = Field(Data.NONE, Purpose.SECURITY, Retention.TENANT)
LINK = Field(Data.ACTIVITY, Purpose.MEETINGS, Retention.INVITATION, Export.INCLUDE, Erase.DELETE)
LINK_SECRET = Field(Data.CREDENTIAL, Purpose.MEETINGS, Retention.INVITATION, Export.OMIT, Erase.DELETE)
OFFER = Field(Data.ACTIVITY, Purpose.SIGN_IN, Retention.INVITATION, Export.INCLUDE, Erase.DELETE)
VISIT = Field(Data.ACTIVITY, Purpose.SIGN_IN, Retention.SESSION, Export.INCLUDE, Erase.DELETE)
VISIT_SECRET = Field(Data.CREDENTIAL, Purpose.SIGN_IN, Retention.SESSION, Export.OMIT, Erase.DELETE)
WORK = Field(Data.NONE, Purpose.OPERATION, Retention.LOGS)  # ids of rows; whose they are is said by those rows


def export_person(person: Model) -> Iterator[dict[str, Any]]:
    """Name and address as the tenant knows them."""
    assert isinstance(person, Person)
    yield {"name": person.name, "email": person.email, "known_since": person.created_at}


def erase_person(person: Model, at: datetime) -> Line:
    """Empty the row of a guest; its id stays for rows that keep a ground of their own. A member's row goes with the membership."""
    assert isinstance(person, Person)
    if queries.memberships_of_person(person).exists():
        return Line("tenants.Person", Outcome.KEPT, 1, "member")
    person.name, person.email, person.erased_at = "", "", person.erased_at or at
    person.save(update_fields=["name", "email", "erased_at"])
    return Line("tenants.Person", Outcome.DONE, 1)


def export_membership(person: Model) -> Iterator[dict[str, Any]]:
    """The role in the tenant and the account behind it."""
    assert isinstance(person, Person)
    for membership in queries.memberships_of_person(person).select_related("user"):
        yield {"role": membership.role, "since": membership.created_at}


def export_account(person: Model) -> Iterator[dict[str, Any]]:
    """When the account was made and last used."""
    assert isinstance(person, Person)
    for membership in queries.memberships_of_person(person).select_related("user"):
        yield {"email": membership.user.email, "joined_at": membership.user.joined_at, "last_login": membership.user.last_login}


def keep_membership(person: Model, at: datetime) -> Line:
    """An employee's access ends by leaving the tenant, not by a request for erasure."""
    assert isinstance(person, Person)
    rows = queries.memberships_of_person(person).count()
    return Line("tenants.Membership", Outcome.KEPT, rows, "member") if rows else Line("tenants.Membership", Outcome.DONE, 0)


def export_addresses(person: Model) -> Iterator[dict[str, Any]]:
    """The addresses by which the account is reached."""
    assert isinstance(person, Person)
    for address in queries.addresses_of_person(person):
        yield {"email": address.email, "verified": address.verified, "primary": address.primary}


def keep_addresses(person: Model, at: datetime) -> Line:
    """As with the account that they belong to."""
    assert isinstance(person, Person)
    rows = queries.addresses_of_person(person).count()
    return Line("account.EmailAddress", Outcome.KEPT, rows, "member") if rows else Line("account.EmailAddress", Outcome.DONE, 0)


def keep_sign_ins(person: Model, at: datetime) -> Line:
    """A browser session says which account it belongs to, sealed in its own data; it goes by itself within hours, or when the membership ends."""
    assert isinstance(person, Person)
    staff = queries.memberships_of_person(person).exists()
    return Line("sessions.Session", Outcome.KEPT, 0, "member") if staff else Line("sessions.Session", Outcome.DONE, 0)


def keep_account(person: Model, at: datetime) -> Line:
    """As with the membership: the account belongs to the work, and may serve several tenants."""
    assert isinstance(person, Person)
    rows = queries.memberships_of_person(person).count()
    return Line("tenants.User", Outcome.KEPT, rows, "member") if rows else Line("tenants.User", Outcome.DONE, 0)


def export_links(person: Model) -> Iterator[dict[str, Any]]:
    """Which personal links were made for the person."""
    assert isinstance(person, Person)
    for link in queries.links_of_person(person):
        times = {"created_at": link.created_at, "expires_at": link.expires_at, "revoked_at": link.revoked_at}
        yield {"kind": link.kind, "stolen": link.stolen, **times}


def erase_links(person: Model, at: datetime) -> Line:
    """Delete the person's links; the sessions they opened go with them, and whatever such a session holds open closes."""
    assert isinstance(person, Person)
    rows = queries.links_of_person(person).count()
    queries.links_of_person(person).delete()
    send_access_changed(tenant_id=person.tenant_id, person_id=person.pk)
    return Line("tenants.LinkSecret", Outcome.DONE, rows)


def export_guest_sessions(person: Model) -> Iterator[dict[str, Any]]:
    """When the person came by a link."""
    assert isinstance(person, Person)
    for session in queries.guest_sessions_of_person(person):
        yield {"created_at": session.created_at, "expires_at": session.expires_at, "ended_at": session.ended_at}


def erase_guest_sessions(person: Model, at: datetime) -> Line:
    """Delete the person's sessions; whatever they hold open closes."""
    assert isinstance(person, Person)
    rows = queries.guest_sessions_of_person(person).delete()[0]
    send_access_changed(tenant_id=person.tenant_id, person_id=person.pk)
    return Line("tenants.GuestSession", Outcome.DONE, rows)


def export_staff_invitations(person: Model) -> Iterator[dict[str, Any]]:
    """Which roles the person was offered, and what became of it."""
    assert isinstance(person, Person)
    for one in queries.staff_invitations_of(person):
        times = {name: getattr(one, name) for name in ("created_at", "sent_at", "expires_at", "accepted_at", "revoked_at")}
        yield {"role": one.role, **times}


def erase_staff_invitations(person: Model, at: datetime) -> Line:
    """Delete what the person was offered; nobody can accept it any more."""
    assert isinstance(person, Person)
    rows = queries.staff_invitations_of(person).delete()[0]
    return Line("tenants.StaffInvitation", Outcome.DONE, rows)


declare("tenants.Tenant", fields("id slug name contact_email created_at", FRAME))
declare(
    "tenants.Person",
    fields("id tenant", FRAME) | fields("name", NAME) | fields("email", ADDRESS) | fields("created_at erased_at", WHEN),
    export=export_person,
    erase=erase_person,
)
declare(
    "tenants.Membership",
    fields("id tenant", FRAME) | fields("user person", POINTER) | fields("role created_at", PLACE),
    export=export_membership,
    erase=keep_membership,
)
declare(
    "tenants.User",
    fields("id is_active is_operator", ACCOUNT) | fields("email", LOGIN) | fields("password", SECRET) | fields("last_login joined_at", SEEN),
    export=export_account,
    erase=keep_account,
)
declare("tenants.ApiKey", fields("id tenant name prefix scopes created_at expires_at revoked_at last_used_on secret_hash", API_SECRET))
declare(
    "tenants.LinkSecret",
    fields("id tenant", FRAME) | fields("person kind subject_id created_at expires_at revoked_at stolen", LINK) | fields("secret_hash", LINK_SECRET),
    export=export_links,
    erase=erase_links,
)
declare(
    "tenants.StaffInvitation",
    fields("id tenant", FRAME) | fields("person role created_at asked_at sent_at expires_at accepted_at revoked_at", OFFER),
    export=export_staff_invitations,
    erase=erase_staff_invitations,
)
declare(
    "tenants.GuestSession",
    fields("id tenant", FRAME) | fields("person link created_at expires_at ended_at", VISIT) | fields("token_hash", VISIT_SECRET),
    export=export_guest_sessions,
    erase=erase_guest_sessions,
)
declare("tenants.OutboxRow", fields("id tenant task arguments due_at tries done_at parked_at", WORK))
declare("tenants.SignInFailures", fields("key times until", Field(Data.NONE, Purpose.SECURITY, Retention.SESSION)))
SEALED_TENANT = Field(Data.NONE, Purpose.RECORDING, Retention.TENANT, erase=Erase.DESTROY_KEY)
SEALED_DATA = Field(Data.NONE, Purpose.RECORDING, Retention.RECORDING, erase=Erase.DESTROY_KEY)
declare("tenants.TenantKey", fields("tenant_id wrapped created_at", SEALED_TENANT))
declare("tenants.SealedKey", fields("id tenant_id holder sealed created_at", SEALED_DATA))

# Tables that libraries made
declare(
    "account.EmailAddress",
    fields("id verified primary", ACCOUNT) | fields("user", POINTER) | fields("email", LOGIN),
    export=export_addresses,
    erase=keep_addresses,
)
declare("account.EmailConfirmation", fields("id email_address created sent key", WORK))  # never written: confirmations are signed, not stored
declare("sessions.Session", fields("session_key session_data", VISIT_SECRET) | fields("expire_date", FRAME), erase=keep_sign_ins)
for _model, _fields in (
    ("auth.Permission", "id name content_type codename"),
    ("auth.Group", "id name permissions"),
    ("contenttypes.ContentType", "id app_label model"),
    ("sites.Site", "id domain name"),
):
    declare(_model, fields(_fields, FRAME))
