"""What we hold about people, said once per field, by the app that holds it.

Every app's `personal_data.py` calls `declare` for each of its models when the app is loaded. The data map, the processing
register, the collectors of data-subject requests and the purge plan read these declarations and nothing else, so a field
that nobody declared is a fault of the build: `undeclared` names it.

How an erasure reads a field: `erase` is what happens to the value when its time has come; its time is the end of its
retention class or an erasure request, whichever is first, unless `ground` names the exception of GDPR Art. 17(3) under
which a request leaves it until its retention class ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from django.apps import apps
from django.db.models import Model

NO_TABLES = frozenset({"axes"})  # libraries whose models are installed and whose tables are not made


class Data(StrEnum):
    """What a value says about a natural person."""

    NONE = "none"  # nothing: settings, states, wording, keys of rows about no person
    PSEUDONYM = "pseudonym"  # an id that leads to a person through another row
    IDENTITY = "identity"  # name, picture, language
    CONTACT = "contact"  # an address at which the person is reached
    CREDENTIAL = "credential"  # a secret or what is derived from one
    DECISION = "decision"  # what the person agreed or objected to
    CONTENT = "content"  # voice, picture, words
    ACTIVITY = "activity"  # what the person did and when


class Purpose(StrEnum):
    """Why it is held (GDPR Art. 5(1)(b), 30(1)(b)). One per field: a second purpose needs a second field."""

    SIGN_IN = "sign-in"
    MEETINGS = "meetings"
    RECORDING = "recording"
    CONSENT = "proof-of-consent"
    REQUESTS = "data-subject-requests"
    ACCOUNTABILITY = "accountability"
    SECURITY = "security"
    OPERATION = "operation"


class Retention(StrEnum):
    """How long it is held. The days belonging to a class are dated rows of the tenant's policy, not code."""

    TENANT = "tenant"  # as long as the organisation is a customer
    ACCOUNT = "account"  # as long as the person is a member; of a guest a year after the last meeting, or until nothing else is left
    INVITATION = "invitation"  # from its end: 30 days when nobody came with it, else a year
    SESSION = "session"
    RECORDING = "recording"
    JOURNAL = "journal"
    PACKAGE = "package"
    CHAT = "chat"
    EVIDENCE = "evidence"  # counted from the last content that the evidence is about
    LOGS = "logs"


class Export(StrEnum):
    """What an access request does with the value (GDPR Art. 15, 20)."""

    INCLUDE = "include"
    OMIT = "omit"  # says nothing of the person, is a secret, or would show somebody else (Art. 15(4))


class Erase(StrEnum):
    """What happens to the value when its time has come."""

    DELETE = "delete"  # the row goes
    BLANK = "blank"  # the row stays, the value goes
    DESTROY_KEY = "destroy-key"  # the key goes first, then what it opened
    KEEP = "keep"  # says nothing of a person once the rest of the row is gone


class Outcome(StrEnum):
    """How an erasure ended for one model."""

    DONE = "done"
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True)
class Field:
    """The declaration of one model field. Raises ValueError when it contradicts itself."""

    data: Data
    purpose: Purpose
    retention: Retention
    export: Export = Export.OMIT
    erase: Erase = Erase.KEEP
    ground: str = ""

    def __post_init__(self) -> None:
        if self.erase is Erase.KEEP and self.data not in (Data.NONE, Data.PSEUDONYM, Data.ACTIVITY):
            raise ValueError(f"{self.data} cannot be kept for ever")
        if self.export is Export.INCLUDE and self.data is Data.CREDENTIAL:
            raise ValueError("a secret is never exported")
        if self.ground and self.erase is Erase.KEEP:
            raise ValueError("a ground delays an erasure; nothing is erased here")


@dataclass(frozen=True)
class Line:
    """What an erasure did to one model: how many rows, and under which ground they were kept or why it failed (a code, no prose)."""

    model: str
    outcome: Outcome
    rows: int
    ground: str = ""

    def __post_init__(self) -> None:
        if (self.outcome is Outcome.DONE) == bool(self.ground):
            raise ValueError("what is kept or failed names its ground, what is done has none")


Exporter = Callable[[Model], Iterable[Mapping[str, Any]]]
Eraser = Callable[[Model, datetime], Line]


@dataclass(frozen=True)
class Holding:
    """Everything that one model holds, and the two functions that a request calls.

    `export(person)` yields one plain dictionary per row about that person. `erase(person, at)` erases what is about that
    person, is safe to run twice, and says what it did; holds have been asked before it is called. Both run inside the
    person's tenant. A model without rows about a person has neither.
    """

    model: str
    fields: Mapping[str, Field]
    export: Exporter | None = None
    erase: Eraser | None = None


_holdings: dict[str, Holding] = {}


def fields(names: str, field: Field) -> dict[str, Field]:
    """The same declaration for several fields, named in one string separated by spaces; join the results with `|`."""
    return dict.fromkeys(names.split(), field)


def declare(model: str, declared: Mapping[str, Field], *, export: Exporter | None = None, erase: Eraser | None = None) -> Holding:
    """Declare what `model` ("app.Model") holds. Raises ValueError when it is declared already or is no model's label."""
    app, dot, name = model.partition(".")
    if not (app and dot and name):
        raise ValueError(f"{model}: not app.Model")
    if model.lower() in _holdings:
        raise ValueError(f"{model}: declared already")
    holding = Holding(model, MappingProxyType(dict(declared)), export, erase)
    _holdings[model.lower()] = holding
    return holding


def holdings() -> tuple[Holding, ...]:
    """Every declaration, in the order in which the apps were loaded."""
    return tuple(_holdings.values())


def installed() -> tuple[str, ...]:
    """Every app that keeps rows here, ours and those of libraries."""
    return tuple(config.label for config in apps.get_app_configs() if config.label not in NO_TABLES)


def undeclared(labels: Iterable[str] | None = None) -> list[str]:
    """Fields of these apps' models that nobody declared, as "app.Model.field", sorted. Empty is the only good answer.

    Counts every column of every model and every many-to-many field, of libraries too: the row is ours whoever made the table.
    """
    labels = installed() if labels is None else labels
    return sorted(f"{label}.{name}" for label, names in _actual(labels).items() for name in names if name not in _declared(label))


def unknown(labels: Iterable[str] | None = None) -> list[str]:
    """Declarations of these apps that name no field any more, as "app.Model.field", sorted. Empty is the only good answer."""
    labels = installed() if labels is None else tuple(labels)
    actual = {label.lower(): names for label, names in _actual(labels).items()}
    ours = [holding for holding in holdings() if holding.model.partition(".")[0] in labels]
    return sorted(f"{held.model}.{name}" for held in ours for name in held.fields if name not in actual.get(held.model.lower(), ()))


def unanswered() -> list[str]:
    """Models whose fields promise an export or an erasure that no function carries out, as "app.Model export" or "... erase"."""
    missing = []
    for holding in holdings():
        personal = [field for field in holding.fields.values() if field.data is not Data.NONE]
        if holding.export is None and any(field.export is Export.INCLUDE for field in personal):
            missing.append(f"{holding.model} export")
        if holding.erase is None and any(field.erase is not Erase.KEEP for field in personal):
            missing.append(f"{holding.model} erase")
    return sorted(missing)


def _declared(label: str) -> Mapping[str, Field]:
    holding = _holdings.get(label.lower())
    return holding.fields if holding else {}


def _actual(labels: Iterable[str]) -> dict[str, list[str]]:
    """Model label -> names of its own columns and many-to-many fields."""
    wanted = frozenset(labels)
    return {
        model._meta.label: [field.name for field in (*model._meta.local_concrete_fields, *model._meta.local_many_to_many)]
        for model in apps.get_models()
        if model._meta.app_label in wanted
    }
