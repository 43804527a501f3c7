"""How a tenant begins, whoever makes it: the demo or an operator. The one place that gives a new tenant what it may not be without."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from consent.services import ensure_catalogue
from tenants import queries, scope, services
from tenants.errors import Refused
from tenants.keys import port
from tenants.models import Membership, Tenant
from tenants.permissions import Actor


@transaction.atomic
def ensure_tenant(*, slug: str, name: str, contact_email: str, by: Actor, at: datetime) -> Tenant:
    """The tenant of this slug with its log begun and the notices of the baseline published, made where it is missing. Safe to run twice.

    Raises Refused as `services.add_tenant`, but not for a slug that is taken.
    """
    tenant = queries.tenant_by_slug(slug) or services.add_tenant(slug=slug, name=name, contact_email=contact_email, by=by, at=at)
    ensure_catalogue(tenant=tenant, by=by, at=at)
    return tenant


@transaction.atomic
def found(*, slug: str, name: str, contact_email: str, owner_name: str, owner_email: str, by: Actor, at: datetime) -> tuple[Tenant, Membership]:
    """A new tenant with its notices, its key and its first owner, who is mailed how to sign in.

    The key lies in another database: should the rest fail, it stays there without an owner, and harms nothing.
    Raises Refused("slug-taken", 409) and what `services.add_tenant` and `services.add_member` raise.
    """
    if queries.tenant_by_slug(slug) is not None:
        raise Refused("slug-taken", 409)
    tenant = ensure_tenant(slug=slug, name=name, contact_email=contact_email, by=by, at=at)
    with scope.entered(tenant):
        owner = services.add_member(name=owner_name, email=owner_email, role=Membership.Role.OWNER, by=by, at=at)
        services.invite_owner(membership=owner, by=by, at=at)
    port.ensure(tenant_id=tenant.pk)
    return tenant, owner
