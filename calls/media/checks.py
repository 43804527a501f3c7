"""Connectivity checks (RFC 8445): what the edge keeps of an address, and the STUN messages that it reads and writes. Nothing here sends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from . import addresses
from .path import Address
from .peer import Link, stun

COOKIE = stun.COOKIE.to_bytes(4)
REQUEST, RESPONSE = b"\x00\x01", b"\x01\x01"
_USERNAME = 0x0006
_PRIORITY = 2130706431


@dataclass(slots=True)
class Heard:
    """An address that answered: who it belongs to, and when its last valid check came."""

    link: Link
    checked_at: float


@dataclass(slots=True)
class Candidate:
    """An address that sent a valid check and has not answered yet."""

    credit: int = 0
    probes: deque[bytes] = field(default_factory=deque)
    request: stun.Message | None = None
    ufrag: str = ""
    asked_at: float = float("-inf")


def moves(link: Link, request: stun.Message, address: Address) -> bool:
    """Would this check take the link's media from the address that they go to (RFC 8445 section 7.3.1.5)?"""
    return link.address not in (None, address) and "USE-CANDIDATE" in request.attributes


def username_of(data: bytes) -> str:
    """The USERNAME of a STUN message without parsing the rest; empty when there is none (RFC 8489 section 14.3)."""
    position = 20
    while position + 4 <= len(data):
        kind, length = int.from_bytes(data[position : position + 2]), int.from_bytes(data[position + 2 : position + 4])
        if kind == _USERNAME:
            return data[position + 4 : position + 4 + length].decode("ascii", "replace")
        position += 4 + length + (-length % 4)
    return ""


def answer(request: stun.Message, address: Address, password: str) -> bytes:
    """To a valid check that came from this address."""
    message = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id)
    message.attributes["XOR-MAPPED-ADDRESS"] = addresses.shown(address)
    message.add_message_integrity(password.encode())
    return bytes(message)


def question(link: Link, ufrag: str, remote: tuple[str, str]) -> stun.Message:
    """A check of ours, to the other side of this link, whose credentials are `remote`; `ufrag` is the fragment that it used."""
    remote_ufrag, remote_pwd = remote
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = f"{remote_ufrag}:{ufrag}"
    message.attributes["ICE-CONTROLLED"] = link.session
    message.attributes["PRIORITY"] = _PRIORITY
    message.add_message_integrity(remote_pwd.encode())
    return message
