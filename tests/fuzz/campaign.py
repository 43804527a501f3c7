"""The long form: a folder per target that keeps its corpus and where it stands, so that each run goes on where the last one ended.

FOLDER/corpus/       seeds and, with atheris, every input that reached new code
FOLDER/violations/   inputs under which a property did not hold; they are run first, until they pass and are removed
FOLDER/round         how many rounds of mutations were run, each from a seed of its own
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import math
import subprocess
import sys
import time
from pathlib import Path

from .engine import Target, Violation, fuzz, tried

ROUND = 2000  # mutations from one seed
ENDED = 0


def guided() -> bool:
    """Is atheris there?"""
    return importlib.util.find_spec("atheris") is not None


def campaign(target: Target, folder: Path, seconds: float) -> str:
    """Run one target for so long. Returns the file that holds an input under which a property does not hold; empty when there was none."""
    logging.disable(logging.CRITICAL)
    for kind in ("corpus", "violations"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (folder / "corpus" / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    if again := _tried_again(target, folder):
        return again
    return _guided(target, folder, seconds) if guided() else _mutated(target, folder, seconds)


def _tried_again(target: Target, folder: Path) -> str:
    for known in sorted((folder / "violations").iterdir()):
        try:
            tried(target, known.read_bytes())
        except Violation as violation:
            print(violation)
            return str(known)
        known.unlink()
    return ""


def _mutated(target: Target, folder: Path, seconds: float) -> str:
    corpus = [path.read_bytes() for path in sorted((folder / "corpus").iterdir())]
    counted = folder / "round"
    ends, done = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        number = int(counted.read_text()) if counted.exists() else 0
        try:
            done += fuzz(target, corpus, str(number), runs=ROUND, seconds=max(0.0, ends - time.monotonic()))
        except Violation as violation:
            print(violation)
            found = folder / "violations" / violation.name
            found.write_bytes(violation.data)
            return str(found)
        counted.write_text(str(number + 1))
    print(f"{target.name}: {done} inputs, no violation")
    return ""


def _guided(target: Target, folder: Path, seconds: float) -> str:
    command = [sys.executable, "-m", "tests.fuzz.guided", target.name, str(folder), str(max(1, math.ceil(seconds)))]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    ran = [line.rpartition(" ")[2] for line in done.stdout.splitlines() if "stat::number_of_executed_units" in line]
    if done.returncode == ENDED:
        print(f"{target.name}: {ran[0] if ran else 'some'} inputs, no violation")
        return ""
    found = sorted((folder / "violations").iterdir(), key=lambda path: path.stat().st_mtime)
    print(done.stdout[-4000:])
    return str(found[-1]) if found else f"{target.name} ended with {done.returncode}"
