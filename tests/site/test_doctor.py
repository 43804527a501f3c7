"""`manage.py doctor` tells the age of the keys that seal the tenants' recordings, as the key store has it."""

from __future__ import annotations

import io
import json
import socket
from contextlib import suppress
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from tenants.keys import port as keys_port
from tenants.models import Tenant, TenantKey

pytestmark = pytest.mark.django_db(databases=["default", "keys"])


def told(check: str = "keys' age") -> tuple[str, str]:
    """State and words of one finding."""
    out = io.StringIO()
    with suppress(SystemExit):  # something else on this machine may fail; the findings are printed all the same
        call_command("doctor", "--json", stdout=out)
    (found,) = [one for one in json.loads(out.getvalue()) if one["check"] == check]
    return found["state"], found["detail"]


def test_without_a_key_there_is_none_yet() -> None:
    assert told() == ("ok", "none yet")


def test_the_oldest_and_the_newest_key_are_told_in_days() -> None:
    for slug, days in (("acme", 40), ("globex", 3), ("initech", 12)):
        tenant = Tenant.objects.create(slug=slug, name=slug)
        keys_port.ensure(tenant_id=tenant.pk)
        TenantKey.objects.filter(pk=tenant.pk).update(created_at=timezone.now() - timedelta(days=days, hours=1))

    assert told() == ("ok", "3 of tenants, the oldest 40 days, the newest 3 days")


@pytest.mark.parametrize("over", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["UDP", "TCP"])
def test_a_media_port_that_somebody_has_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch, over: socket.SocketKind) -> None:
    monkeypatch.setenv("CLEAC_MEDIA_WORKERS", "1")
    with socket.socket(socket.AF_INET, over) as taken:
        taken.bind(("127.0.0.1", 0))
        if over == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("CLEAC_MEDIA_UDP_PORT", str(port))
        state, words = told("media udp port")

    assert state == "warn"
    assert str(port) in words


def test_a_media_port_that_is_no_port_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEAC_MEDIA_UDP_PORT", "70000")
    assert told("media udp port") == ("fail", "CLEAC_MEDIA_UDP_PORT is no port")
