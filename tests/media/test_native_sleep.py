"""The media thread's own clock goes on while the machine sleeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from calls.media.native import build
from cleac_site import backends
from cleac_site.bootstrap import ROOT

PATIENCE = 60.0


def test_after_a_machine_slept_past_the_fence_the_thread_itself_passes_nothing_until_it_may_again(tmp_path: Path) -> None:
    assert build.ensure() == ""
    compiler, library = build.compiler(), tmp_path / "sleeper.so"
    assert compiler, backends.COMPILER_CURE
    subprocess.run([compiler, "-O2", "-fPIC", "-shared", "-o", str(library), str(ROOT / "tests/media/sleeper.c")], check=True, timeout=PATIENCE)
    command = [sys.executable, "-m", "tests.media.sleeper"]
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert done.stdout.split() == ["1", "1", "3"], done.stderr
