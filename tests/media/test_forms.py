"""The form in C is the form in Python: the same packets and commands give the same octets, taps, events and counters."""

from __future__ import annotations

import pytest

from calls.media.native import build

from .both import Both

SEEDS = range(24)
STEPS = 700


@pytest.fixture(autouse=True)
def compiled() -> None:
    assert build.ensure() == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_both_forms_send_tap_tell_and_count_the_same(seed: int) -> None:
    both = Both(seed)
    for _ in range(STEPS):
        both.happen()
    both.close()

    python, native = (world.noted for world in both.worlds)
    assert python.sent, "nothing was sent, so nothing was compared"
    for which, (one, other) in enumerate(zip(python.told(), native.told(), strict=True)):
        assert one == other, which
