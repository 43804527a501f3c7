"""The packet path in C under AddressSanitizer and UndefinedBehaviorSanitizer: its tests touch no memory that is not its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from calls.media.native import build
from cleac_site import backends
from cleac_site.bootstrap import ROOT

FLAGS = ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TESTS = tuple(f"tests/media/test_{name}.py" for name in ("forms", "native", "native_bursts", "native_sealing", "native_opening", "forward", "fence"))
FUZZED = ("tests/fuzz/test_fuzz.py", "-k", "property and (rtp or rtcp)")  # both go through both forms
PATIENCE = 300.0


def test_the_same_packets_and_commands_break_no_rule_of_c(tmp_path: Path) -> None:
    runtime = build.sanitizer()
    assert runtime, backends.COMPILER_CURE
    library = tmp_path / "cleac-media-sanitised.so"
    assert build.compile_into(library, (*build.FLAGS, *FLAGS)) == ""
    environment = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith(("PYTEST", "COV"))}
    environment |= {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    for chosen in ((*TESTS, "-k", "not python"), FUZZED):
        command = [sys.executable, "-m", "tests.media.sanitised", str(library), *chosen]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
