"""`manage.py doctor` tells the age of the keys that seal the tenants' recordings, as the key store has it."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from tenants.keys import port
from tenants.models import Tenant, TenantKey

pytestmark = pytest.mark.django_db(databases=["default", "keys"])


def told() -> tuple[str, str]:
    """State and words of the finding about the keys."""
    out = io.StringIO()
    with suppress(SystemExit):  # something else on this machine may fail; the findings are printed all the same
        call_command("doctor", "--json", stdout=out)
    (found,) = [one for one in json.loads(out.getvalue()) if one["check"] == "keys' age"]
    return found["state"], found["detail"]


def test_without_a_key_there_is_none_yet() -> None:
    assert told() == ("ok", "none yet")


def test_the_oldest_and_the_newest_key_are_told_in_days() -> None:
    for slug, days in (("acme", 40), ("globex", 3), ("initech", 12)):
        tenant = Tenant.objects.create(slug=slug, name=slug)
        port.ensure(tenant_id=tenant.pk)
        TenantKey.objects.filter(pk=tenant.pk).update(created_at=timezone.now() - timedelta(days=days, hours=1))

    assert told() == ("ok", "3 of tenants, the oldest 40 days, the newest 3 days")
