"""The demo cast: Acme with its people and guests, and Globex, who must never detect anything of Acme's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core import signing
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from cleac_site import founding
from tenants import scope
from tenants.models import Membership, Person, Tenant, User
from tenants.permissions import Actor

SALT = "cleac.demo.sign-in"
MEMBERS = {
    "acme": ("Acme", {"Ada": "owner", "Hana": "host", "Dora": "dpo", "Otto": "auditor"}),
    "globex": ("Globex", {"Nils": "owner"}),
}
GUESTS = {"acme": ("Gail", "Gus")}


@dataclass(frozen=True)
class SignIn:
    """One of the cast and the address that signs them in; guests have none, they come by personal links."""

    name: str
    role: str
    tenant: str
    url: str | None


def ensure_cast() -> list[SignIn]:
    """Make the cast where it is missing. Safe to run at every start."""
    for slug, (name, members) in MEMBERS.items():
        with transaction.atomic():
            by, at = Actor.job("demo"), timezone.now()
            tenant = founding.ensure_tenant(slug=slug, name=name, contact_email=f"contact@{slug}.example", by=by, at=at)
            with scope.entered(tenant):
                _ensure_people(tenant, members, GUESTS.get(slug, ()))
    return sign_in_links()


def address_of(name: str, domain: str) -> str:
    """The invented e-mail address of one of the cast; `domain` is a slug, or "guest"."""
    return f"{name.lower()}@{domain}.example"


def _ensure_people(tenant: Tenant, members: Mapping[str, str], guests: Iterable[str]) -> None:
    """Whoever is there stays as they are. One statement for each kind of row, however many there are: a start waits for this."""
    addresses = {address_of(name, tenant.slug): name for name in members}
    User.objects.bulk_create([User(email=address, password=make_password(None)) for address in addresses], ignore_conflicts=True)
    users = {user.email: user for user in User.objects.filter(email__in=addresses)}
    known = [EmailAddress(user=users[address], email=address, verified=True, primary=True) for address in addresses]
    EmailAddress.objects.bulk_create(known, ignore_conflicts=True)
    everybody = addresses | {address_of(name, "guest"): name for name in guests}
    made = [Person(tenant=tenant, email=address, name=name) for address, name in everybody.items()]
    Person.objects.bulk_create(made, ignore_conflicts=True)
    people = {person.email: person for person in Person.objects.filter(email__in=addresses)}
    roles = {address: members[name] for address, name in addresses.items()}
    places = [Membership(tenant=tenant, user=users[address], person=people[address], role=role) for address, role in roles.items()]
    Membership.objects.bulk_create(places, ignore_conflicts=True)


def sign_in_links() -> list[SignIn]:
    """Everybody of the cast who exists, in the order of the cast."""
    addresses = [address_of(name, slug) for slug, (_name, members) in MEMBERS.items() for name in members]
    users = {user.email: user for user in User.objects.filter(email__in=addresses)}
    found = []
    for slug, (_name, members) in MEMBERS.items():
        for name, role in members.items():
            user = users.get(address_of(name, slug))
            if user is not None:
                token = signing.dumps(str(user.pk), salt=SALT)
                found.append(SignIn(name, role, slug, settings.CLEAC.public_url + reverse("demo_sign_in", args=[token])))
        found += [SignIn(guest, "guest", slug, None) for guest in GUESTS.get(slug, ())]
    return found


def user_of(token: str) -> User | None:
    """The user whom a sign-in link of this data folder names, or None. Links of the demo work for a day."""
    try:
        user_id = signing.loads(token, salt=SALT, max_age=24 * 3600)
    except signing.BadSignature:
        return None
    return User.objects.filter(pk=user_id, is_active=True).first()
