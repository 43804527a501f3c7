"""Media tests need no database, no Redis and no browser."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """The suite's own fixture empties a cache that nothing here uses."""
