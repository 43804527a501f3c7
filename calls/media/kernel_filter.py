"""A filter on the media socket, so that a flood of junk is dropped by the kernel before it costs the worker anything (classic BPF, Linux).

What passes: STUN by its first octet and magic cookie (RFC 7983, RFC 8489), from anybody, because that is how one becomes known; everything else
only from addresses that `Edge` has proven. Strangers meet the same answer in the edge, which is the second line and the only one where the
kernel lets no filter be set. The filter is a property of the socket, so it holds whoever reads from it. It needs no privilege.

A program is replaced as a whole: at once when an address is added, since its handshake follows within a millisecond; addresses that went
are taken out together, with the next addition or by `settle`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address

from .addresses import is_udp
from .path import Address

MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
MOST_WITH_PORTS = 300  # addresses; above, a host is enough, which keeps the program short
MOST_PORTS = 100  # of one host; above, the host is enough. A conditional jump reaches 255 instructions

_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER; the socket module has no names for them
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from the IP header; plain ones count from the UDP header
_PAYLOAD = 8
_COOKIE = 0x2112A442
_LOAD_WORD, _LOAD_HALF, _LOAD_OCTET = 0x20, 0x28, 0x30
_AND, _EQUAL, _AT_LEAST, _RETURN, _GO = 0x54, 0x15, 0x35, 0x06, 0x05

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand

_PASS: Instruction = (_RETURN, 0, 0, 0xFFFFFFFF)
_DROP: Instruction = (_RETURN, 0, 0, 0)


def program(heard: Iterable[Address]) -> list[Instruction] | None:
    """The filter that hears these UDP addresses, canonical as in `addresses`; None where none can be short enough.

    A load beyond the end of a datagram ends the program and drops it, which disposes of empty ones.
    """
    ports: dict[str, set[int]] = {}
    known = set(heard)
    for host, port in sorted(known):
        ports.setdefault(host.partition("%")[0], set()).add(port)
    for with_ports in (True, False) if len(known) <= MOST_WITH_PORTS else (False,):
        four: list[Instruction] = []
        six: list[Instruction] = []
        for host, of_host in ports.items():
            wanted = sorted(of_host) if with_ports and len(of_host) <= MOST_PORTS else []
            address = ip_address(host)
            (four if isinstance(address, IPv4Address) else six).extend(_host(address.packed, wanted))
        made = [
            (_LOAD_OCTET, 0, 0, _PAYLOAD),
            (_AT_LEAST, 4, 0, 4),
            (_LOAD_WORD, 0, 0, _PAYLOAD + 4),
            (_EQUAL, 0, 1, _COOKIE),
            _PASS,
            _DROP,
            (_LOAD_OCTET, 0, 0, _NETWORK),
            (_AND, 0, 0, 0xF0),
            (_EQUAL, 1, 0, 0x40),
            (_GO, 0, 0, len(four) + 2),
            (_LOAD_WORD, 0, 0, _NETWORK + 12),
            *four,
            _DROP,
            *six,
            _DROP,
        ]
        if len(made) <= MOST_INSTRUCTIONS:
            return made
    return None


def _host(packed: bytes, ports: list[int]) -> list[Instruction]:
    """Pass what comes from this host and one of these ports, or any port where none is named; other hosts fall through.

    For IPv4 the source is in the accumulator already, and stays there for the next host.
    """
    found: list[Instruction] = [_PASS]
    if ports:
        found = [(_LOAD_HALF, 0, 0, 0)]
        for port in ports:
            found += [(_EQUAL, 0, 1, port), _PASS]
        found.append(_DROP)
    if len(packed) == 4:
        return [(_EQUAL, 0, len(found), int.from_bytes(packed)), *found]
    tests: list[Instruction] = []
    for word in range(4):
        tests += [
            (_LOAD_WORD, 0, 0, _NETWORK + 8 + 4 * word),
            (_EQUAL, 0, 2 * (3 - word) + len(found), int.from_bytes(packed[4 * word : 4 * word + 4])),
        ]
    return [*tests, *found]


def attach(descriptor: int, instructions: list[Instruction]) -> None:
    """Put the program in the place of the former one of this socket. Raises OSError where the kernel does not take it."""
    if sys.platform != "linux":
        raise OSError("the filter is one of Linux")
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    held = ctypes.create_string_buffer(code, len(code))
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("@HP", len(instructions), ctypes.addressof(held)))


def detach(descriptor: int) -> None:
    """Leave the socket without a filter. Raises OSError where it has none."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.setsockopt(socket.SOL_SOCKET, _DETACH, 0)


def permitted() -> bool:
    """May a filter be set on this machine?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            attach(probe.fileno(), program([]) or [])
        except OSError:
            return False
        return True


class KernelFilter:
    """The filter of one socket. Whatever goes wrong, the socket is then without a filter, never with one that is too narrow.

    Counts `kernel-filter-off` when there is none, because it was refused or is too long.
    """

    def __init__(self, descriptor: int, counters: Counter[str]) -> None:
        self._descriptor, self._counters = descriptor, counters
        self._heard: set[Address] = set()
        self._stale = False
        self._refused = False
        self._set()

    @property
    def active(self) -> bool:
        """Does the kernel drop what strangers send?"""
        return not self._refused

    def hear(self, address: Address) -> None:
        """Let this address through, at once."""
        if is_udp(address) and address not in self._heard:
            self._heard.add(address)
            self._set()

    def unhear(self, address: Address) -> None:
        """This address is a stranger again; the kernel is told by the next `settle` or `hear`."""
        if address in self._heard:
            self._heard.remove(address)
            self._stale = True

    def settle(self) -> None:
        """Tell the kernel about addresses that went."""
        if self._stale:
            self._set()

    def _set(self) -> None:
        self._stale = False
        wanted = program(self._heard)
        try:
            if wanted is None:
                raise OSError("too long")
            attach(self._descriptor, wanted)
        except OSError:
            self._off()
        else:
            self._refused = False

    def _off(self) -> None:
        if not self._refused:
            self._counters["kernel-filter-off"] += 1
        self._refused = True
        with contextlib.suppress(OSError):  # there may be none
            detach(self._descriptor)
