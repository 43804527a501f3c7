"""Every field is declared once, and a declaration that contradicts itself is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.db.models import Model

from compliance import log, registry
from compliance.models import Hold
from compliance.personal_data import CLAIMS
from compliance.registry import Data, Erase, Export, Field, Line, Outcome, Purpose, Retention, declare, fields
from tenants.models import Person, Tenant
from tenants.permissions import Actor
from tenants.scope import entered

from .conftest import NOON

PLAIN = Field(Data.NONE, Purpose.OPERATION, Retention.TENANT)
NAME = Field(Data.IDENTITY, Purpose.MEETINGS, Retention.ACCOUNT, Export.INCLUDE, Erase.BLANK)


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_holdings", {})


def nothing(person: Model) -> Iterator[dict[str, Any]]:
    yield from ()


def nothing_erased(person: Model, at: datetime) -> Line:
    return Line("compliance.Hold", Outcome.DONE, 0)


def test_every_field_of_the_log_and_the_holds_is_declared_and_answered() -> None:
    assert registry.undeclared(["compliance"]) == []
    assert registry.unknown(["compliance"]) == []
    assert [missing for missing in registry.unanswered() if missing.startswith("compliance.")] == []


@pytest.mark.usefixtures("empty")
def test_each_column_that_nobody_declared_is_named() -> None:
    declare("compliance.Hold", fields("id tenant person_id", PLAIN))
    declare("compliance.LogHead", fields("tenant size frontier", PLAIN))

    found = registry.undeclared(["compliance"])

    assert [name for name in found if name.startswith("compliance.Hold.")] == [
        "compliance.Hold.lifted_at",
        "compliance.Hold.placed_at",
        "compliance.Hold.reason",
    ]
    assert "compliance.LogEntry.record" in found
    assert not any(name.startswith("compliance.LogHead.") for name in found)


@pytest.mark.usefixtures("empty")
def test_many_to_many_fields_count_and_so_do_models_of_libraries() -> None:
    assert "auth.Group.permissions" in registry.undeclared(["auth"])
    assert {"auth.Group.permissions", "account.EmailAddress.email", "sessions.Session.session_data"} <= set(registry.undeclared())


@pytest.mark.usefixtures("empty")
def test_a_declaration_of_a_field_or_model_that_is_gone_is_named() -> None:
    declare("compliance.Hold", fields("id colour", PLAIN))
    declare("compliance.Horoscope", fields("id", PLAIN))

    assert registry.unknown() == ["compliance.Hold.colour", "compliance.Horoscope.id"]


@pytest.mark.usefixtures("empty")
def test_a_promise_that_no_function_keeps_is_named() -> None:
    declare("compliance.Hold", fields("person_id", NAME), export=nothing)
    declare("compliance.LogEntry", fields("record", NAME), export=nothing, erase=nothing_erased)
    declare("compliance.LogHead", fields("size", PLAIN))

    assert registry.unanswered() == ["compliance.Hold erase"]


@pytest.mark.usefixtures("empty")
def test_a_model_is_declared_once_and_by_its_label() -> None:
    declare("compliance.Hold", {})

    with pytest.raises(ValueError, match="declared already"):
        declare("compliance.hold", {})
    with pytest.raises(ValueError, match=r"not app\.Model"):
        declare("Hold", {})


@pytest.mark.usefixtures("empty")
def test_declarations_are_listed_in_the_order_in_which_they_were_made() -> None:
    made = [declare("compliance.Hold", fields("id", PLAIN)), declare("compliance.LogHead", {})]

    assert list(registry.holdings()) == made


@pytest.mark.parametrize("data", [Data.IDENTITY, Data.CONTACT, Data.CREDENTIAL, Data.DECISION, Data.CONTENT])
def test_what_says_something_of_a_person_cannot_be_kept_for_ever(data: Data) -> None:
    with pytest.raises(ValueError, match="kept for ever"):
        Field(data, Purpose.MEETINGS, Retention.ACCOUNT)


def test_a_secret_is_never_exported_and_a_ground_needs_an_erasure_to_delay() -> None:
    with pytest.raises(ValueError, match="never exported"):
        Field(Data.CREDENTIAL, Purpose.SIGN_IN, Retention.ACCOUNT, Export.INCLUDE, Erase.DELETE)
    with pytest.raises(ValueError, match="delays"):
        Field(Data.NONE, Purpose.OPERATION, Retention.TENANT, ground=CLAIMS)


def test_a_line_names_its_ground_exactly_when_something_is_left() -> None:
    with pytest.raises(ValueError, match="ground"):
        Line("compliance.Hold", Outcome.KEPT, 1)
    with pytest.raises(ValueError, match="ground"):
        Line("compliance.Hold", Outcome.DONE, 1, CLAIMS)


def test_the_log_tells_a_person_what_was_done_with_theirs_without_naming_the_colleague(acme: Tenant, gail: Person) -> None:
    holding = next(held for held in registry.holdings() if held.model == "compliance.LogEntry")
    assert holding.export is not None
    assert holding.erase is not None
    with entered(acme):
        log.record("person.invited", on=gail, by=Actor("person", "2b0f7d4e-hana", str(acme.pk)), at=NOON)
        log.record("decision.made", on=acme, by=Actor.person(gail), at=NOON, purpose="record-voice", granted=True)
        log.record("recording.played", on=acme, by=Actor.job("render"), at=NOON, person=gail.pk)
        log.record("tenant.changed", on=acme, by=Actor.operator("cli"), at=NOON)

        told = list(holding.export(gail))
        kept = holding.erase(gail, NOON)

    assert [(entry["kind"], entry["by"]) for entry in told] == [
        ("person.invited", "person"),
        ("decision.made", "you"),
        ("recording.played", "job"),
    ]
    assert told[1]["facts"] == {"purpose": "record-voice", "granted": True}
    assert "hana" not in str(told)
    assert kept == Line("compliance.LogEntry", Outcome.KEPT, 3, CLAIMS)


def test_holds_are_told_and_kept_and_nobody_elses_are(acme: Tenant, gail: Person) -> None:
    holding = next(held for held in registry.holdings() if held.model == "compliance.Hold")
    assert holding.export is not None
    assert holding.erase is not None
    with entered(acme):
        gus = Person.objects.create(tenant=acme, name="Gus")
        Hold.objects.create(tenant=acme, person_id=gail.pk, reason="claim", placed_at=NOON)

        assert list(holding.export(gail)) == [{"reason": "claim", "placed_at": NOON, "lifted_at": None}]
        assert list(holding.export(gus)) == []
        assert holding.erase(gail, NOON) == Line("compliance.Hold", Outcome.KEPT, 1, CLAIMS)
        assert holding.erase(gus, NOON) == Line("compliance.Hold", Outcome.DONE, 0)
