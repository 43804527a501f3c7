"""The demo cast: Acme with its people and guests, and Globex, who must never detect anything of Acme's."""

from __future__ import annotations

from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.conf import settings
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
                for person_name, role in members.items():
                    _ensure_member(tenant, person_name, role)
                for guest in GUESTS.get(slug, ()):
                    Person.objects.get_or_create(tenant=tenant, email=address_of(guest, "guest"), defaults={"name": guest})
    return sign_in_links()


def address_of(name: str, domain: str) -> str:
    """The invented e-mail address of one of the cast; `domain` is a slug, or "guest"."""
    return f"{name.lower()}@{domain}.example"


def _ensure_member(tenant: Tenant, name: str, role: str) -> None:
    address = address_of(name, tenant.slug)
    user = User.objects.filter(email=address).first() or User.objects.create_user(address)
    EmailAddress.objects.get_or_create(user=user, email=address, defaults={"verified": True, "primary": True})
    person, _ = Person.objects.get_or_create(tenant=tenant, email=address, defaults={"name": name})
    Membership.objects.get_or_create(tenant=tenant, user=user, defaults={"role": role, "person": person})


def sign_in_links() -> list[SignIn]:
    """Everybody of the cast who exists, in the order of the cast."""
    found = []
    for slug, (_name, members) in MEMBERS.items():
        for name, role in members.items():
            user = User.objects.filter(email=address_of(name, slug)).first()
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
