"""A hold stands from when it is placed until it is lifted, for its person and its tenant."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django_scopes.exceptions import ScopeError

from compliance import holds
from compliance.models import Hold
from tenants.models import Person, Tenant
from tenants.scope import entered

from .conftest import NOON


def test_a_person_is_held_until_the_last_hold_is_lifted(acme: Tenant, gail: Person) -> None:
    with entered(acme):
        assert not holds.is_held(gail.pk)
        first = Hold.objects.create(tenant=acme, person_id=gail.pk, reason="claim", placed_at=NOON)
        second = Hold.objects.create(tenant=acme, person_id=gail.pk, reason="authority", placed_at=NOON + timedelta(days=1))

        Hold.objects.filter(pk=first.pk).update(lifted_at=NOON + timedelta(days=2))
        assert holds.is_held(str(gail.pk))
        Hold.objects.filter(pk=second.pk).update(lifted_at=NOON + timedelta(days=2))

        assert not holds.is_held(gail.pk)
        assert [hold.reason for hold in holds.of(gail.pk)] == ["claim", "authority"]


def test_a_hold_of_another_tenant_holds_nothing_here(acme: Tenant, globex: Tenant, gail: Person) -> None:
    with entered(globex):
        Hold.objects.create(tenant=globex, person_id=gail.pk, reason="claim", placed_at=NOON)

    with entered(acme):
        assert not holds.is_held(gail.pk)


def test_outside_a_tenant_nobody_may_ask(gail: Person) -> None:
    with pytest.raises(ScopeError):
        holds.is_held(gail.pk)


def test_a_hold_is_not_lifted_before_it_was_placed(acme: Tenant, gail: Person) -> None:
    with pytest.raises(IntegrityError, match="lifted_after_placed"), entered(acme):
        Hold.objects.create(tenant=acme, person_id=gail.pk, reason="claim", placed_at=NOON, lifted_at=NOON - timedelta(seconds=1))
