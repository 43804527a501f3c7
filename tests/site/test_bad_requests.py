"""What a stranger, or a page with a ticket, sends to the running site's port is refused, and leaves no traceback in its log."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from calls.protocol import LARGEST
from cleac_site.log_lines import Line
from cleac_site.roles import LARGEST_FRAME, SERVING, WEB
from tests.calls.sockets import Scene
from tests.stack import Stack

UPGRADE = "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\nSec-WebSocket-Version: 13\n"
HANDSHAKE = "GET /ws/lobby HTTP/1.1\nHost: {host}\n" + UPGRADE
LOGIN = "POST /account/login/ HTTP/1.1\nHost: {host}\nConnection: close\n"
BAD = {
    "another host": ("GET / HTTP/1.1\nHost: evil.example\nConnection: close\n\n", 400),
    "two hosts": ("GET / HTTP/1.1\nHost: {host}\nHost: evil.example\nConnection: close\n\n", 400),
    "no request": ("\x16\x03\x01\x02\x00 hello\n\n", 400),
    "a path that is no ASCII": ("GET /\xff\xfe HTTP/1.1\nHost: {host}\nConnection: close\n\n", 400),
    "a form without its parts": (LOGIN + "Content-Type: multipart/form-data\nContent-Length: 3\n\nabc", 400),
    "a cookie that is no ASCII": ("GET /home/ HTTP/1.1\nHost: {host}\nCookie: sessionid=\xff\x01; cleac_guest=\xff\nConnection: close\n\n", 302),
    "a cookie that unquotes to what no database takes": (
        'GET /home/ HTTP/1.1\nHost: {host}\nCookie: sessionid="\\000aaaaaaaa"; cleac_guest="\\000"; csrftoken="\\000"\nConnection: close\n\n',
        302,
    ),
    "a subprotocol that is no ASCII": (HANDSHAKE + "Origin: {origin}\nSec-WebSocket-Protocol: cleac.1, ticket.\xff\n\n", 500),
    "an origin that is no address": (HANDSHAKE + "Origin: \xff\xfe\nSec-WebSocket-Protocol: cleac.1\n\n", 400),
    "doubled subprotocols": (HANDSHAKE + "Origin: {origin}\nSec-WebSocket-Protocol: ,,\n\n", 400),
}


def answered(url: str, request: str) -> int:
    """The status that these bytes are answered with."""
    parts = urlsplit(url)
    raw = request.replace("{host}", parts.netloc).replace("{origin}", url).replace("\n", "\r\n").encode("latin1")
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        connection.sendall(raw)
        got = b""
        with contextlib.suppress(ConnectionResetError):  # it may close on what it has not read to the end
            while b"\r\n" not in got and (some := connection.recv(4096)):
                got += some
    return int(got.split()[1])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_and_leaves_no_traceback_in_the_log(stack: Stack, live_url: str, name: str) -> None:
    log = Path(stack.logs / "web.log")
    before = log.stat().st_size
    request, status = BAD[name]

    assert answered(live_url, request) == status

    assert answered(live_url, f"GET /nowhere-{before} HTTP/1.1\nHost: {{host}}\nConnection: close\n\n") == 404
    written = written_until(log, before, f"/nowhere-{before}")
    assert "Traceback" not in written
    assert written.count("\n") <= 3


# Frames of a socket that a ticket has opened

TEXT, GOES_ON, CLOSE, LAST = 0x1, 0x0, 0x8, 0x80  # RFC 6455 section 5.2
TOO_LARGE = {
    "one frame": [(TEXT | LAST, LARGEST_FRAME + 1)],
    "one frame of binary": [(0x2 | LAST, LARGEST_FRAME + 1)],
    "one frame that claims 4 EiB": [(TEXT | LAST, 2**62)],
    "two frames together": [(TEXT, LARGEST_FRAME), (GOES_ON | LAST, 1)],
    "many small frames together": [(TEXT, 1024), *[(GOES_ON, 1024)] * (LARGEST_FRAME // 1024)],
}
ALLOWED = {
    "one frame": [(TEXT | LAST, LARGEST_FRAME)],
    "two frames together": [(TEXT, LARGEST_FRAME - 1), (GOES_ON | LAST, 1)],
}


def frame(first: int, size: int) -> bytes:
    """A masked frame (RFC 6455 section 5.2) of so many "a"; of one that is too large by itself the head alone, which must do."""
    if size < 126:
        length = bytes([LAST | size])
    elif size < 2**16:
        length = bytes([LAST | 126]) + size.to_bytes(2)
    else:
        length = bytes([LAST | 127]) + size.to_bytes(8)
    return bytes([first]) + length + bytes(4) + (b"a" * size if size <= LARGEST_FRAME else b"")


@contextlib.contextmanager
def opened(url: str, cookie: str, ticket: str) -> Iterator[socket.socket]:
    """A socket of the lobby that its ticket has opened, as a page opens it."""
    parts = urlsplit(url)
    asked = HANDSHAKE.format(host=parts.netloc) + f"Origin: {url}\nCookie: {cookie}\nSec-WebSocket-Protocol: cleac.1, ticket.{ticket}\n\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        connection.sendall(asked.replace("\n", "\r\n").encode())
        got = b""
        while b'"kind":"lobby"' not in got:
            assert (some := connection.recv(4096)), got
            got += some
        yield connection


def told_until_closed(connection: socket.socket) -> bytes:
    """What comes until the server has nothing more to say to us: it drops the connection, or sends a frame that closes it."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while not got.rpartition(b"}")[2].startswith(bytes([LAST | CLOSE])) and (some := connection.recv(4096)):
            got += some
    return got


def sent(connection: socket.socket, frames: list[tuple[int, int]]) -> None:
    with contextlib.suppress(ConnectionError):  # it may be closed before the last of them
        for first, size in frames:
            connection.sendall(frame(first, size))


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_message_larger_than_any_of_ours_closes_the_socket_unread_and_leaves_no_traceback_in_the_log(
    stack: Stack, live_url: str, live_cast: Any, name: str
) -> None:
    scene, log = Scene(live_cast), Path(stack.logs / "web.log")
    before = log.stat().st_size
    with opened(live_url, scene.cookie("gail"), scene.ticket("gail", "lobby")) as connection:
        sent(connection, TOO_LARGE[name])
        told = told_until_closed(connection)

    assert b"refused" not in told  # nobody has read it
    assert answered(live_url, f"GET /nowhere-{before} HTTP/1.1\nHost: {{host}}\nConnection: close\n\n") == 404
    assert "Traceback" not in written_until(log, before, f"/nowhere-{before}")


@pytest.mark.parametrize("name", ALLOWED)
def test_a_message_that_is_too_large_for_the_protocol_alone_is_refused_by_that_name(live_url: str, live_cast: Any, name: str) -> None:
    scene = Scene(live_cast)
    with opened(live_url, scene.cookie("gail"), scene.ticket("gail", "lobby")) as connection:
        sent(connection, ALLOWED[name])

        assert b'"code":"too-large"' in told_until_closed(connection)


def test_every_web_process_is_told_the_limit_of_a_frame_and_each_message_of_ours_fits() -> None:
    words = list(WEB)
    assert [words[words.index(f"--websocket-max-{what}-size") + 1] for what in ("message", "frame")] == [str(LARGEST_FRAME)] * 2
    assert set(SERVING) <= set(words)
    assert LARGEST < LARGEST_FRAME


def written_until(log: Path, before: int, words: str) -> str:
    """What the site has written since; all of it, as soon as these words, which come last, are there."""
    deadline = time.monotonic() + 30
    while words not in (written := log.read_bytes()[before:].decode(errors="replace")):
        assert time.monotonic() < deadline, f"not written: {words}"
        time.sleep(0.05)
    return written


@pytest.mark.parametrize(("name", "facts"), [("django.request", {"status_code": 500}), ("django.request", {}), ("calls.consumers.base", {})])
def test_a_fault_of_ours_keeps_its_traceback(name: str, facts: dict[str, int]) -> None:
    try:
        raise KeyError("ours")
    except KeyError as error:
        record = logging.LogRecord(name, logging.ERROR, __file__, 1, "failed", (), (KeyError, error, error.__traceback__))
    vars(record).update(facts)

    assert "Traceback" in Line().format(record)
