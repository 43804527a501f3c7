"""The ports of one run, taken or tried before anything starts. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket

from .data_folder import Refused

HOST = "127.0.0.1"
TRIES = 8  # for one free media port of both kinds
LAST = 65535


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


def media_ports() -> list[int]:
    """One port for each media worker, each free for UDP and, unless ICE-TCP is off, for TCP.

    The port that the operator chose and those after it; free ones where none was chosen. Empty where what was chosen is no port: the settings
    refuse that by its name. Raises Refused when one of them cannot be used.
    """
    host, told = os.environ.get("CLEAC_MEDIA_UDP_HOST", HOST), os.environ.get("CLEAC_MEDIA_UDP_PORT", "0")
    if not (told.isascii() and told.isdecimal() and int(told) <= LAST):
        return []
    number, chosen = how_many_media_workers(), int(told)
    if chosen + number - 1 > LAST:
        raise Refused(f"{number} media workers need the ports {chosen} to {chosen + number - 1}: change CLEAC_MEDIA_UDP_PORT or CLEAC_MEDIA_WORKERS")
    with contextlib.ExitStack() as taken:  # all at once, so that no two are the same
        return [media_port(taken, host, chosen + following if chosen else 0) for following in range(number)]


def media_port(taken: contextlib.ExitStack, host: str, port: int) -> int:
    """The port, a free one for 0, held until `taken` is left. Raises Refused."""
    for _ in range(TRIES if port == 0 else 1):  # what is free for UDP may be taken for TCP
        try:
            return hold_media_port(taken, host, port)
        except OSError as error:
            reason = error.strerror or type(error).__name__
    raise Refused(f"media port {port} on {host} cannot be used ({reason}): change CLEAC_MEDIA_UDP_PORT or CLEAC_MEDIA_UDP_HOST")


def hold_media_port(taken: contextlib.ExitStack, host: str, port: int) -> int:
    """The port, a free one for 0, of sockets that stay open until `taken` is left. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with contextlib.ExitStack() as held:
        udp = held.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        udp.bind(address)
        chosen = int(udp.getsockname()[1])
        if os.environ.get("CLEAC_MEDIA_TCP", "").lower() not in ("0", "false", "no", "off"):
            tcp = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a worker before it may linger
            tcp.bind((address[0], chosen, *address[2:]))
        taken.push(held.pop_all())
    return chosen


def how_many_media_workers() -> int:
    """As many as the operator says; else one less than the cores, at least one."""
    return number_in("CLEAC_MEDIA_WORKERS") or max(1, (os.cpu_count() or 1) - 1)


def number_in(variable: str) -> int:
    """0 where nothing stands there. What is no number counts as nothing here: the settings refuse it by its name."""
    told = os.environ.get(variable, "")
    return int(told) if told.isascii() and told.isdecimal() else 0


def answers(port: int, host: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": host})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
