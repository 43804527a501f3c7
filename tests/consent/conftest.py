"""Acme and Globex with the catalogue of the baseline, and short ways to show and to answer."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

NOON = datetime(2026, 3, 2, 12, 0, 0, 123_987, tzinfo=UTC)
VOICE, CAMERA, SCREEN = "record-voice", "record-camera", "record-screen"
ALL = (VOICE, CAMERA, SCREEN)


@pytest.fixture
def house(cast: Any) -> Any:
    """The cast, in tenants that have their catalogue."""
    from consent import services  # noqa: PLC0415 - reason: needs configured settings
    from tenants.permissions import Actor  # noqa: PLC0415 - reason: as above

    for tenant in (cast.acme, cast.globex):
        services.ensure_catalogue(tenant=tenant, by=Actor.job("demo"), at=NOON)
    return cast


@pytest.fixture
def call() -> uuid.UUID:
    return uuid.uuid4()


def show(person: Any, call: uuid.UUID, *purposes: str) -> Any:
    """Show the notices of these purposes, or of all."""
    return _services().serve(person=person, call_id=call, purposes=purposes or ALL, at=NOON)


def answer(person: Any, call: uuid.UUID, purpose: str, granted: bool, **more: Any) -> Any:
    """The person's own answer, on the page unless said otherwise."""
    from tenants.permissions import Actor  # noqa: PLC0415 - reason: needs configured settings

    arguments = {"by": Actor.person(person), "at": NOON} | more
    return _services().decide(call_id=call, person=person, purpose=purpose, granted=granted, **arguments)


def reword(purpose: str, **changes: Any) -> Any:
    """Publish the words in force with these changes as the next version."""
    from consent import queries  # noqa: PLC0415 - reason: needs configured settings
    from consent.catalogue import Wording  # noqa: PLC0415 - reason: as above
    from tenants.permissions import Actor  # noqa: PLC0415 - reason: as above

    [notice] = queries.notices([purpose])
    words = {name: getattr(notice, name) for name in Wording.__dataclass_fields__} | (
        changes or {"what": f"{notice.what} Version {notice.version + 1}."}
    )
    return _services().publish_notice(purpose=purpose, wordings={"en": Wording(**words)}, by=Actor.operator("cli"), at=NOON)


def _services() -> ModuleType:
    from consent import services  # noqa: PLC0415 - reason: needs configured settings

    return services
