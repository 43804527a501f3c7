"""Fake ends for what can be tested without a socket: a clock that is moved by hand, a socket and an outlet that remember."""

from __future__ import annotations

from dataclasses import dataclass, field

from aioice import stun

from calls.media.edge import Edge
from calls.media.peer import Link

CLIENT = ("198.51.100.7", 4000)
ELSEWHERE = ("198.51.100.7", 5000)
STRANGER = ("203.0.113.9", 6000)
CLIENT_ICE = ("abcd", "p" * 24)


@dataclass
class Clock:
    """Monotonic seconds that pass only when told."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeSocket:
    """Remembers every datagram; a `full` one takes none."""

    sent: list[tuple[bytes, tuple[str, int]]] = field(default_factory=list)
    full: bool = False

    def sendto(self, data: bytes, address: tuple[str, int], /) -> int:
        if self.full:
            raise BlockingIOError
        self.sent.append((data, address))
        return len(data)

    def recvfrom(self, size: int, /) -> tuple[bytes, tuple[str, int]]:
        raise BlockingIOError

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.sent.clear()

    def to(self, address: tuple[str, int]) -> list[bytes]:
        return [data for data, to in self.sent if to == address]


def dry_edge(clock: Clock) -> tuple[Edge, FakeSocket]:
    """An edge without a port."""
    edge, socket = Edge(advertise=["192.0.2.1"], clock=clock), FakeSocket()
    edge.socket = socket
    return edge, socket


def dry_link(edge: Edge) -> tuple[Link, list[str]]:
    """A link whose client's credentials are known, and the states it told."""
    states: list[str] = []
    link = edge.link(lambda event: None, states.append)
    link.remote = CLIENT_ICE
    return link, states


def check(link: Link, *, nominate: bool = True, pwd: str | None = None, ufrag: str | None = None) -> bytes:
    """A client's connectivity check."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = f"{ufrag or link.ufrag}:{CLIENT_ICE[0]}"
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLING"] = 1
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity((pwd or link.pwd).encode())
    return bytes(message)


def reply_to(probe: bytes, pwd: str = CLIENT_ICE[1]) -> bytes:
    """The client's answer to the server's question."""
    asked = stun.parse_message(probe)
    reply = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=asked.transaction_id)
    reply.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.1", 1)
    reply.add_message_integrity(pwd.encode())
    return bytes(reply)


def prove(edge: Edge, socket: FakeSocket, link: Link, address: tuple[str, int]) -> None:
    """Check from `address` and answer what is asked back."""
    edge.datagram_received(check(link), address)
    edge.datagram_received(reply_to(socket.to(address)[-1]), address)
