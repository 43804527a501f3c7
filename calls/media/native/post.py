"""What the C side puts down for the loop's thread: records one behind the other, as source/post.c writes them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv6Address
from struct import Struct
from typing import NamedTuple

from ..path import Address

KEY_FRAME, LEARNT, LOST, FEEDBACK, ESTIMATED, TAPPED, TAP_REPORT, OF_STRANGERS, BY_STREAM, OF_KNOWN = range(1, 11)
ADDRESS_BYTES = 24

KEY_FRAME_OF, LEARNT_OF, LOST_OF, FEEDBACK_OF = Struct("=qi"), Struct("=qqiIi"), Struct("=qqi"), Struct("=qqqqqq")
ESTIMATED_OF, TAP_OF, REPORT_OF, STREAM_OF = Struct("=qII"), Struct("=qqHH"), Struct("=QI"), Struct("=qIi")

_HEAD = Struct("=II")
_ADDRESS = Struct("=16sI")
_MAPPED = bytes(10) + b"\xff\xff"


class Record(NamedTuple):
    kind: int
    body: bytes


# What a tap is given: its number, the moment, where the payload begins and how long it is, whether this is a pair of clocks, and the octets. Of every
# recorded packet one is made, so it is a bare tuple.
Tape = tuple[int, int, int, int, bool, bytes]


def records(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, beginning and end of each record's content, in the order in which they were put down."""
    at, length = 0, len(data)
    while at < length:
        size, kind = _HEAD.unpack_from(data, at)
        yield kind, at + _HEAD.size, at + size
        at += size


def tape(data: bytes, kind: int, start: int, end: int) -> Tape:
    """A record of the kind `TAPPED` or `TAP_REPORT`."""
    tap, now, payload, length = TAP_OF.unpack_from(data, start)
    return tap, now, payload, length, kind == TAP_REPORT, data[start + TAP_OF.size : end]


def packed(address: Address) -> bytes:
    """An address as the C side compares it."""
    host, _, scope = address[0].partition("%")
    whole = socket.inet_pton(socket.AF_INET6, host) if ":" in host else _MAPPED + socket.inet_aton(host)
    index = 0 if not scope else int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    return _ADDRESS.pack(whole, index) + address[1].to_bytes(2) + bytes(2)


def unpacked(data: bytes) -> Address:
    """The same address in the form of `addresses`."""
    whole, scope = _ADDRESS.unpack_from(data)
    port = int.from_bytes(data[20:22])
    if whole.startswith(_MAPPED):
        return socket.inet_ntoa(whole[12:]), port
    host = socket.inet_ntop(socket.AF_INET6, whole)
    return (f"{host}%{socket.if_indextoname(scope)}" if scope and IPv6Address(whole).is_link_local else host), port
