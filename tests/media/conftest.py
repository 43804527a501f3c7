"""Media tests need no database, no Redis and no browser."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from calls.media import forms
from calls.media.native import build

from .peers import Stage

# Everything that moves packets is tested with both forms of the path.
BOTH = ("test_attacks", "test_call", "test_call_messages", "test_fence", "test_floods", "test_forward", "test_tap_losses")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in BOTH:
        metafunc.parametrize("form", ["python", "native"], indirect=True)


@pytest.fixture(autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The form of the packet path that this test runs with."""
    name: str = getattr(request, "param", forms.default)
    if name == "native":
        assert build.ensure() == ""
    monkeypatch.setattr(forms, "default", name)
    return name


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """The suite's own fixture empties a cache that nothing here uses."""


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    """An edge and a room of the test's own, closed with everybody in it."""
    opened = await Stage.open()
    yield opened
    await opened.close()
