"""The current tenant. Nothing of a tenant can be read or written outside `entered`.

Two walls (D9): django-scopes filters every query of the ORM and raises without a tenant; PostgreSQL's row security
filters what reaches the tables by any other way. Both are opened here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django_scopes import get_scope
from django_scopes import scope as django_scope

from .errors import Refused
from .models import Membership, Tenant, User


@contextmanager
def entered(tenant: Tenant) -> Iterator[None]:
    """One scope and one transaction for `tenant`. Nesting is allowed; the outer tenant is back in force afterwards."""
    with django_scope(tenant=tenant), transaction.atomic():
        before = _set_row_tenant(str(tenant.pk))
        yield
        _set_row_tenant(before)


def current() -> Tenant:
    """The tenant whose scope is open. Raises `Refused("no-tenant", 500)` outside of one."""
    tenant = get_scope().get("tenant")
    if not isinstance(tenant, Tenant):
        raise Refused("no-tenant", 500)
    return tenant


def _set_row_tenant(tenant_id: str) -> str:
    """Name the tenant to PostgreSQL for this transaction; returns the one before. A failed transaction forgets it by itself."""
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('cleac.tenant', true)")
        before = cursor.fetchone()[0] or ""
        cursor.execute("SELECT set_config('cleac.tenant', %s, true)", [tenant_id])
    return str(before)


def membership_of(user: User, slug: str) -> Membership | None:
    """The user's membership in the tenant that a path names, or None: absent and foreign look alike."""
    found = Membership.objects.select_related("tenant").filter(user=user, tenant__slug=slug)
    return found.first()


def roles_of(user: User) -> frozenset[str]:
    """Every role that a user holds anywhere; what pages outside any tenant ask for."""
    roles = set(Membership.objects.filter(user=user).values_list("role", flat=True))
    return frozenset(roles | ({"operator"} if user.is_operator else set()))
