"""The timetable serves every tenant: where the rows of one refuse, it is told and the others have their turn.

The fault is the database's own: a trigger refuses entries of Acme's log, so every write of history in Acme fails. Acme comes first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from calls import services as calls
from calls import tasks as call_tasks
from calls.models import Call, Participant, Placement
from compliance import tasks as compliance_tasks
from compliance.models import LogEntry
from consent.catalogue import SOURCES
from recordings import services as recordings
from recordings import tasks as recording_tasks
from recordings.models import Recording
from tenants import scope
from tenants.models import Person, Tenant
from tenants.permissions import Actor

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
REFUSE = """
CREATE FUNCTION refuse_entry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'this row cannot be written'; END $$;
CREATE TRIGGER refuse_entry BEFORE INSERT ON compliance_logentry FOR EACH ROW WHEN (NEW.tenant_id = '{tenant}') EXECUTE FUNCTION refuse_entry();
"""


def sat(tenant: Tenant, host: Person) -> Call:
    """A call that is on, with its host in it."""
    by, at = Actor.person(host), timezone.now()
    meeting = calls.schedule(title="Review", host=host, purposes=SOURCES, by=by, at=at)
    own = calls.enter_lobby(meeting=meeting, person=host, host=True, by=by, at=at)
    own = calls.ready(participant=own, by=by, at=at)
    return calls.joined(participant=own, by=by, at=at).call


def each(cast: Any, work: Callable[[Tenant, Person], None]) -> None:
    for tenant, host in ((cast.acme, cast.hana), (cast.globex, cast.nils)):
        with scope.entered(tenant):
            work(tenant, host)


def break_log_of(tenant: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(REFUSE.format(tenant=tenant.pk))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR and "tried again" in one.getMessage()]


def test_a_call_that_cannot_be_swept_keeps_no_other_tenant_waiting(cast: Any, caplog: pytest.LogCaptureFixture) -> None:
    each(cast, lambda tenant, host: sat(tenant, host))
    Placement.objects.update(lease_until=F("lease_until") - timedelta(hours=1))
    break_log_of(cast.acme)

    call_tasks.sweep()

    left = {}
    for tenant in (cast.acme, cast.globex):
        with scope.entered(tenant):
            left[tenant.slug] = Participant.objects.get().state
    assert left == {"acme": "JOINED", "globex": "LEFT"}
    assert told(caplog) == ["a part of the sweep of calls failed for acme; it is tried again"]


def test_a_recording_that_cannot_be_stopped_keeps_no_other_tenant_waiting(cast: Any, caplog: pytest.LogCaptureFixture) -> None:
    def recorded(tenant: Tenant, host: Person) -> None:
        call, by, at = sat(tenant, host), Actor.person(host), timezone.now()
        recordings.start(call=call, by=by, at=at)
        calls.end(call=call, by=by, at=at)

    each(cast, recorded)
    break_log_of(cast.acme)

    recording_tasks.sweep()

    stopped = {}
    for tenant in (cast.acme, cast.globex):
        with scope.entered(tenant):
            stopped[tenant.slug] = Recording.objects.get().stopped_at is not None
    assert stopped == {"acme": False, "globex": True}
    assert told(caplog) == ["a part of the sweep of recordings failed for acme; it is tried again"]


def test_a_tenant_that_cannot_be_proven_keeps_no_other_from_its_proof(cast: Any, caplog: pytest.LogCaptureFixture) -> None:
    break_log_of(cast.acme)

    compliance_tasks.prove()

    with scope.entered(cast.globex):
        assert LogEntry.objects.filter(kind="store.proved").count() == 1
    assert told(caplog) == ["the proof of what is stored failed for acme; it is tried again"]
