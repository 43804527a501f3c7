"""The current tenant. Nothing of a tenant can be read outside `entered` and `reading`, or written outside `entered`.

Two walls (D9): django-scopes filters every query of the ORM and raises without a tenant; PostgreSQL's row security
filters what reaches the tables by any other way. Both are opened here and nowhere else.

`reading` is for whoever looks again and again: it holds no lock that a writer could wait for. That nothing is written in it is held by
the database and not by care: the transaction is READ ONLY on PostgreSQL, the connection is `query_only` on SQLite.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, connections, transaction
from django_scopes import get_scope
from django_scopes import scope as django_scope

from .errors import Refused
from .models import Membership, Tenant, User
from .permissions import OPERATOR, SIGNED_IN


@contextmanager
def entered(tenant: Tenant) -> Iterator[None]:
    """One scope and one transaction for `tenant`. Nesting is allowed; the outer tenant is back in force afterwards."""
    nested = connection.in_atomic_block
    with django_scope(tenant=tenant), transaction.atomic():
        before = _row_tenant() if nested else ""
        _set_row_tenant(str(tenant.pk))
        yield
        if nested:
            _set_row_tenant(before)


@contextmanager
def reading(tenant: Tenant) -> Iterator[None]:
    """As `entered`, but nothing can be written until its end: who tries, raises a django.db.Error. No writer waits for it.

    Inside a transaction that is open already this is a part of it: the outer one keeps what it locked, and may write again afterwards.
    """
    nested = connection.in_atomic_block
    with django_scope(tenant=tenant), _sqlite_without_locks(), transaction.atomic():
        before = _row_tenant() if nested else ""
        _set_row_tenant(str(tenant.pk), read_only=True)
        yield
        if nested:
            _set_row_tenant(before)


def current() -> Tenant:
    """The tenant whose scope is open. Raises `Refused("no-tenant", 500)` outside of one."""
    tenant = get_scope().get("tenant")
    if not isinstance(tenant, Tenant):
        raise Refused("no-tenant", 500)
    return tenant


def _row_tenant() -> str:
    """The tenant that PostgreSQL was told in this transaction, or nothing."""
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('cleac.tenant', true)")
        return str(cursor.fetchone()[0] or "")


def _set_row_tenant(tenant_id: str, *, read_only: bool = False) -> None:
    """Name the tenant to PostgreSQL until this transaction ends, or the savepoint if that is rolled back.

    `read_only` ends with the savepoint in any case: PostgreSQL gives the outer transaction back what it was.
    """
    if connection.vendor != "postgresql":
        return
    statement = "SELECT set_config('cleac.tenant', %s, true)"
    if read_only:
        statement += ", set_config('transaction_read_only', 'on', true)"
    with connection.cursor() as cursor:
        cursor.execute(statement, [tenant_id])


@contextmanager
def _sqlite_without_locks() -> Iterator[None]:
    """A transaction of SQLite that begins in here waits for no writer and holds up none, and this connection writes nothing."""
    if connection.vendor != "sqlite":
        yield
        return
    sqlite: Any = connections[connection.alias]
    sqlite.ensure_connection()
    used, mode = sqlite.connection, sqlite.transaction_mode
    (query_only,) = used.execute("PRAGMA query_only").fetchone()
    used.execute("PRAGMA query_only = ON")
    sqlite.transaction_mode = "DEFERRED"
    try:
        yield
    finally:
        sqlite.transaction_mode = mode
        if sqlite.connection is used:  # a connection that was closed meanwhile has taken its settings with it
            used.execute(f"PRAGMA query_only = {query_only}")


def membership_of(user: User, slug: str) -> Membership | None:
    """The user's membership in the tenant that a path names, or None: absent and foreign look alike."""
    found = Membership.objects.select_related("tenant").filter(user=user, tenant__slug=slug)
    return found.first()


def roles_of(user: User) -> frozenset[str]:
    """Every role that a user holds anywhere, and that of anyone with an account; what pages outside any tenant ask for."""
    roles = set(Membership.objects.filter(user=user).values_list("role", flat=True))
    return frozenset(roles | {SIGNED_IN} | ({OPERATOR} if user.is_operator else set()))
