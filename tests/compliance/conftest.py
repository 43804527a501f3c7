"""Two tenants and one guest, without the rest of the cast: the floor knows nothing of roles and pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tenants.models import Person, Tenant

NOON = datetime(2026, 3, 2, 12, 0, 0, 123_987, tzinfo=UTC)


@pytest.fixture
def acme(db: None) -> Tenant:
    from tenants.models import Tenant  # noqa: PLC0415 - reason: needs configured settings

    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def globex(db: None) -> Tenant:
    from tenants.models import Tenant  # noqa: PLC0415 - reason: needs configured settings

    return Tenant.objects.create(slug="globex", name="Globex")


@pytest.fixture
def gail(acme: Tenant) -> Person:
    from tenants.models import Person  # noqa: PLC0415 - reason: needs configured settings
    from tenants.scope import entered  # noqa: PLC0415 - reason: as above

    with entered(acme):
        person: Person = Person.objects.create(tenant=acme, name="Gail")
    return person
