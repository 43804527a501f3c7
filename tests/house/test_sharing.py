"""Several processes share the tests as `tests.strict` says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cleac_site.bootstrap import ROOT
from tests.site.test_run import clean_environment

TEST = "import pytest\n\n@pytest.mark.parametrize('number', range(8))\ndef test_one(number):\n    pass\n"
CALLS = ("tests/walks/test_d_requests.py", "tests/walks/test_c_playback.py")
PAGES = ("tests/walks/test_arrive.py", "tests/site/test_limits.py")
FILES = ("tests/unit/test_a.py", "tests/unit/test_b.py", *CALLS, *PAGES)
QUIET = ("tests/calls/test_a.py", "tests/tenants/test_a.py")
BESIDE = "import pytest\n\n@pytest.mark.browser\ndef test_one():\n    pass\n"


def shared(folder: Path, processes: int, *files: str, test: str = TEST) -> tuple[subprocess.CompletedProcess[str], dict[str, set[str]]]:
    """Run these files in so many processes: how it ended, and which processes passed tests of each file."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = browser\n")
    pytest = (sys.executable, "-m", "pytest", "-p", "tests.strict", "-p", "no:django", "-p", "no:cacheprovider", "--import-mode", "importlib")
    command = [*pytest, "-v", "-n", str(processes), "--dist", "loadscope", "--rootdir", str(folder), *files]
    environment = clean_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    ran = re.findall(r"\[(gw\d)\].* PASSED (tests/\w+/\w+\.py)::", done.stdout)
    assert done.returncode or len(ran) == 8 * len(files), done.stdout
    return done, {name: {process for process, file in ran if file == name} for name in files}


def test_tests_of_one_file_run_in_one_process_and_calls_on_the_site_in_another_than_its_pages(tmp_path: Path) -> None:
    """A third process may take none of these, and nothing is left out for that."""
    done, by_file = shared(tmp_path, 3, *FILES)

    assert done.returncode == 0, done.stdout + done.stderr
    assert all(len(processes) == 1 for processes in by_file.values())
    assert by_file[CALLS[0]] == by_file[CALLS[1]]
    assert by_file[PAGES[0]] == by_file[PAGES[1]]
    assert by_file[CALLS[0]] != by_file[PAGES[0]]
    assert len(set.union(*by_file.values())) == 2


def test_a_third_process_takes_only_what_mostly_waits(tmp_path: Path) -> None:
    done, by_file = shared(tmp_path, 3, *FILES, *QUIET)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(set.union(*(by_file[name] for name in FILES))) == 2
    assert len(set.union(*by_file.values())) == 3


@pytest.mark.parametrize("processes", [0, 3])
def test_a_browser_among_what_mostly_waits_is_named(tmp_path: Path, processes: int) -> None:
    """In one plain line, and by wrong use: also where the processes that share the work find it out."""
    done, ran = shared(tmp_path, processes, QUIET[0], FILES[0], test=BESIDE)

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {QUIET[0]}::test_one has a browser: its file belongs into WITH_A_BROWSER" in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert "crashitem" not in done.stdout + done.stderr
    assert not any(ran.values())
