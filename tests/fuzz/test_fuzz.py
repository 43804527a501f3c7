"""Whatever is sent or stored, every reader refuses it by name or reads it rightly: seeds of our own, and some thousand mutations of them.

`manage.py fuzz` runs the same targets for as long as one likes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cleac_site.management.commands import fuzz as command

from .campaign import _mutated, campaign
from .engine import Target, Violation, fuzz, mutations, tried
from .targets import TARGETS

SEED = "suite"
RUNS = {"stun": 1500, "sdp": 12_000, "rtp": 2000, "rtcp": 1500, "extensions": 60_000, "depacketiser": 8000, "json": 25_000}
RUNS |= {"journal": 1500, "playback": 1500}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Faults of taps and the like are logged; here only the properties count."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """The suite's own fixture empties a cache that nothing here uses."""


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_property_of_this_reader(name: str) -> None:
    target = TARGETS[name]
    assert fuzz(target, target.seeds(), SEED, runs=RUNS[name]) == RUNS[name] + len(target.seeds())


def test_the_command_knows_every_target_and_the_suite_runs_every_one() -> None:
    assert set(command.NAMES) == set(TARGETS) == set(RUNS)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_small_and_the_same_in_every_run(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert all(len(seed) <= 4096 for seed in seeds)
    if name != "stun":  # a transaction has a random id
        assert seeds == TARGETS[name].seeds()


def hasty(data: bytes) -> None:
    assert b"\x80" not in data, "it fell over"


HASTY = Target("hasty", hasty, lambda: [b"seed"])


def test_mutations_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    first, again, other = ([next(stream) for _ in range(50)] for stream in (mutations(HASTY, [b"seed"], seed) for seed in ("1", "1", "2")))
    assert first == again != other


def test_a_reader_that_falls_over_is_found_and_the_input_is_kept_and_tried_first_the_next_time(tmp_path: Path) -> None:
    with pytest.raises(Violation, match="it fell over"):
        fuzz(HASTY, [b"seed"], "1", runs=5000)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "violations").mkdir()
    (tmp_path / "corpus" / "seed").write_bytes(b"seed")

    found = Path(_mutated(HASTY, tmp_path, 60))
    assert campaign(HASTY, tmp_path, 60) == str(found)
    with pytest.raises(Violation, match="it fell over"):
        tried(HASTY, found.read_bytes())


def test_a_run_goes_on_with_other_mutations_than_the_last_one(tmp_path: Path) -> None:
    sound = Target("sound", lambda data: None, lambda: [b"seed"])
    for folder in ("corpus", "violations"):
        (tmp_path / folder).mkdir()
    (tmp_path / "corpus" / "seed").write_bytes(b"seed")
    assert _mutated(sound, tmp_path, 0.2) == ""
    first = int((tmp_path / "round").read_text())
    assert _mutated(sound, tmp_path, 0.2) == ""
    assert int((tmp_path / "round").read_text()) > first > 0
