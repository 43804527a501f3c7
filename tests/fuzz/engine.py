"""Seeded mutations of small corpora: the form of fuzzing that the suite runs, and the only one where atheris has no wheel.

An input that breaks a property is a `Violation`. It holds the very bytes, so that the same failure is one call away.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

LARGEST = 4096  # octets of an input
NUMBERS = (0, 1, 2, 7, 0x0F, 0x1F, 0x7F, 0x80, 0xBE, 0xFE, 0xFF)
MOST_STEPS = 5


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote. `run` raises when a property does not hold; `seeds` are made by our own code."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes] = field(default=())


class Violation(Exception):
    """One input under which a property does not hold."""

    def __init__(self, target: str, data: bytes, fault: BaseException) -> None:
        super().__init__(f"{target}: {type(fault).__name__}: {fault}")
        self.data = data

    @property
    def name(self) -> str:
        """By its content, so that one input has one name."""
        return hashlib.sha256(self.data).hexdigest()[:16]


def tried(target: Target, data: bytes) -> None:
    """Run one input. Raises Violation."""
    try:
        target.run(data)
    except Exception as fault:
        raise Violation(target.name, data, fault) from fault


def mutations(target: Target, corpus: Sequence[bytes], seed: str) -> Iterator[bytes]:
    """Inputs without end, the same ones for the same corpus and seed."""
    chance = random.Random(f"{target.name} {seed}")
    while True:
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.randrange(1, MOST_STEPS + 1)):
            _mutate(chance, data, corpus, target.words)
        yield bytes(data[:LARGEST])


def _mutate(chance: random.Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    match chance.randrange(8):
        case 0 if data:
            data[at - 1] ^= 1 << chance.randrange(8)
        case 1 if data:
            data[at - 1] = chance.choice(NUMBERS)
        case 2:
            del data[at : at + chance.randrange(1, 17)]
        case 3:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        case 4:
            data[at:at] = data[at : at + chance.randrange(1, 33)]
        case 5:
            other = chance.choice(corpus)
            data[at:] = other[chance.randrange(len(other) + 1) :]
        case 6 if words:
            word = chance.choice(words)
            data[at : at + len(word) * chance.randrange(2)] = word
        case _:
            data[at : at + 2] = chance.choice((0, 1, 0x7FFF, 0x8000, 0xFFFF)).to_bytes(2)


def fuzz(target: Target, corpus: Sequence[bytes], seed: str, *, runs: int | None = None, seconds: float | None = None) -> int:
    """The corpus, then mutations of it: so many, or for so long. Returns how many were run; raises Violation."""
    for data in corpus:
        tried(target, data)
    done, ends = len(corpus), None if seconds is None else time.monotonic() + seconds
    for data in mutations(target, corpus, seed):
        if (runs is not None and done >= runs + len(corpus)) or (ends is not None and time.monotonic() >= ends):
            break
        tried(target, data)
        done += 1
    return done
