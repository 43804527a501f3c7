"""The suite. What its helpers assert is told in full where it fails, as in the tests themselves."""

import pytest

pytest.register_assert_rewrite(*(f"tests.{part}" for part in ("stack", "calls", "compliance", "media", "recordings", "tenants", "walks")))
