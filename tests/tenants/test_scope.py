"""A tenant's rows are seen from inside its scope only."""

from __future__ import annotations

import pytest
from django_scopes.exceptions import ScopeError

from tenants import scope
from tenants.errors import Refused
from tenants.models import Person


def test_a_query_without_a_tenant_raises(cast) -> None:
    with pytest.raises(ScopeError):
        Person.objects.count()


def test_inside_a_scope_only_that_tenants_people_exist(cast) -> None:
    with scope.entered(cast.globex):
        assert list(Person.objects.values_list("name", flat=True)) == ["Nils"]


def test_after_a_nested_scope_the_outer_tenant_is_back(cast) -> None:
    with scope.entered(cast.acme):
        with scope.entered(cast.globex):
            assert scope.current() == cast.globex
        assert scope.current() == cast.acme
        assert Person.objects.filter(name="Gail").exists()


def test_asking_for_the_current_tenant_outside_a_scope_is_refused(cast) -> None:
    with pytest.raises(Refused) as refused:
        scope.current()
    assert refused.value.code == "no-tenant"
