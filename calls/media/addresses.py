"""Transport addresses in the one form in which they are compared and kept, and the sockets that speak it.

An IPv4 client that reaches a dual-stack socket appears there as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2). Were that form kept, one client
would have two addresses, and a STUN answer would name the wrong one: outside this module it does not exist.

The address of a TCP connection (`streams`) is `("tcp:" + host, port)`, so that it never equals the UDP address with the same numbers.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol

from .path import Address

LARGEST_DATAGRAM = 1500
KERNEL_BYTES = 4 * 1024 * 1024  # asked for; the kernel may give less
SITE_BITS = 64  # of an IPv6 address: one customer is free to use every address of such a prefix

_MAPPED = "::ffff:"
_TCP = "tcp:"


Octets = bytes | memoryview


class Socket(Protocol):
    """What is needed of a non-blocking UDP socket."""

    def sendto(self, data: bytes, address: Address, /) -> int: ...
    def recvfrom(self, size: int, /) -> tuple[bytes, Any]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class UdpSocket(Protocol):
    """The same of one that the kernel has: with what `socket.sendmsg` sends beside the data."""

    def sendto(self, data: Octets, address: Address, /) -> int: ...
    def sendmsg(self, buffers: Iterable[Octets], beside: Iterable[tuple[int, int, bytes]], flags: int, address: Address, /) -> int: ...
    def recvfrom(self, size: int, /) -> tuple[bytes, Any]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


def canonical(host: str) -> str:
    """`host`, an address in numbers, without the mapping of IPv4 into IPv6."""
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host


def of_stream(host: str, port: int) -> Address:
    """The address by which a TCP connection from `host` and `port` is known."""
    return _TCP + canonical(host), port


def is_udp(address: Address) -> bool:
    """Is this the address of a UDP client? Everything else is a TCP connection and is sent to by `Edge.send` only."""
    return not address[0].startswith(_TCP)


def shown(address: Address) -> Address:
    """Host and port as a client knows them, whatever the transport: for XOR-MAPPED-ADDRESS (RFC 8489 section 14.2)."""
    return address[0].removeprefix(_TCP), address[1]


def source(address: Address) -> str:
    """Who budgets and limits count: the IPv4 address, or the IPv6 prefix of 64 bits, over UDP and TCP together."""
    host = address[0].removeprefix(_TCP)
    if ":" not in host:
        return host
    bits = int(IPv6Address(host.partition("%")[0]))
    return str(IPv6Address(bits >> SITE_BITS << SITE_BITS))


def as_told(text: str) -> tuple[str, ...]:
    """The addresses of a comma-separated list, in order, each once. Raises ValueError for what is no address in numbers."""
    try:
        told = [ip_address(word.strip()) for word in text.split(",") if word.strip()]
    except ValueError:
        raise ValueError("a list of IPv4 and IPv6 addresses, separated by commas, was expected") from None
    return tuple(dict.fromkeys(str(getattr(address, "ipv4_mapped", None) or address) for address in told))


class DualStack:
    """An IPv6 socket that also serves IPv4, with canonical addresses on both ways."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner

    def sendto(self, data: Octets, address: Address, /) -> int:
        return self._inner.sendto(data, _mapped(address))

    def sendmsg(self, buffers: Iterable[Octets], beside: Iterable[tuple[int, int, bytes]], flags: int, address: Address, /) -> int:
        return self._inner.sendmsg(buffers, beside, flags, _mapped(address))

    def recvfrom(self, size: int, /) -> tuple[bytes, Any]:
        data, address = self._inner.recvfrom(size)
        return data, (canonical(address[0]), address[1])

    def fileno(self) -> int:
        return self._inner.fileno()

    def close(self) -> None:
        self._inner.close()


def _mapped(address: Address) -> Address:
    host, port = address
    return (host if ":" in host else _MAPPED + host), port


def bound(family: int, kind: int, address: Any) -> socket.socket:
    """A non-blocking socket on `address`; one of IPv6 serves IPv4 too. Raises OSError, with nothing left open."""
    opened = socket.socket(family, kind)
    try:
        opened.setblocking(False)
        if kind == socket.SOCK_STREAM:  # connections of a worker that was killed linger for a minute; its heir needs the port now
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def open_udp(family: int, address: Any) -> tuple[UdpSocket, str, int]:
    """The UDP socket on `address`, and the host and port that it got. Raises OSError."""
    opened = bound(family, socket.SOCK_DGRAM, address)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        opened.setsockopt(socket.SOL_SOCKET, option, KERNEL_BYTES)
    host, port = opened.getsockname()[:2]
    return _speaking(opened), canonical(host), port


def again(descriptor: int, family: int) -> UdpSocket:
    """The UDP socket that this descriptor names once more, to be closed by itself. Raises OSError."""
    opened = socket.socket(family, socket.SOCK_DGRAM, fileno=os.dup(descriptor))
    opened.setblocking(False)
    return _speaking(opened)


def _speaking(opened: socket.socket) -> UdpSocket:
    return DualStack(opened) if opened.family == socket.AF_INET6 else opened
