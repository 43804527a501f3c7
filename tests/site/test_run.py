"""`manage.py run` and `doctor`, started for real in folders of their own, on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cleac_site import ports
from cleac_site.bootstrap import ROOT
from cleac_site.management.commands import doctor

PATIENCE = 90.0  # seconds until something counts as not happening
OUTSIDE = ("CLEAC_", "DATABASE_URL", "REDIS_URL", "EMAIL_URL", "DJANGO_")


def clean_environment(**more: str) -> dict[str, str]:
    """What a newcomer's shell has: none of the suite's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)} | {"CLEAC_NO_BOOTSTRAP": "1"} | more


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"never happened: {what}")
        time.sleep(0.05)


def manage(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, cwd=ROOT, env=clean_environment(**more), capture_output=True, text=True, timeout=PATIENCE, check=False)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refused start."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


class Running:
    """One `manage.py run`: what it has printed, who belongs to it."""

    def __init__(self, data: Path, *words: str, **settings: str) -> None:
        command = [sys.executable, "manage.py", "run", "--port", "0", "--data", str(data), *words]
        self.data, self.printed = data, ""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(**settings), start_new_session=True, **pipes)  # type: ignore[call-overload]  # reason: the options come as one dictionary
        self.wait_for("Ctrl-C stops everything")
        self.url = self.found(r"Cleac is up: (\S+)")

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while words not in self.printed:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536).decode() if readable else ""
            assert chunk, f"no {words!r} in:\n{self.printed}"
            self.printed += chunk

    def found(self, pattern: str) -> str:
        match = re.search(pattern, self.printed)
        assert match, self.printed
        return match[1]

    def family(self) -> set[int]:
        """The pids of all descendants, read from the kernel's process table."""
        table = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = {int(pid): int(parent) for pid, parent in (line.split() for line in table.splitlines())}
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.process.pid}

    def child(self, words: str) -> int:
        """The oldest descendant whose command line holds these words."""
        lines = subprocess.run(["ps", "-e", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
        return min(int(line.split()[0]) for line in lines if words in line and int(line.split()[0]) in self.family())


def gone(pids: set[int]) -> bool:
    """Ended; one that only waits to be collected by its new parent counts."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(map(str, pids))], capture_output=True, text=True, check=False).stdout
    return all(state.startswith("Z") for state in shown.split())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*words: str) -> Running:
        started.append(Running(tmp_path / "data", *words))
        return started[-1]

    yield begin
    for running in started:
        with contextlib.suppress(ProcessLookupError):
            running.process.terminate()
        running.process.communicate(timeout=PATIENCE)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def landing(url: str) -> str:
    """Where a browser that keeps cookies ends up."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(url, timeout=30) as answer:
        return str(answer.geturl())


def test_run_brings_everything_up_and_ctrl_c_ends_it_without_a_trace(start: Callable[..., Running]) -> None:
    running = start()
    family = running.family()

    assert get(running.url + "/healthz") == "ok\n"
    assert get(running.url + "/readyz") == "ok\n"
    assert "SQLite" in running.found(r"Database +(.+)")
    assert "private Valkey" in running.found(r"Redis +(.+)")
    assert landing(running.found(r"Hana +host +acme +(\S+)")).endswith("/t/acme/")
    assert len(family) >= 4

    running.process.send_signal(signal.SIGINT)
    rest, _ = running.process.communicate(timeout=PATIENCE)
    assert running.process.returncode == 0
    assert b"Traceback" not in rest
    assert gone(family)


def test_nobody_else_may_read_what_run_has_written(start: Callable[..., Running]) -> None:
    running = start("--no-demo")
    written = [running.data, *running.data.rglob("*")]
    assert [path for path in written if path.stat().st_mode & 0o077] == []
    assert {path.name for path in running.data.iterdir()} >= {"db.sqlite3", "keys.sqlite3", "secrets", "spool", "objects", "logs"}
    assert "Sign in as" not in running.printed
    secret = json.loads((running.data / "run.json").read_text())["environment"]["REDIS_URL"].split(":")[2].split("@")[0]
    assert secret not in running.printed
    assert secret not in subprocess.run(["ps", "-e", "-o", "args="], capture_output=True, text=True, check=True).stdout


def test_a_second_run_on_the_same_folder_is_refused_and_told_the_option(start: Callable[..., Running]) -> None:
    running = start("--no-demo")
    assert "--data" in refusal(manage("run", "--port", "0", "--data", str(running.data)))
    assert get(running.url + "/healthz") == "ok\n"


def test_a_command_on_the_folder_of_a_running_service_meets_its_redis(start: Callable[..., Running]) -> None:
    running = start("--no-demo")
    findings = {finding["check"]: finding for finding in json.loads(manage("doctor", "--json", CLEAC_DATA=str(running.data)).stdout)}
    assert "answers" in findings["redis server"]["detail"]
    assert {findings[check]["state"] for check in ("database", "keys database", "database clock", "storage")} == {"ok"}


def test_a_killed_supervisor_takes_its_children_along(start: Callable[..., Running]) -> None:
    running = start("--no-demo")
    family = running.family()
    running.process.kill()
    until(lambda: gone(family), "all children ended")


def test_a_child_that_falls_is_started_again_and_the_reason_printed(start: Callable[..., Running]) -> None:
    running = start("--no-demo")
    os.kill(running.child("cleac_site.webserver"), signal.SIGKILL)
    running.wait_for("web ended unexpectedly (SIGKILL)")
    assert get(running.url + "/healthz") == "ok\n"


def test_a_taken_port_is_refused_and_told_the_option(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = refusal(manage("run", "--port", str(taken.getsockname()[1]), "--data", str(tmp_path)))
    assert "--port" in line


def test_a_folder_without_room_is_refused_and_told_the_option(tmp_path: Path) -> None:
    """The limit on file size stands in for a full disk: the same call fails, for everybody and without a mount."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, before[1]))
    try:
        line = refusal(manage("run", "--port", "0", "--data", str(tmp_path)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "--data" in line
    assert list(tmp_path.glob("space.*")) == []


def test_a_folder_that_is_a_file_is_refused_and_told_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "--data" in refusal(manage("run", "--port", "0", "--data", str(tmp_path / "file")))


@pytest.mark.parametrize("name", ["run.lock", "run.json", "logs/web.log", "secrets/web-report.json"])
def test_a_folder_where_a_file_of_ours_belongs_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "of somebody").mkdir(parents=True)

    assert str(tmp_path / name) in refusal(manage("run", "--port", "0", "--data", str(tmp_path)))


def test_an_unsafe_start_is_refused_in_one_line(tmp_path: Path) -> None:
    line = refusal(manage("run", "--port", "0", "--data", str(tmp_path), CLEAC_ENV="production"))
    assert "CLEAC_SECRET_KEY" in line


@pytest.mark.parametrize("mail", [{}, {"EMAIL_URL": "console://"}])
def test_production_that_would_print_mails_with_personal_links_into_its_log_is_refused(tmp_path: Path, mail: dict[str, str]) -> None:
    secrets = {f"CLEAC_{name}_KEY": "s" * 40 for name in ("SECRET", "PIPE", "MASTER")}
    servers = {name: f"sqlite:///{tmp_path / name}" for name in ("DATABASE_URL", "CLEAC_KEYS_DATABASE_URL")} | {"REDIS_URL": "redis://127.0.0.1:1/0"}
    site = {"CLEAC_ENV": "production", "CLEAC_PUBLIC_URL": "https://cleac.example"}

    line = refusal(manage("run", "--port", "0", "--data", str(tmp_path), **secrets, **servers, **site, **mail))

    assert "EMAIL_URL" in line


def test_a_database_out_of_reach_is_refused_by_the_name_of_its_setting(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        assert "DATABASE_URL" in refusal(manage("run", "--port", "0", "--data", str(tmp_path), DATABASE_URL=url))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DATABASE_URL", "oracle://user:hunter2@db/x"),
        ("DATABASE_URL", "postgresql://user:hunter2@db:harbour/x"),
        ("CLEAC_KEYS_DATABASE_URL", "hunter2"),
        ("REDIS_URL", "hunter2"),
        ("EMAIL_URL", "hunter2"),
        ("EMAIL_URL", "smtp://user:hunter2@mail:harbour"),
        ("CLEAC_PUBLIC_URL", "localhost:8000"),
        ("CLEAC_PUBLIC_URL", "https://"),
        ("CLEAC_PUBLIC_URL", "ftp://meet.example.org"),
        ("CLEAC_PUBLIC_URL", "https://meet.example.org/calls"),
    ],
)
def test_a_setting_that_is_no_address_is_refused_by_its_name_and_not_repeated(tmp_path: Path, setting: str, value: str) -> None:
    line = refusal(manage("run", "--port", "0", "--data", str(tmp_path), **{setting: value}))
    assert setting in line
    assert "hunter2" not in line


def test_a_redis_out_of_reach_is_refused_by_the_name_of_its_setting(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        assert "REDIS_URL" in refusal(manage("run", "--port", "0", "--data", str(tmp_path), REDIS_URL=url))


@pytest.mark.parametrize("port", ["taken", "taken over TCP", "70000", "harbour"])
def test_a_media_port_that_cannot_be_used_is_refused_by_the_name_of_its_setting(tmp_path: Path, port: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if "TCP" in port else socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        if "TCP" in port:
            taken.listen()
        chosen = str(taken.getsockname()[1]) if port.startswith("taken") else port
        line = refusal(manage("run", "--port", "0", "--data", str(tmp_path), CLEAC_MEDIA_UDP_PORT=chosen))
    assert "MEDIA_UDP_PORT" in line.upper()


@pytest.mark.parametrize("over", ["UDP", "TCP"])
def test_the_port_of_a_further_media_worker_is_looked_at_before_anything_starts(tmp_path: Path, over: str) -> None:
    first = two_ports_in_a_row()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if over == "TCP" else socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", first + 1))
        if over == "TCP":
            taken.listen()
        chosen = {"CLEAC_MEDIA_UDP_PORT": str(first), "CLEAC_MEDIA_WORKERS": "2"}
        line = refusal(manage("run", "--port", "0", "--data", str(tmp_path), **chosen))
    assert f"media port {first + 1}" in line
    assert "CLEAC_MEDIA_UDP_PORT" in line


def two_ports_in_a_row() -> int:
    """The first of two that nobody has at this moment."""
    for _ in range(100):
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError, OverflowError):
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", one.getsockname()[1] + 1))
            return int(one.getsockname()[1])
    raise AssertionError("no two ports in a row are free")


def test_more_media_workers_than_ports_after_the_chosen_one_are_refused(tmp_path: Path) -> None:
    line = refusal(manage("run", "--port", "0", "--data", str(tmp_path), CLEAC_MEDIA_UDP_PORT="65535", CLEAC_MEDIA_WORKERS="2"))
    assert "CLEAC_MEDIA_UDP_PORT or CLEAC_MEDIA_WORKERS" in line


def test_each_media_worker_gets_a_port_of_its_own_where_none_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEAC_MEDIA_UDP_PORT", raising=False)
    monkeypatch.setenv("CLEAC_MEDIA_WORKERS", "20")
    assert len({port for port in ports.media_ports() if port}) == 20


@pytest.mark.parametrize("words", [["--port", "harbour"], ["--port", "65536"], ["--colour", "red"]])
def test_wrong_use_of_run_exits_2(words: list[str]) -> None:
    assert manage("run", *words).returncode == 2


def test_doctor_on_a_fresh_folder_finds_no_fault(tmp_path: Path) -> None:
    done = manage("doctor", "--json", CLEAC_DATA=str(tmp_path))
    findings = json.loads(done.stdout)
    assert done.returncode == 0
    assert {tuple(finding) for finding in findings} == {("check", "state", "detail")}
    assert [finding for finding in findings if finding["state"] == "fail"] == []
    assert len({finding["check"] for finding in findings}) == len(findings)


def test_doctor_says_what_fails_and_exits_1(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        done = manage("doctor", "--json", CLEAC_DATA=str(tmp_path), REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
    assert done.returncode == 1
    assert [finding["check"] for finding in json.loads(done.stdout) if finding["state"] == "fail"] == ["redis server"]


def test_doctor_finds_a_redis_whose_clock_is_an_hour_ahead(tmp_path: Path) -> None:
    """A server of our own that speaks the protocol of Redis, and whose time is wrong."""
    with redis_an_hour_ahead() as url:
        done = manage("doctor", "--json", CLEAC_DATA=str(tmp_path), REDIS_URL=url)
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert (done.returncode, findings["redis server"]["state"], findings["redis clock"]["state"]) == (1, "ok", "fail")
    assert findings["redis clock"]["detail"].startswith(("+3599.", "+3600."))
    assert [name for name, finding in findings.items() if finding["state"] == "fail"] == ["redis clock"]


def test_doctor_compares_the_clock_of_the_data_folder(tmp_path: Path) -> None:
    done = manage("doctor", "--json", CLEAC_DATA=str(tmp_path))
    (found,) = [finding for finding in json.loads(done.stdout) if finding["check"] == "file clock"]
    assert (found["state"], "against ours" in found["detail"]) == ("ok", True)
    assert list(tmp_path.glob("clock-*")) == []


@pytest.mark.parametrize(
    ("theirs", "drift"), [(99.0, "-1.000"), (100.0, "+0.000"), (103.0, "+0.000"), (105.0, "+0.000"), (105.5, "+0.500"), (98.999, "-1.001")]
)
def test_the_time_that_an_answer_took_is_not_held_against_a_clock(theirs: float, drift: str) -> None:
    found = doctor.against_ours("a clock", theirs, 100.0, 105.0)
    assert (found.state, found.detail) == ("ok" if drift != "-1.001" else "fail", f"{drift} s against ours")


@contextlib.contextmanager
def redis_an_hour_ahead() -> Iterator[str]:
    """Answers HELLO, INFO, TIME and, with OK, everything else."""

    class Answers(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                words = []
                for _ in range(int(line[1:])):
                    words.append(self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2].upper())
                self.wfile.write(answer_to(words[0]))

    def answer_to(command: bytes) -> bytes:
        if command == b"HELLO":
            return b"%1\r\n+proto\r\n:3\r\n"
        if command == b"INFO":
            return b"$19\r\nredis_version:7.2.0\r\n"
        seconds = str(int(time.time()) + 3600).encode()
        return b"*2\r\n$%d\r\n%s\r\n$1\r\n0\r\n" % (len(seconds), seconds) if command == b"TIME" else b"+OK\r\n"

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        server.shutdown()
        thread.join()


def test_doctor_speaks_to_people_too(tmp_path: Path) -> None:
    done = manage("doctor", CLEAC_DATA=str(tmp_path))
    assert done.returncode == 0
    assert "native media path" in done.stdout
