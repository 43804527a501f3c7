"""PostgreSQL keeps tenants apart by itself: asked past the ORM, it shows and takes rows of one tenant, and of none outside a scope."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import Error, IntegrityError, ProgrammingError, close_old_connections, connection, transaction
from django.db.migrations.state import ProjectState
from django.utils import timezone

from calls import services as meetings
from calls.models import Call, Invitation, Meeting, Participant, Ticket
from compliance.models import Hold, LogEntry, Request, RetentionRule
from consent.models import Decision, Notice, ServedNotice
from recordings import services as recording
from recordings.models import Artefact, Epoch, Recording, Track, Viewing
from tenants import scope
from tenants.models import Person, StaffInvitation, Tenant
from tenants.permissions import Actor
from tenants.row_security import references, role_walks_past, walled
from tests.environment import SUPERUSER
from tests.site.test_run import manage, refusal

pytestmark = pytest.mark.django_db
REFUSED = "row-level security"
PAIRS = {"recordings_artefact_epochs": "artefact_id", "recordings_viewing_epochs": "viewing_id"}


def one_of_each(tenant: Tenant, person: Person) -> None:
    """A row in every table that has none yet. Inside the tenant's scope."""
    at, own = timezone.now(), {"tenant": tenant}
    meeting = Meeting.objects.create(**own, title="Review", host=person, created_at=at)
    Invitation.objects.create(**own, meeting=meeting, person=person, created_at=at)
    call = Call.objects.create(**own, meeting=meeting, started_at=at)
    participant = Participant.objects.create(**own, call=call, person=person, role="host", entered_at=at)
    Ticket.objects.create(**own, participant=participant, epoch=0, kind="call", session="s", secret_hash=os.urandom(32), expires_at=at)
    notice = Notice.objects.select_related("purpose").first()
    served = ServedNotice.objects.create(**own, notice=notice, person=person, call_id=call.pk, served_at=at)
    answer = {"purpose": notice.purpose, "notice": notice, "served": served, "entry": LogEntry.objects.first()}
    decision = Decision.objects.create(
        **own, **answer, person=person, call_id=call.pk, granted=True, decided_at=at, sequence=1, method=Decision.Method.PAGE
    )
    wish = Recording.objects.create(**own, call=call, requested_by=person, requested_at=at)
    track = Track.objects.create(**own, recording=wish, person=person, participant=participant.pk, source="mic")
    epoch = Epoch.objects.create(**own, track=track, number=1, decision=decision.pk, entry_hash=b"h" * 32, fence=1, opened_at=at)
    Artefact.objects.create(**own, kind=Artefact.Kind.JOURNAL, object_name=uuid.uuid4().hex).epochs.add(epoch)
    viewing = {"viewer": person, "purpose": Viewing.Purpose.OWN, "opened_at": at, "expires_at": at + timedelta(minutes=5)}
    Viewing.objects.create(**own, recording=wish, **viewing).epochs.add(epoch)
    StaffInvitation.objects.create(**own, person=person, role="host", created_at=at, asked_at=at, expires_at=at)
    Hold.objects.create(**own, person_id=person.pk, reason="test", placed_at=at)
    RetentionRule.objects.create(**own, kind="package", days=3, in_force_from=at)
    Request.objects.create(**own, person=person, kind="access", channel="link", asked_at=at, due_at=at)


@pytest.fixture
def both(cast: Any) -> Any:
    """Acme and Globex with rows in every table behind the wall."""
    for tenant, person in ((cast.acme, cast.gail), (cast.globex, cast.nils)):
        with scope.entered(tenant):
            one_of_each(tenant, person)
    return cast


def rows(statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the database answers, past the ORM."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def touched(statement: str, *values: Any) -> int:
    """How many rows a statement changed, past the ORM."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def behind() -> list[str]:
    """Every table behind the wall, as the database has it."""
    return [table for (table,) in rows("SELECT relname FROM pg_class WHERE relrowsecurity AND relkind = 'r' ORDER BY relname")]


def filled() -> list[str]:
    """Every table behind the wall that shows a row here."""
    return [table for table, count in counts().items() if count]


def counts() -> dict[str, int]:
    return {table: int(rows(f"SELECT count(*) FROM {table}")[0][0]) for table in behind()}


def refuses(statement: str, *values: Any) -> bool:
    """Does row security refuse this statement? The transaction goes on."""
    try:
        with transaction.atomic():
            touched(statement, *values)
    except ProgrammingError as error:
        return REFUSED in str(error)
    return False


def people() -> set[str]:
    return {name for (name,) in rows("SELECT name FROM tenants_person")}


ACMES = {"Ada", "Hana", "Dora", "Otto", "Gail", "Gus"}


def test_the_role_of_the_tests_is_one_that_row_security_holds_for() -> None:
    assert rows("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user") == [(False, False)]
    assert rows("SELECT DISTINCT tableowner = current_user FROM pg_tables WHERE schemaname = 'public'") == [(True,)]
    assert role_walks_past(connection) == ""


def test_these_tests_have_rows_of_both_tenants_in_every_table(both: Any) -> None:
    """A table that is missing here is new: `one_of_each` makes a row of it, and all tests below hold for it too."""
    for tenant in (both.acme, both.globex):
        with scope.entered(tenant):
            assert filled() == behind()


def test_without_a_tenant_no_table_shows_a_row(both: Any) -> None:
    assert filled() == []


def test_inside_a_tenant_every_row_is_its_own(both: Any) -> None:
    with scope.entered(both.acme):
        found = {table: rows(f"SELECT DISTINCT tenant_id FROM {table}") for table in filled() if table not in PAIRS}
        assert found == dict.fromkeys(found, [(both.acme.pk,)])
        for table, column in PAIRS.items():
            own = table.removesuffix("_epochs")
            assert rows(f"SELECT {column} FROM {table}") == rows(f"SELECT id FROM {own}")


def test_a_tenant_that_is_not_there_has_no_row_and_what_is_no_id_raises(both: Any) -> None:
    rows("SELECT set_config('cleac.tenant', %s, true)", str(uuid.uuid4()))
    assert set(counts().values()) == {0}
    rows("SELECT set_config('cleac.tenant', 'acme', true)")
    with pytest.raises(Error, match="uuid"), transaction.atomic():
        people()


def test_a_row_of_another_tenant_cannot_be_inserted(both: Any) -> None:
    with scope.entered(both.globex):
        theirs = {table: rows(f"SELECT to_jsonb(one)::text FROM {table} AS one")[0][0] for table in filled()}
    insert = "INSERT INTO {0} SELECT * FROM jsonb_populate_record(NULL::{0}, %s::jsonb)"
    with scope.entered(both.acme):
        taken = [table for table, row in theirs.items() if not refuses(insert.format(table), row)]
    nobodys = [table for table, row in theirs.items() if not refuses(insert.format(table), row)]

    assert (taken, nobodys) == ([], [])


def test_a_row_cannot_be_given_to_another_tenant(both: Any) -> None:
    with scope.entered(both.acme):
        tables = [table for table in filled() if table not in PAIRS]
        assert [table for table in tables if not refuses(f"UPDATE {table} SET tenant_id = %s", both.globex.pk)] == []


def test_update_and_delete_without_a_tenant_touch_nothing(both: Any) -> None:
    with scope.entered(both.acme):
        before = counts()
    for table in behind():
        column = PAIRS.get(table, "tenant_id")
        assert touched(f"UPDATE {table} SET {column} = {column}") == 0
        assert touched(f"DELETE FROM {table}") == 0

    with scope.entered(both.acme):
        assert counts() == before


def test_update_and_delete_reach_the_own_rows_only(both: Any) -> None:
    with scope.entered(both.acme):
        assert touched("UPDATE tenants_person SET name = upper(name)") == len(ACMES)
        assert touched("DELETE FROM compliance_hold") == 1
    with scope.entered(both.globex):
        assert people() == {"Nils"}
        assert rows("SELECT count(*) FROM compliance_hold") == [(1,)]


def test_a_row_cannot_refer_to_another_tenants_row(both: Any) -> None:
    """Every reference of every table, by hand: PostgreSQL's own check of foreign keys would take each of them."""
    with scope.entered(both.acme):
        tables = set(filled())
    tried, taken = 0, []
    for model in [model for model in apps.get_models() if model._meta.db_table in tables]:
        for field in references(model):
            target: Any = field.related_model
            with scope.entered(both.globex):
                [theirs] = rows(f"SELECT id FROM {target._meta.db_table} LIMIT 1")
            with scope.entered(both.acme):
                tried += 1
                if not refuses(f"UPDATE {model._meta.db_table} SET {field.column} = %s", theirs[0]):
                    taken.append(field)

    assert taken == []
    assert tried >= 20


def test_a_pair_needs_both_sides_inside_the_tenant(both: Any) -> None:
    with scope.entered(both.globex):
        theirs, artefact = rows("SELECT id FROM recordings_epoch")[0][0], rows("SELECT id FROM recordings_artefact")[0][0]
    with scope.entered(both.acme):
        own, viewing = rows("SELECT id FROM recordings_epoch")[0][0], rows("SELECT id FROM recordings_viewing")[0][0]
        assert refuses("INSERT INTO recordings_viewing_epochs (viewing_id, epoch_id) VALUES (%s, %s)", viewing, theirs)
        assert refuses("INSERT INTO recordings_artefact_epochs (artefact_id, epoch_id) VALUES (%s, %s)", artefact, own)
        with pytest.raises(ProgrammingError, match=REFUSED), transaction.atomic():
            Viewing.objects.get().epochs.add(theirs)


def invited(cast: Any) -> object:
    return meetings.invite_again(meeting=Meeting.objects.get(), person=cast.nils, by=Actor.person(cast.gail), at=timezone.now())


def host(cast: Any) -> object:
    return meetings.schedule(title="Review", host=cast.nils, by=Actor.person(cast.gail), at=timezone.now())


@pytest.mark.parametrize("act", [invited, host])
def test_a_service_that_is_handed_another_tenants_person_writes_nothing(both: Any, act: Callable[[Any], object]) -> None:
    with scope.entered(both.acme):
        before = counts()
        with pytest.raises(ProgrammingError, match=REFUSED), transaction.atomic():
            act(both)
        assert counts() == before


def test_a_service_that_is_handed_another_tenants_call_does_not_find_it(both: Any) -> None:
    with scope.entered(both.globex):
        theirs = Call.objects.get()
    with scope.entered(both.acme), pytest.raises(Call.DoesNotExist):
        recording.start(call=theirs, by=Actor.person(both.gail), at=timezone.now())


def test_a_reference_to_a_row_of_the_same_tenant_is_taken(both: Any) -> None:
    """PostgreSQL's own check of the reference, at the end of the transaction, finds the row behind the wall."""
    with scope.entered(both.acme):
        Invitation.objects.create(tenant=both.acme, meeting=Meeting.objects.get(), person=both.gus, created_at=timezone.now())
    connection.check_constraints()

    with scope.entered(both.acme):
        assert rows("SELECT count(*) FROM calls_invitation") == [(2,)]


def test_what_others_refer_to_is_not_deleted_from_where_it_cannot_be_seen(both: Any) -> None:
    """Outside the scope Django sees nobody who would object; the database does."""
    connection.check_constraints()  # of what the fixture has written
    savepoint = transaction.savepoint()
    touched("DELETE FROM tenants_membership WHERE tenant_id = %s", both.globex.pk)
    touched("DELETE FROM tenants_tenant WHERE id = %s", both.globex.pk)
    with pytest.raises(IntegrityError, match='update or delete on table "tenants_tenant"'):
        connection.check_constraints()
    transaction.savepoint_rollback(savepoint)


def test_a_nested_tenant_is_seen_inside_and_the_outer_one_again_afterwards(cast: Any) -> None:
    with scope.entered(cast.acme):
        with scope.entered(cast.globex):
            assert people() == {"Nils"}
            with scope.reading(cast.acme):
                assert people() == ACMES
            assert people() == {"Nils"}
        assert people() == ACMES
    assert people() == set()


def test_after_a_nested_scope_that_failed_the_outer_tenant_is_back(cast: Any) -> None:
    with scope.entered(cast.acme):
        with pytest.raises(RuntimeError), scope.entered(cast.globex):
            raise RuntimeError
        assert people() == ACMES
        with pytest.raises(RuntimeError), scope.reading(cast.globex):
            raise RuntimeError
        assert people() == ACMES


def test_after_a_rollback_to_a_savepoint_the_tenant_stays(cast: Any) -> None:
    with scope.entered(cast.acme):
        savepoint = transaction.savepoint()
        assert touched("UPDATE tenants_person SET name = 'X'") == len(ACMES)
        transaction.savepoint_rollback(savepoint)
        assert people() == ACMES


def test_reading_shows_one_tenant_and_writes_nothing(cast: Any) -> None:
    with scope.reading(cast.acme):
        assert people() == ACMES
        with pytest.raises(Error, match="read-only"), transaction.atomic():
            touched("UPDATE tenants_person SET name = 'X'")
    assert people() == set()


@pytest.mark.django_db(transaction=True)
def test_a_kept_connection_knows_no_tenant_in_its_next_transaction(cast: Any) -> None:
    def session() -> int:
        return int(rows("SELECT pg_backend_pid()")[0][0])

    def nobody_is_seen() -> bool:
        with transaction.atomic():
            inside = people()
        return inside == people() == set()

    connection.close()  # the next one is new, and is kept for a minute
    first = session()
    with scope.entered(cast.acme):
        assert people() == ACMES
    assert nobody_is_seen()
    with pytest.raises(RuntimeError), scope.entered(cast.acme):
        raise RuntimeError
    assert nobody_is_seen()
    with scope.reading(cast.acme):
        assert people() == ACMES
    close_old_connections()  # what happens between two requests
    assert nobody_is_seen()
    assert session() == first


def test_the_wall_can_be_taken_down_and_put_up_again() -> None:
    state, operation, everything = ProjectState.from_apps(apps), walled("artefact.epochs", "viewing"), behind()
    with connection.schema_editor() as editor:
        operation.database_backwards("recordings", editor, state, state)
    assert behind() == [table for table in everything if table not in ("recordings_artefact_epochs", "recordings_viewing")]
    with connection.schema_editor() as editor:
        operation.database_forwards("recordings", editor, state, state)
    assert behind() == everything


# The role


def test_production_refuses_a_role_that_row_security_does_not_hold_for(tmp_path: Path) -> None:
    line = refusal(manage("run", "--port", "0", "--data", str(tmp_path), **production(SUPERUSER)))

    assert "cleac.E002" in line
    assert "DATABASE_URL" in line


def test_in_dev_such_a_role_is_a_warning_and_the_doctor_says_so(tmp_path: Path) -> None:
    done = manage("check", "--database", "default", CLEAC_DATA=str(tmp_path), DATABASE_URL=SUPERUSER)
    assert done.returncode == 0
    assert "cleac.W002" in done.stderr

    assert role_finding(CLEAC_DATA=str(tmp_path), DATABASE_URL=SUPERUSER)["state"] == "warn"


def test_the_doctor_finds_fault_with_such_a_role_in_production_and_none_with_another(tmp_path: Path) -> None:
    assert role_finding(CLEAC_DATA=str(tmp_path), **production(SUPERUSER))["state"] == "fail"
    assert role_finding(CLEAC_DATA=str(tmp_path), **production(os.environ["DATABASE_URL"]))["state"] == "ok"


def test_a_role_with_bypassrls_alone_is_refused_as_well(tmp_path: Path) -> None:
    role = f"cleac_past_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(SUPERUSER, autocommit=True) as server:
        server.execute(f"CREATE ROLE {role} LOGIN BYPASSRLS PASSWORD 'past'")
        try:
            url = f"postgresql://{role}:past@{SUPERUSER.rpartition('@')[2]}"
            finding = role_finding(CLEAC_DATA=str(tmp_path), **production(url))
        finally:
            server.execute(f"DROP ROLE {role}")
    assert finding["state"] == "fail"
    assert role in finding["detail"]


def production(url: str) -> dict[str, str]:
    """What production needs, with this database."""
    secrets = dict.fromkeys(("CLEAC_SECRET_KEY", "CLEAC_PIPE_KEY", "CLEAC_MASTER_KEY"), "x" * 40)
    servers = {"DATABASE_URL": url, "CLEAC_KEYS_DATABASE_URL": os.environ["DATABASE_URL"], "REDIS_URL": os.environ["REDIS_URL"]}
    site = {"CLEAC_PUBLIC_URL": "https://cleac.example", "EMAIL_URL": "smtp://127.0.0.1:1"}
    return {"CLEAC_ENV": "production", **site, **secrets, **servers}


def role_finding(**environment: str) -> dict[str, str]:
    done: subprocess.CompletedProcess[str] = manage("doctor", "--json", **environment)
    [found] = [finding for finding in json.loads(done.stdout) if finding["check"] == "database role"]
    return dict(found)
