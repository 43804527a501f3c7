"""Several processes share the tests as `tests.strict` says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cleac_site.bootstrap import ROOT
from tests.site.test_run import clean_environment

TEST = "import pytest\n\n@pytest.mark.parametrize('number', range(8))\ndef test_one(number):\n    pass\n"
FILES = ("tests/unit/test_a.py", "tests/unit/test_b.py", "tests/walks/test_arrive.py", "tests/site/test_limits.py")


def test_tests_of_one_file_run_in_one_process_and_so_does_everything_on_the_site(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    pytest = (sys.executable, "-m", "pytest", "-p", "tests.strict", "-p", "no:django", "-p", "no:cacheprovider", "--import-mode", "importlib")
    command = [*pytest, "-v", "-n", "2", "--dist", "loadscope", "--rootdir", str(tmp_path), *FILES]

    environment = clean_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"\[(gw\d)\].* PASSED (tests/\w+/\w+\.py)::", done.stdout)
    assert len(ran) == 8 * len(FILES)
    by_file = {name: {process for process, file in ran if file == name} for name in FILES}
    assert all(len(processes) == 1 for processes in by_file.values())
    assert by_file[FILES[2]] == by_file[FILES[3]]
    assert len(set.union(*by_file.values())) == 2
