"""`manage.py log verify`: a sound log passes, one changed byte is named and fails, and each tenant's log is looked at alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from compliance import log, merkle
from compliance.models import LogEntry
from tenants.models import Person, Tenant
from tenants.permissions import Actor
from tenants.scope import entered

from .conftest import NOON

SIZE = 5  # perfect subtrees of 4 and 1


@pytest.fixture
def grown(acme: Tenant, gail: Person) -> Tenant:
    with entered(acme):
        for turn in range(SIZE):
            log.record("decision.made", on=gail, by=Actor.person(gail), at=NOON, turn=turn, purpose="record-voice")
    return acme


def run(*words: str) -> tuple[int, str, str]:
    """Exit code, what was printed, and what was complained about."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("log", "verify", *words, stdout=out, stderr=err)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def read(*words: str) -> tuple[int, Any]:
    code, out, _err = run(*words, "--json")
    return code, json.loads(out)


def set_column(tenant: Tenant, column: str, value: Any, index: int) -> None:
    """Change one row as somebody with the database's password would."""
    with entered(tenant), connection.cursor() as cursor:
        cursor.execute(f'UPDATE compliance_logentry SET {column} = %s WHERE tenant_id = %s AND "index" = %s', [value, tenant.pk, index])
        assert cursor.rowcount == 1


def one_letter_on(entry: LogEntry) -> str:
    return json.dumps(entry.record).replace("record-voice", "record-voicd")


def one_bit_on(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


def test_a_sound_log_is_shown_with_its_size_and_root_and_passes(grown: Tenant) -> None:
    with entered(grown):
        root = log.root(grown).hex()

    code, out, err = run()

    assert (code, err) == (0, "")
    heading, row = out.strip().splitlines()
    assert heading.split() == ["tenant", "entries", "size", "findings", "root"]
    assert row.split() == ["acme", "5", "5", "0", root]


def test_the_json_has_every_tenant_with_its_size_root_and_findings(grown: Tenant, globex: Tenant) -> None:
    with entered(grown):
        root = log.root(grown).hex()

    code, found = read()

    assert code == 0
    assert found == [
        {"tenant": "acme", "entries": SIZE, "size": SIZE, "root": root, "findings": []},
        {"tenant": "globex", "entries": 0, "size": 0, "root": merkle.EMPTY_ROOT.hex(), "findings": []},
    ]


@pytest.mark.parametrize(
    ("column", "changed", "findings"),
    [
        ("record", one_letter_on, [{"code": "commitment", "index": 2, "count": 1}]),
        ("salt", lambda entry: one_bit_on(bytes(entry.salt)), [{"code": "commitment", "index": 2, "count": 1}]),
        (
            "commitment",
            lambda entry: one_bit_on(bytes(entry.commitment)),
            [{"code": "commitment", "index": 2, "count": 1}, {"code": "frontier", "index": 0, "count": 4}],
        ),
    ],
    ids=["record", "salt", "commitment"],
)
def test_one_changed_byte_is_found_named_and_fails(
    grown: Tenant, column: str, changed: Callable[[LogEntry], Any], findings: list[dict[str, Any]]
) -> None:
    assert read()[0] == 0
    with entered(grown):
        entry = LogEntry.objects.get(index=2)
    set_column(grown, column, changed(entry), 2)

    code, (found,) = read()

    assert (code, found["findings"]) == (1, findings)
    code, out, _err = run()
    assert code == 1
    for finding in findings:
        assert ["acme", finding["code"], str(finding["index"]), str(finding["count"])] in [line.split() for line in out.splitlines()]


def test_an_altered_head_has_no_root_and_fails(grown: Tenant) -> None:
    with entered(grown), connection.cursor() as cursor:
        cursor.execute("UPDATE compliance_loghead SET frontier = %s", ['["zz", "zz"]'])

    code, (found,) = read()

    assert (code, found["entries"], found["size"], found["root"]) == (1, SIZE, SIZE, None)
    assert found["findings"] == [{"code": "head", "index": None, "count": 1}]
    assert "the head was altered" in run()[1]


def test_only_the_named_tenants_log_is_looked_at(grown: Tenant, globex: Tenant) -> None:
    with entered(globex):
        log.record("tenant.created", on=globex, by=Actor.operator("test"), at=NOON)
    set_column(grown, "salt", b"s" * 32, 0)

    named, found = read("--tenant", "globex")
    everybody, all_found = read()

    assert (named, [one["tenant"] for one in found]) == (0, ["globex"])
    assert (everybody, [one["tenant"] for one in all_found]) == (1, ["acme", "globex"])
    assert read("--tenant", "acme")[0] == 1


def test_an_unknown_tenant_is_wrong_use(grown: Tenant) -> None:
    code, out, err = run("--tenant", "initech")

    assert (code, out) == (2, "")
    assert err.startswith("log: there is no tenant 'initech'")


@pytest.mark.parametrize("words", [[], ["mend"], ["verify", "--deep"]])
def test_anything_but_verify_is_refused(words: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("log", *words)
