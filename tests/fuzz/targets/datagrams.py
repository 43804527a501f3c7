"""`stun`: datagrams at the edge, from an address that was proven, from one that waits, and from a stranger."""

from __future__ import annotations

import hmac

from aioice import stun

from calls.media.checks import username_of
from calls.media.edge import MOST_ADDRESSES, Edge
from calls.media.peer import Link
from tests.media.wires import CLIENT, ELSEWHERE, STRANGER, Clock, FakeSocket, check, dry_edge, dry_link, prove, reply_to

from ..engine import Target

UFRAG, PASSWORD = "ours1234", "q" * 32
SENDERS = (STRANGER, ELSEWHERE, CLIENT)


def _edge() -> tuple[Edge, Link, FakeSocket]:
    """One link with credentials that are the same in every run."""
    edge, wire = dry_edge(Clock())
    link, _ = dry_link(edge)
    edge.retire(link.ufrag)
    link.ufrag, link.pwd = UFRAG, PASSWORD
    link._credentials = {UFRAG: PASSWORD}
    edge.listen(UFRAG, link)
    prove(edge, wire, link, CLIENT)
    wire.sent.clear()
    return edge, link, wire


def _is_authentic(data: bytes) -> bool:
    """MESSAGE-INTEGRITY by RFC 8489 section 14.5, read by itself: HMAC-SHA1 over all before it, the length counted up to its end."""
    at = 20
    while at + 4 <= len(data):
        kind, length = int.from_bytes(data[at : at + 2]), int.from_bytes(data[at + 2 : at + 4])
        if kind == 0x0008:
            covered = data[:2] + (at + 24 - 20).to_bytes(2) + data[4:at]
            return hmac.compare_digest(hmac.digest(PASSWORD.encode(), covered, "sha1"), data[at + 4 : at + 24])
        at += 4 + length + (-length % 4)
    return False


def run(data: bytes) -> None:
    """The first octet says who sends, the rest is the datagram."""
    edge, link, wire = _edge()
    sender, datagram = SENDERS[data[0] % 3 if data else 0], data[1:]
    username_of(datagram)
    for _ in range(2):
        edge.datagram_received(datagram, sender)

    answered = [sent for sent, _ in wire.sent if sent[:2] == b"\x01\x01"]
    assert not wire.sent or _is_authentic(datagram), "somebody without the password was answered"
    assert not answered or sender == CLIENT, "an address that never answered was told something"
    assert sum(len(sent) for sent, to in wire.sent if to != CLIENT) <= 2 * len(datagram), "more was sent than came"
    assert {to for _, to in wire.sent} <= {sender}
    assert (link.address, len(edge._by_address)) == (CLIENT, 1)
    assert len(edge._links[link]) <= MOST_ADDRESSES
    assert link._inbox.qsize() <= 2 * (sender == CLIENT)
    assert sum(edge.counters.values()) <= 2 * 2, "one datagram was counted more than twice"


def seeds() -> list[bytes]:
    """Checks with right and wrong passwords, an answer, and what else begins like STUN."""
    edge, link, wire = _edge()
    edge.datagram_received(check(link), ELSEWHERE)
    right, wrong = check(link), check(link, pwd="guess")
    bare = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST))
    made = [right, wrong, check(link, ufrag="nobody"), check(link, nominate=False), bare, reply_to(wire.to(ELSEWHERE)[0])]
    return [bytes([sender]) + datagram for datagram in made for sender in range(3)] + [b"\x02\x16\xfe\xfd" + bytes(20)]


WORDS = [kind + length for kind in (b"\x00\x06", b"\x00\x08", b"\x00\x24", b"\x00\x25", b"\x80\x28") for length in (b"\0\4", b"\xff\xff")]
TARGET = Target("stun", run, seeds, WORDS)
