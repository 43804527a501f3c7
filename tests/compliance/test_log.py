"""Writing the log: what is written, what is refused, and that writers neither fork nor wait on another tenant."""

from __future__ import annotations

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from enum import Enum
from threading import Barrier, Event
from typing import Any

import pytest
import rfc8785
from django.db import connection, transaction
from django.db.models import ProtectedError
from django.db.transaction import TransactionManagementError
from django_scopes import scope, scopes_disabled
from django_scopes.exceptions import ScopeError

from compliance import log, merkle
from compliance.models import AppendOnlyError, LogEntry, LogHead
from tenants.models import Person, Tenant
from tenants.permissions import Actor
from tenants.scope import entered

from .conftest import NOON

CLI = Actor.operator("cli")


class Colour(Enum):
    RED = "red"


def write(tenant: Tenant, count: int = 1, **facts: Any) -> list[LogEntry]:
    return [log.record("tenant.changed", on=tenant, by=CLI, at=NOON, **facts) for _ in range(count)]


def write_and_fail(tenant: Tenant) -> None:
    write(tenant, 3)
    raise RuntimeError("changed my mind")


def head_of(tenant: Tenant) -> LogHead | None:
    with entered(tenant):
        head: LogHead | None = LogHead.objects.first()
    return head


def test_an_entry_says_what_happened_and_its_commitment_is_the_documented_hash(acme: Tenant, gail: Person) -> None:
    with entered(acme):
        written = log.record("person.invited", on=gail, by=Actor.person(gail), at=NOON, tries=2, links=[acme.pk, "short"], sent=True)
        entry = LogEntry.objects.get(pk=written.pk)

    assert entry.record == {
        "tenant": str(acme.pk),
        "index": 0,
        "kind": "person.invited",
        "at": "2026-03-02T12:00:00.123Z",
        "by": {"kind": "person", "id": str(gail.pk)},
        "on": {"type": "tenants.person", "id": str(gail.pk)},
        "facts": {"tries": 2, "links": [str(acme.pk), "short"], "sent": True},
    }
    salt = bytes(entry.salt or b"")
    assert len(salt) == 32
    assert bytes(entry.commitment) == hashlib.sha256(b"cleac/log/entry/v1\x00" + salt + rfc8785.dumps(entry.record)).digest()
    assert log.entry_hash(entry) == log.entry_hash(written) == hashlib.sha256(b"\x00" + bytes(entry.commitment)).digest()
    assert (entry.kind, entry.on_type, entry.on_id, entry.by_kind) == ("person.invited", "tenants.person", str(gail.pk), "person")
    assert entry.at == NOON.replace(microsecond=123_000)
    assert log.opens(entry)


def test_two_entries_that_say_the_same_commit_differently(acme: Tenant) -> None:
    with entered(acme):
        first, second = write(acme, 2)

    assert bytes(first.salt or b"") != bytes(second.salt or b"")
    assert bytes(first.commitment) != bytes(second.commitment)


def test_every_committed_entry_is_proof_ready(acme: Tenant) -> None:
    with entered(acme):
        entries = write(acme, 11)
        leaves, root = log.leaf_hashes(acme), log.root(acme)

    assert leaves == [log.entry_hash(entry) for entry in entries]
    assert root == merkle.root(leaves)
    for index, leaf in enumerate(leaves):
        merkle.verify_inclusion(index, 11, leaf, merkle.inclusion_proof(leaves, index), root)


def test_an_empty_log_has_the_root_of_nothing_and_no_fault(acme: Tenant) -> None:
    with entered(acme):
        assert log.root(acme) == merkle.EMPTY_ROOT
        assert log.leaf_hashes(acme) == []
        assert log.verify(acme) == []


def test_a_time_in_another_zone_is_written_in_utc(acme: Tenant) -> None:
    helsinki = datetime(2026, 3, 2, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    with entered(acme):
        entry = log.record("tenant.changed", on=acme, by=CLI, at=helsinki)

    assert entry.record is not None
    assert entry.record["at"] == "2026-03-02T12:00:00.000Z"


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_nothing_is_written() -> None:
    acme = Tenant.objects.create(slug="acme", name="Acme")

    with scope(tenant=acme), pytest.raises(TransactionManagementError, match="inside the writer"):
        write(acme)

    assert head_of(acme) is None


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_leaves_no_entry_and_no_gap() -> None:
    acme = Tenant.objects.create(slug="acme", name="Acme")
    with entered(acme):
        write(acme)
    with pytest.raises(RuntimeError, match="changed my mind"), entered(acme):
        write_and_fail(acme)
    with entered(acme):
        assert [entry.index for entry in write(acme)] == [1]
        assert log.verify(acme) == []


def test_outside_one_tenants_scope_nothing_is_written_or_read(acme: Tenant, globex: Tenant) -> None:
    with pytest.raises(ScopeError):
        write(acme)
    with scopes_disabled(), pytest.raises(ScopeError):
        write(acme)
    with scope(tenant=[acme, globex]), pytest.raises(ScopeError):
        write(acme)
    with entered(globex):
        for reader in (log.verify, log.root, log.leaf_hashes):
            with pytest.raises(ScopeError):
                reader(acme)


def test_an_entry_leaves_the_other_tenants_log_untouched(acme: Tenant, globex: Tenant) -> None:
    with entered(globex):
        write(globex, 3)
    before = head_of(globex)
    with entered(acme):
        write(acme, 2)

    after = head_of(globex)
    assert before is not None
    assert after is not None
    assert (after.size, after.frontier) == (before.size, before.frontier) == (3, before.frontier)
    with entered(acme):
        assert LogEntry.objects.count() == 2


def test_an_object_or_an_actor_of_another_tenant_is_refused(acme: Tenant, globex: Tenant, gail: Person) -> None:
    with entered(globex):
        for on, by in ((gail, CLI), (globex, Actor.person(gail))):
            with pytest.raises(ValueError, match="own tenant"):
                log.record("person.invited", on=on, by=by, at=NOON)
    assert head_of(globex) is None


@pytest.mark.parametrize(
    "kind", ["recording", "Recording.requested", "recording.requested.twice", "recording requested", ".a", "a.", "", "n." + "v" * 64]
)
def test_a_kind_that_is_not_noun_verb_is_refused(acme: Tenant, kind: str) -> None:
    with entered(acme), pytest.raises(ValueError, match=r"noun\.verb"):
        log.record(kind, on=acme, by=CLI, at=NOON)


@pytest.mark.parametrize(
    "value",
    [
        "gail@example.org",
        "Gail Example",
        "line\nbreak",
        "tab\there",
        "no\u00a0break",
        "J\u00e4rvi",
        "x" * 129,
        "+358401234567",
        "192.0.2.7",
        "2001:db8::7",
        1.5,
        None,
        b"bytes",
        {"name": "Gail"},
        NOON,
        [["nested"]],
        ["fine", "not fine"],
        ["x"] * 257,
        2**53,
    ],
)
def test_a_fact_that_may_hold_personal_data_is_refused_and_not_repeated(acme: Tenant, value: Any) -> None:
    with entered(acme):
        with pytest.raises(ValueError, match="fact note") as refused:
            write(acme, note=value)
        assert LogEntry.objects.count() == 0
    assert "Gail" not in str(refused.value)
    assert "example" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Colour.RED, "red"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (-(2**53) + 1, -(2**53) + 1),
        ((1, True, "x"), [1, True, "x"]),
        ("sha256:AbC+/=", "sha256:AbC+/="),
        ("", ""),
        ([], []),
    ],
)
def test_ids_numbers_flags_and_code_words_are_kept_as_they_are(acme: Tenant, value: Any, kept: Any) -> None:
    with entered(acme):
        entry = LogEntry.objects.get(pk=write(acme, note=value)[0].pk)

    assert entry.record is not None
    assert entry.record["facts"] == {"note": kept}
    assert log.opens(entry)


def test_a_malformed_name_time_object_or_actor_is_refused(acme: Tenant) -> None:
    with entered(acme):
        with pytest.raises(ValueError, match="a name is lower case"):
            write(acme, **{"Gail Example": 1})
        with pytest.raises(ValueError, match="offset"):
            log.record("tenant.changed", on=acme, by=CLI, at=NOON.replace(tzinfo=None))
        with pytest.raises(ValueError, match="saved row"):
            log.record("tenant.changed", on=LogHead(), by=CLI, at=NOON)
        with pytest.raises(ValueError, match="fact by"):
            log.record("tenant.changed", on=acme, by=Actor.operator("ada@example.org"), at=NOON)
        with pytest.raises(ValueError, match="by has no kind"):
            log.record("tenant.changed", on=acme, by=Actor("", "1"), at=NOON)


def test_an_entry_is_neither_changed_nor_deleted_by_any_way_of_the_orm(acme: Tenant) -> None:
    with entered(acme):
        entry = write(acme)[0]
        rows = LogEntry.objects.all()
        for attempt in (
            entry.save,
            entry.delete,
            rows.delete,
            lambda: rows.update(kind="tenant.unchanged"),
            lambda: LogEntry.objects.bulk_update([entry], ["kind"]),
            lambda: LogEntry.objects.bulk_create([LogEntry(pk=entry.pk)], ignore_conflicts=True),
            lambda: LogEntry.objects.update_or_create(pk=entry.pk, defaults={"kind": "tenant.unchanged"}),
            LogHead.objects.get().delete,
        ):
            with pytest.raises(AppendOnlyError):
                attempt()
        assert log.verify(acme) == []
        with pytest.raises(ProtectedError):
            acme.delete()


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_share_one_log_without_a_gap() -> None:
    acme = Tenant.objects.create(slug="acme", name="Acme")
    writers, each = 4, 10
    ready = Barrier(writers)

    def writer(number: int) -> None:
        try:
            ready.wait(timeout=30)
            for turn in range(each):
                with entered(acme):
                    write(acme, writer=number, turn=turn)
        finally:
            connection.close()

    with ThreadPoolExecutor(writers) as pool:
        for done in [pool.submit(writer, number) for number in range(writers)]:
            done.result(timeout=60)

    with entered(acme):
        entries = list(LogEntry.objects.order_by("index"))
        assert [entry.index for entry in entries] == list(range(writers * each))
        assert log.verify(acme) == []
    for number in range(writers):
        facts = [entry.record["facts"] for entry in entries if entry.record]
        assert [fact["turn"] for fact in facts if fact["writer"] == number] == list(range(each))


@pytest.mark.django_db(transaction=True)
def test_a_second_writer_waits_for_the_first_and_another_tenant_does_not() -> None:
    acme = Tenant.objects.create(slug="acme", name="Acme")
    globex = Tenant.objects.create(slug="globex", name="Globex")
    holding, release = Event(), Event()

    def slow() -> None:
        try:
            with entered(acme):
                write(acme)
                holding.set()
                assert release.wait(timeout=30)
        finally:
            connection.close()

    def quick(tenant: Tenant) -> int:
        try:
            with entered(tenant):
                return write(tenant)[0].index
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(slow)
        assert holding.wait(timeout=30)
        same = pool.submit(quick, acme)
        other = pool.submit(quick, globex)
        try:
            assert other.result(timeout=30) == 0
            assert not same.done()
        finally:
            release.set()
        first.result(timeout=30)
        assert same.result(timeout=30) == 1

    with entered(acme):
        assert log.verify(acme) == []


def test_entries_about_a_person_are_found_by_actor_object_and_fact(acme: Tenant, gail: Person) -> None:
    with entered(acme):
        log.record("person.invited", on=gail, by=CLI, at=NOON)
        log.record("decision.made", on=acme, by=Actor.person(gail), at=NOON)
        log.record("recording.played", on=acme, by=CLI, at=NOON, person=gail.pk)
        write(acme)

        assert [entry.index for entry in log.about(gail.pk)] == [0, 1, 2]


def test_a_nested_transaction_that_fails_takes_its_entry_with_it(acme: Tenant) -> None:
    with entered(acme):
        with pytest.raises(RuntimeError, match="changed my mind"), transaction.atomic():
            write_and_fail(acme)
        write(acme)
        assert [entry.index for entry in LogEntry.objects.all()] == [0]
        assert log.verify(acme) == []
