"""Whoever changes one byte of a stored log by hand is found, and the entry is named; blanking is the one loss it accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance import log, merkle
from compliance.log import Finding
from compliance.models import LogEntry, LogHead
from tenants.models import Person, Tenant
from tenants.permissions import Actor
from tenants.scope import entered

from .conftest import NOON

SIZE = 13  # perfect subtrees of 8, 4 and 1
DPO = Actor.job("retention")


@pytest.fixture
def grown(acme: Tenant, gail: Person) -> Tenant:
    with entered(acme):
        for turn in range(SIZE):
            log.record("decision.made", on=gail, by=Actor.person(gail), at=NOON, turn=turn, purpose="record-voice")
    return acme


def by_hand(statement: str, *values: Any) -> None:
    """Change Acme's log as somebody with the database's password would."""
    with entered(Tenant.objects.get(slug="acme")), connection.cursor() as cursor:
        cursor.execute(statement, values)


def set_column(column: str, value: Any, index: int) -> None:
    by_hand(f'UPDATE compliance_logentry SET {column} = %s WHERE "index" = %s', value, index)


def faults(tenant: Tenant) -> list[Finding]:
    with entered(tenant):
        return log.verify(tenant)


def entry_at(tenant: Tenant, index: int) -> LogEntry:
    with entered(tenant):
        entry: LogEntry = LogEntry.objects.get(index=index)
    return entry


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit % (8 * len(value))).to_bytes(len(value), "big")


def span_of(index: int) -> Finding:
    return next(Finding("frontier", *span) for span in merkle.frontier_spans(SIZE) if span[0] <= index < sum(span))


any_index = st.integers(min_value=0, max_value=SIZE - 1)
any_bit = st.integers(min_value=0, max_value=255)
on_one_log = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_a_log_that_nobody_touched_has_no_fault(grown: Tenant) -> None:
    assert faults(grown) == []


@on_one_log
@given(index=any_index, bit=any_bit)
def test_one_flipped_bit_of_a_salt_is_found_at_its_entry(grown: Tenant, index: int, bit: int) -> None:
    salt = bytes(entry_at(grown, index).salt or b"")
    set_column("salt", flipped(salt, bit), index)

    assert faults(grown) == [Finding("commitment", index)]
    set_column("salt", salt, index)


@on_one_log
@given(index=any_index, bit=any_bit)
def test_one_flipped_bit_of_a_commitment_is_found_at_its_entry_and_in_the_tree(grown: Tenant, index: int, bit: int) -> None:
    commitment = bytes(entry_at(grown, index).commitment)
    set_column("commitment", flipped(commitment, bit), index)

    assert faults(grown) == [Finding("commitment", index), span_of(index)]
    set_column("commitment", commitment, index)


@on_one_log
@given(index=any_index, data=st.data())
def test_one_changed_character_of_a_record_is_found_at_its_entry(grown: Tenant, index: int, data: st.DataObject) -> None:
    stored = entry_at(grown, index).record
    text = json.dumps(stored)
    place = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    changed = text[:place] + ("8" if text[place] == "7" else "7") + text[place + 1 :]
    try:
        parsed = json.loads(changed)
    except ValueError:
        return  # the database itself refuses what is no JSON
    if parsed == stored:
        return
    set_column("record", changed, index)

    assert faults(grown) == [Finding("commitment", index)]
    set_column("record", text, index)


@pytest.mark.parametrize("record", ["null", "[]", "[[1, 2]]", '"text"', "{}", '{"facts": 1e400}', '{"facts": 9007199254740993}'])
def test_a_record_replaced_by_rubbish_is_a_finding_and_not_a_crash(grown: Tenant, record: str) -> None:
    set_column("record", record, 4)

    assert faults(grown) in ([Finding("commitment", 4)], [Finding("blanked", 4)])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kind", "decision.unmade"),
        ("at", NOON.replace(year=2025)),
        ("on_type", "tenants.tenant"),
        ("on_id", ""),
        ("by_kind", "job"),
        ("by_id", "somebody"),
    ],
)
def test_a_clear_column_that_contradicts_its_record_is_found(grown: Tenant, column: str, value: Any) -> None:
    set_column(column, value, 6)

    assert faults(grown) == [Finding("columns", 6)]


def test_an_entry_rewritten_with_a_fitting_commitment_is_found_in_the_tree(grown: Tenant) -> None:
    entry = entry_at(grown, 9)
    forged = {**(entry.record or {}), "facts": {"turn": 9, "purpose": "record-camera"}}
    salt = b"s" * 32
    for column, value in (("record", json.dumps(forged)), ("salt", salt), ("commitment", log.commitment(forged, salt))):
        set_column(column, value, 9)

    assert faults(grown) == [Finding("frontier", 8, 4)]


def test_two_entries_that_changed_places_are_found(grown: Tenant) -> None:
    for old, new in ((2, 900), (3, 2), (900, 3)):
        by_hand('UPDATE compliance_logentry SET "index" = %s WHERE "index" = %s', new, old)

    assert faults(grown) == [Finding("columns", 2), Finding("columns", 3), Finding("frontier", 0, 8)]


@pytest.mark.parametrize(
    ("gone", "found"),
    [
        ([0], [Finding("missing", 0)]),
        ([8, 9], [Finding("missing", 8, 2)]),
        ([SIZE - 1], [Finding("missing", SIZE - 1)]),
        (list(range(SIZE)), [Finding("missing", 0, SIZE)]),
    ],
)
def test_rows_taken_away_are_named(grown: Tenant, gone: list[int], found: list[Finding]) -> None:
    by_hand('DELETE FROM compliance_logentry WHERE "index" = ANY(%s)', gone)

    assert faults(grown) == found


@on_one_log
@given(place=st.integers(min_value=0, max_value=2), bit=any_bit)
def test_one_flipped_bit_of_the_frontier_is_found_at_its_subtree(grown: Tenant, place: int, bit: int) -> None:
    with entered(grown):
        frontier = LogHead.objects.get().frontier
    changed = list(frontier)
    changed[place] = flipped(bytes.fromhex(changed[place]), bit).hex()
    by_hand("UPDATE compliance_loghead SET frontier = %s", json.dumps(changed))

    assert faults(grown) == [Finding("frontier", *merkle.frontier_spans(SIZE)[place])]
    by_hand("UPDATE compliance_loghead SET frontier = %s", json.dumps(frontier))


@pytest.mark.parametrize("frontier", ["[]", "{}", "null", '"x"', "[1, 2, 3]", '["zz", "zz", "zz"]', '["00", "00", "00"]'])
def test_a_frontier_of_the_wrong_form_is_found(grown: Tenant, frontier: str) -> None:
    by_hand("UPDATE compliance_loghead SET frontier = %s", frontier)

    assert faults(grown) == [Finding("head", None)]


def test_a_frontier_in_other_letters_is_not_the_one_that_was_written(grown: Tenant) -> None:
    by_hand("UPDATE compliance_loghead SET frontier = upper(frontier::text)::jsonb")

    assert faults(grown) == [Finding("head", None)]


def test_a_head_set_back_or_forward_is_found(grown: Tenant) -> None:
    by_hand("UPDATE compliance_loghead SET size = 12")
    assert faults(grown) == [Finding("head", None), Finding("beyond-head", 12)]

    by_hand("UPDATE compliance_loghead SET size = %s", 2**62 + 2**61 + 2**60)
    found = faults(grown)
    assert found[0] == Finding("missing", SIZE, 2**62 + 2**61 + 2**60 - SIZE)


def test_a_head_taken_away_is_found(grown: Tenant) -> None:
    by_hand("DELETE FROM compliance_loghead")

    assert faults(grown) == [Finding("head", None)]


def test_blanked_entries_say_nothing_and_every_proof_stays(grown: Tenant, gail: Person) -> None:
    with entered(grown):
        root, leaves = log.root(grown), log.leaf_hashes(grown)
        chosen = list(log.about(gail.pk)[2:5])

        assert log.blank(chosen, by=DPO, at=NOON, reason="retention") == 3

        assert log.verify(grown) == []
        assert log.leaf_hashes(grown)[:SIZE] == leaves
        merkle.verify_consistency(SIZE, SIZE + 1, root, log.root(grown), merkle.consistency_proof(log.leaf_hashes(grown), SIZE))
        for index in (2, 3, 4):
            entry = LogEntry.objects.get(index=index)
            assert not log.opens(entry)
            assert (entry.record, entry.salt, entry.on_id, entry.by_id) == (None, None, "", "")
            assert (entry.kind, log.entry_hash(entry)) == ("decision.made", leaves[index])
        said = LogEntry.objects.get(index=SIZE)
        assert said.record is not None
        assert (said.kind, said.record["facts"]) == ("log.blanked", {"reason": "retention", "indices": [2, 3, 4]})
        assert str(gail.pk) not in str(said.record)


def test_blanking_twice_writes_one_entry(grown: Tenant) -> None:
    with entered(grown):
        chosen = list(LogEntry.objects.filter(index__in=[1, 2]))
        assert log.blank(chosen, by=DPO, at=NOON, reason="erasure") == 2
        assert log.blank(chosen, by=DPO, at=NOON, reason="erasure") == 0
        assert log.blank([], by=DPO, at=NOON, reason="erasure") == 0
        assert LogEntry.objects.count() == SIZE + 1


def test_an_entry_that_vouches_for_others_may_itself_be_blanked(grown: Tenant) -> None:
    with entered(grown):
        log.blank(LogEntry.objects.filter(index__in=[1, 2]), by=DPO, at=NOON, reason="retention")
        log.blank(LogEntry.objects.filter(index=SIZE), by=DPO, at=NOON, reason="retention")

        last = LogEntry.objects.get(index=SIZE + 1)
        assert last.record is not None
        assert last.record["facts"]["indices"] == [1, 2, SIZE]
        assert log.verify(grown) == []


def test_a_long_list_of_blanked_entries_is_told_in_parts(acme: Tenant) -> None:
    with entered(acme):
        for _ in range(300):
            log.record("decision.made", on=acme, by=DPO, at=NOON)
        assert log.blank(LogEntry.objects.all(), by=DPO, at=NOON, reason="retention") == 300

        told = [entry.record["facts"]["indices"] for entry in LogEntry.objects.filter(kind="log.blanked").order_by("index")]
        assert [index for part in told for index in part] == list(range(300))
        assert max(len(part) for part in told) <= 256
        assert log.verify(acme) == []


def test_entries_emptied_by_hand_are_not_taken_for_blanked(grown: Tenant) -> None:
    by_hand("UPDATE compliance_logentry SET record = NULL, salt = NULL, on_id = '', by_id = '' WHERE \"index\" IN (3, 7)")

    assert faults(grown) == [Finding("blanked", 3), Finding("blanked", 7)]


def test_an_altered_leaf_of_a_blanked_entry_is_found_in_the_tree(grown: Tenant) -> None:
    with entered(grown):
        log.blank(LogEntry.objects.filter(index=9), by=DPO, at=NOON, reason="erasure")
    set_column("commitment", b"c" * 32, 9)

    assert faults(grown) == [Finding("frontier", 8, 4)]


def test_another_tenants_entries_are_not_blanked(grown: Tenant, globex: Tenant) -> None:
    with entered(grown):
        chosen = list(LogEntry.objects.all())
    with entered(globex):
        assert log.blank(chosen, by=DPO, at=NOON, reason="erasure") == 0
    with entered(grown):
        assert LogEntry.objects.filter(record__isnull=True).count() == 0
