"""A fresh machine: what the bootstrap decides, and that the checks of `manage.py test` find or start what they stand on."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

import manage
from calls.media.native import build
from cleac_site import backends, bootstrap, valkey


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A folder that looks like an environment made by the interpreter that runs the tests."""
    (tmp_path / "bin").mkdir()
    python = Path(os.path.realpath(sys.executable))
    bootstrap.interpreter(tmp_path).symlink_to(python)
    (tmp_path / "lib" / python.name).mkdir(parents=True)
    return tmp_path


def test_an_old_python_is_told_in_one_line_which_one_is_needed() -> None:
    assert manage.refusal((3, 10)).startswith("Cleac needs Python 3.11 or newer, this is 3.10")
    assert manage.refusal((3, 10)).count("\n") == 1
    assert manage.refusal((3, 11)) == manage.refusal((3, 14)) == ""


def test_an_old_python_can_read_the_file_that_tells_it() -> None:
    source = Path(manage.__file__).read_text()
    assert ast.parse(source, feature_version=(3, 5))


@pytest.mark.parametrize("command", ["test", "fuzz", "faults", "bench"])
def test_tests_and_measurements_need_the_dev_lock(command: str) -> None:
    assert bootstrap.lock_for(["manage.py", command]) == bootstrap.DEV_LOCK


@pytest.mark.parametrize("argv", [["manage.py"], ["manage.py", "run"], ["manage.py", "doctor", "test"]])
def test_everything_else_needs_the_run_lock(argv: list[str]) -> None:
    assert bootstrap.lock_for(argv) == bootstrap.RUN_LOCK


def test_the_dev_lock_holds_every_pin_of_the_run_lock_so_one_environment_serves_both() -> None:
    def pins(lock: Path) -> set[str]:
        return {line.split()[0] for line in lock.read_text().splitlines() if "==" in line and not line.startswith((" ", "#"))}

    assert pins(bootstrap.RUN_LOCK) <= pins(bootstrap.DEV_LOCK)


def test_an_environment_without_a_mark_is_not_ready(venv: Path) -> None:
    assert not bootstrap.is_ready(venv, bootstrap.RUN_LOCK)


def test_an_environment_made_for_tests_also_serves_run_and_not_the_other_way(venv: Path) -> None:
    bootstrap.mark(venv, [bootstrap.RUN_LOCK])
    assert bootstrap.is_ready(venv, bootstrap.RUN_LOCK)
    assert not bootstrap.is_ready(venv, bootstrap.DEV_LOCK)

    bootstrap.mark(venv, [bootstrap.RUN_LOCK, bootstrap.DEV_LOCK])
    assert bootstrap.is_ready(venv, bootstrap.RUN_LOCK)
    assert bootstrap.is_ready(venv, bootstrap.DEV_LOCK)


def test_a_changed_lock_makes_the_environment_stale(venv: Path, tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("django==5.2.19\n")
    bootstrap.mark(venv, [lock])
    assert bootstrap.is_ready(venv, lock)

    lock.write_text("django==5.2.20\n")
    assert not bootstrap.is_ready(venv, lock)


def test_an_environment_whose_interpreter_went_away_is_made_anew(venv: Path) -> None:
    bootstrap.mark(venv, [bootstrap.RUN_LOCK])
    bootstrap.interpreter(venv).unlink()
    assert not bootstrap.is_ready(venv, bootstrap.RUN_LOCK)


def test_the_bootstrap_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEAC_NO_BOOTSTRAP", "1")
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / "never-made")
    bootstrap.ensure(["manage.py", "run"])
    assert not (tmp_path / "never-made").exists()


@pytest.mark.parametrize(
    "output",
    [
        "WARNING: Retrying after connection broken by 'NewConnectionError(...)': [Errno -2] Name or service not known",
        "error: Request failed after 3 retries\n  Caused by: client error (Connect)\n  Caused by: dns error",
        "urllib3.exceptions.MaxRetryError: Max retries exceeded with url",
    ],
)
def test_without_a_network_the_user_is_told_so(output: str) -> None:
    assert "there is no network" in bootstrap.reason_of(output)


def test_another_failure_is_told_in_its_own_last_words() -> None:
    assert bootstrap.reason_of("collecting\nERROR: hashes do not match\n\n") == "cannot install the packages: ERROR: hashes do not match"


def test_an_installation_without_a_network_ends_with_one_line(tmp_path: Path) -> None:
    """The real bootstrap of a copy of the project, with an index that refuses connections and empty caches."""
    needed = ("manage.py", "requirements-run.lock", "requirements-uv.lock", "cleac_site/__init__.py", "cleac_site/bootstrap.py")
    for name in (*needed, "calls/__init__.py", "calls/media/__init__.py", "calls/media/native/__init__.py", "calls/media/native/build.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((bootstrap.ROOT / name).read_bytes())
    nowhere = f"http://127.0.0.1:{valkey.free_port()}/simple"
    cut_off = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_INDEX_URL": nowhere, "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run([sys.executable, "manage.py", "run"], cwd=tmp_path, env=cut_off, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("cleac: cannot fetch packages: there is no network")
    assert "Traceback" not in done.stderr


def test_a_private_postgresql_lets_the_role_of_tests_make_databases_and_leaves_nobody_behind() -> None:
    with backends.private_postgresql() as url:
        theirs = backends.as_tests(url)
        assert theirs is not None
        with psycopg.connect(theirs, autocommit=True) as connection:
            connection.execute("CREATE DATABASE trial")
            rights = connection.execute("SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = current_user").fetchone()
        assert rights == (False, False, False)
        assert not backends.answers(theirs.replace("cleac_tests:", "cleac_tests:wrong", 1))
        assert backends.as_tests(url.replace("postgres:", "postgres:wrong", 1)) is None
    assert backends.as_tests(url) is None


def test_the_role_of_tests_is_put_right_where_somebody_gave_it_too_much_and_keeps_its_password() -> None:
    with backends.private_postgresql() as url:
        theirs = backends.as_tests(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER ROLE cleac_tests SUPERUSER BYPASSRLS")
            assert not backends.is_right(connection)
            assert backends.as_tests(url) == theirs
            assert backends.is_right(connection)
            connection.execute("ALTER ROLE cleac_tests PASSWORD 'another'")
        assert backends.as_tests(url) == theirs


def test_a_server_on_which_we_are_no_superuser_counts_as_not_found() -> None:
    with backends.private_postgresql() as url:
        theirs = backends.as_tests(url)
        assert theirs is not None
        assert backends.as_tests(theirs) is None


def test_a_private_valkey_answers_only_to_its_password() -> None:
    with backends.private_valkey() as url:
        assert valkey.answers(url)
        assert not valkey.answers("redis://:wrong@" + url.rsplit("@", 1)[1])
        assert not valkey.answers("redis://" + url.rsplit("@", 1)[1])
    assert not valkey.answers(url)


def test_a_named_server_that_does_not_answer_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = valkey.free_port()
    monkeypatch.setenv("CLEAC_TEST_DATABASE_URL", f"postgresql://postgres@127.0.0.1:{nobody}/postgres")
    monkeypatch.setenv("CLEAC_TEST_REDIS_URL", f"redis://127.0.0.1:{nobody}/0")
    with ExitStack() as stack, pytest.raises(backends.Missing, match="CLEAC_TEST_DATABASE_URL"):
        backends.postgresql(stack)
    with ExitStack() as stack, pytest.raises(backends.Missing, match="CLEAC_TEST_REDIS_URL"):
        backends.redis_server(stack)


def test_a_missing_browser_names_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEAC_CHROMIUM", str(tmp_path / "nothing"))
    with pytest.raises(backends.Missing, match="apt-get install chromium"):
        backends.chromium()


def test_a_missing_compiler_names_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "nothing"))
    with pytest.raises(backends.Missing, match="apt-get install gcc"):
        backends.compiler()


def test_a_compiler_with_sanitizers_is_found_and_has_compiled_the_packet_path() -> None:
    assert Path(backends.compiler().address).exists()
    assert build.library().exists()


def test_what_tests_start_finds_itself_compiled_also_where_nothing_may_be_written_beside_the_sources(tmp_path: Path) -> None:
    """Each process is told by its environment; one that was not would compile everything anew."""
    (tmp_path / "example.py").write_text("import sys; print(__cached__, sys.dont_write_bytecode)")
    asked = [sys.executable, "-c", "import example"]
    told = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    code = f"from pathlib import Path; from cleac_site import backends; print(backends.bytecode(Path({str(tmp_path)!r})))"
    forbidden = subprocess.run(
        [sys.executable, "-c", code], cwd=bootstrap.ROOT, env={**os.environ, **told}, capture_output=True, text=True, check=True
    )

    done = subprocess.run(asked, env={**told, **ast.literal_eval(forbidden.stdout)}, capture_output=True, text=True, check=True)

    cached, forbids = done.stdout.split()
    assert forbids == "False"
    assert Path(cached).is_relative_to(tmp_path / "compiled")
    assert Path(cached).exists()
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize("command", [("prove", "--json"), ("retention", "run", "--json"), ("media", "list", "--json"), ("log", "verify")])
def test_a_database_without_its_tables_is_told_in_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = told_by(tmp_path, *command)

    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "the database cannot be used" in done.stderr


def test_a_command_that_there_is_not_is_wrong_use(tmp_path: Path) -> None:
    done = told_by(tmp_path, "proove")

    assert done.returncode == 2
    assert "proove" in done.stderr


def told_by(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on an empty data folder, with none of the suite's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLEAC_", "DATABASE_URL", "REDIS_URL", "DJANGO_"))}
    environment = kept | {"CLEAC_NO_BOOTSTRAP": "1", "CLEAC_DATA": str(data)}
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, cwd=bootstrap.ROOT, env=environment, capture_output=True, text=True, check=False)


STRAYS = """
import pytest
def test_good(): pass
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
@pytest.mark.xfail
def test_expected_to_fail(): raise RuntimeError
"""


@pytest.mark.parametrize(("ci", "arguments", "code"), [("true", [], 1), ("", [], 0), ("true", ["-k", "good"], 1), ("true", ["::test_good"], 0)])
def test_in_ci_nothing_may_be_left_out(tmp_path: Path, ci: str, arguments: list[str], code: int) -> None:
    tests = tmp_path / "test_strays.py"
    tests.write_text(STRAYS)
    target = str(tests) + (arguments[0] if arguments and arguments[0].startswith("::") else "")
    chosen = [word for word in arguments if not word.startswith("::")]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    base = [sys.executable, "-m", "pytest", "-q", "-c", str(tmp_path / "pytest.ini"), "--rootdir", str(tmp_path), "-p", "tests.strict"]
    bare = ["-p", "no:django", "-p", "no:cacheprovider", "-W", "ignore", target, *chosen]
    done = subprocess.run([*base, *bare], cwd=bootstrap.ROOT, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("left out" in done.stdout) == (code == 1)


def test_the_packet_path_in_c_is_compiled_once_and_without_a_compiler_the_reason_is_kept(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    bootstrap.compile_native(venv)
    assert build.failed(build.library(venv)).splitlines() == ["None", "there is no C compiler"]

    monkeypatch.delenv("CC")
    if build.compiler() is None:
        return
    bootstrap.compile_native(venv)
    made = build.library(venv)
    assert [path.name for path in made.parent.glob("cleac-media-*")] == [made.name]
    first = made.stat().st_mtime_ns
    bootstrap.compile_native(venv)
    assert made.stat().st_mtime_ns == first
