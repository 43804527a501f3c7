"""Bursts that the form in Python takes from the socket at once reach each listener as if they had come packet by packet."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from calls.media import clock
from calls.media.edge import Edge
from calls.media.forward import PythonPath, pace
from calls.media.forward.allowance import WITHOUT_LIMIT
from calls.media.path import Address, Event, KeyFrameWanted
from calls.media.sink import Packet

from .both import session
from .plain import VIDEO, rtp
from .test_a_network import until
from .test_native_bursts import CAMERA, LISTENERS, by_stream, client_of, datagrams, furnish, media, picture
from .test_peer import Pair
from .test_peer import rtp as rtp_of

NO_CHECKSUMS = 11  # SO_NO_CHECK of Linux: a datagram without a checksum is not cut by the kernel
LEAVES_WHOLE = 104  # UDP_GRO of Linux: a datagram that was to be cut is received as it was sent
NOT_ALLOWED = ("255.255.255.255", 9)  # sending there needs a privilege of the socket


class Ending:
    """A recorder that ends its track with the third packet."""

    def __init__(self, path: PythonPath) -> None:
        self._path, self._left = path, 3

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        self._left -= 1
        if not self._left:
            self._path.close(1, "ended")

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        """Nobody sends one here."""

    def closed(self, reason: str) -> None:
        """Nobody asks here."""


class Waiting:
    """A path whose socket holds what clients have sent; nobody has read it yet."""

    def __init__(self) -> None:
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self.server.bind(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.clients = [client_of(self.server) for _ in range(1 + LISTENERS)]
        self.sealing = [session("in", ours=False) for _ in self.clients]
        self.counters, self.events = Counter[str](), list[Event]()
        self.path = PythonPath(self.counters, lambda data, address: False, clock.now, rates=WITHOUT_LIMIT)
        self.ends = furnish(self.path, self.clients)
        self.ends[0].on_event = self.events.append  # type: ignore[method-assign]  # reason: this end is asked for key frames here
        self.path.read(self.server.fileno(), socket.AF_INET, self._others)

    def _others(self, data: bytes, address: Address) -> None:
        """As the edge does with control packets."""
        who = next(end for end in self.ends if end.address == address)
        self.path.take(who, data, int(clock.now() * 1_000_000))

    def send(self, who: int, clear: bytes) -> bytes:
        """Into the socket, and what went there."""
        seal = self.sealing[who]
        sealed: bytes = seal.protect_rtcp(clear) if 192 <= clear[1] <= 223 else seal.protect(clear)
        self.clients[who].send(sealed)
        return sealed

    def send_pictures(self, first: int, count: int, *, key: bool) -> None:
        for number in range(first, first + count):
            self.send(0, rtp(number, picture(number, key=key and number == first), ssrc=CAMERA, payload_type=VIDEO, timestamp=first))

    def heard(self, listener: int) -> list[int]:
        """The numbers of the pictures that lie at this listener's."""
        client, opening, found = self.clients[listener], session("out", ours=False), list[int]()
        client.setblocking(False)
        while True:
            try:
                sealed = client.recv(2_000)
            except BlockingIOError:
                return found
            if not 192 <= sealed[1] <= 223:
                found.append(Packet.parse(opening.unprotect(sealed)).sequence_number)

    def close(self) -> None:
        self.path.closing()
        for one in (self.server, *self.clients):
            one.close()


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    made = Waiting()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(12))
def test_what_lay_in_the_socket_comes_out_as_packet_by_packet(waiting: Waiting, seed: int) -> None:
    sent: dict[Address, list[bytes]] = {client.getsockname(): [] for client in waiting.clients}

    def note(data: bytes, address: Address) -> bool:
        if not 192 <= data[1] <= 223:
            sent[address].append(data)
        return True

    one_by_one = PythonPath(Counter(), note, clock.now, rates=WITHOUT_LIMIT)
    theirs = furnish(one_by_one, waiting.clients)
    for who, clear in datagrams(random.Random(seed)):
        one_by_one.take(theirs[who], waiting.send(who, clear), int(clock.now() * 1_000_000))

    waiting.path.take_up()

    for client in waiting.clients[1:]:
        expected = sent[client.getsockname()]
        assert len(expected) > 200
        assert by_stream([media(client) for _ in expected]) == by_stream(expected)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            media(client)


def test_a_burst_goes_to_each_listener_as_one_message_that_the_kernel_cuts(waiting: Waiting) -> None:
    waiting.send_pictures(100, 1, key=True)
    waiting.path.take_up()
    assert [waiting.heard(listener) for listener in range(1, 1 + LISTENERS)] == [[100]] * LISTENERS
    for client in waiting.clients[1:]:
        client.setsockopt(socket.IPPROTO_UDP, LEAVES_WHOLE, 1)

    waiting.send_pictures(101, 8, key=False)
    waiting.path.take_up()

    sizes = [len(client.recv(65_535)) for client in waiting.clients[1:]]
    assert len(set(sizes)) == 1
    assert sizes[0] > 8 * len(picture(101, key=False))
    assert [waiting.heard(listener) for listener in range(1, 1 + LISTENERS)] == [[]] * LISTENERS


def test_where_the_kernel_cuts_nothing_the_packets_of_a_burst_go_one_by_one(waiting: Waiting) -> None:
    waiting.server.setsockopt(socket.SOL_SOCKET, NO_CHECKSUMS, 1)

    waiting.send_pictures(100, 9, key=True)
    waiting.path.take_up()

    assert [waiting.heard(listener) for listener in range(1, 1 + LISTENERS)] == [list(range(100, 109))] * LISTENERS
    assert waiting.counters["socket-error"] == 0


def test_a_burst_that_the_socket_does_not_take_makes_that_listener_wait_for_a_key_frame_and_no_other(waiting: Waiting) -> None:
    waiting.send_pictures(100, 1, key=True)
    waiting.path.take_up()
    assert waiting.heard(1) == [100]
    waiting.events.clear()

    waiting.path.move(waiting.ends[1], NOT_ALLOWED)
    waiting.send_pictures(101, 8, key=False)
    waiting.path.take_up()
    waiting.path.move(waiting.ends[1], waiting.ends[1].address)
    waiting.send_pictures(109, 8, key=False)
    waiting.path.take_up()

    assert waiting.events == [KeyFrameWanted(1, 0)]
    assert waiting.counters["socket-error"] == 8
    assert waiting.heard(1) == []
    assert waiting.heard(2) == [100, *range(101, 117)]
    waiting.send_pictures(117, 8, key=True)
    waiting.path.take_up()
    assert waiting.heard(1) == list(range(117, 125))


def test_of_a_track_that_ends_within_a_burst_nothing_follows_the_goodbye(waiting: Waiting) -> None:
    waiting.send_pictures(100, 1, key=True)
    waiting.path.take_up()
    assert waiting.heard(1) == [100]
    waiting.path.tap(1, Ending(waiting.path), 0)

    waiting.send_pictures(101, 8, key=False)
    waiting.path.take_up()

    assert waiting.heard(1) == []
    assert waiting.counters["ssrc-undeclared"] == 5


def rests(apart_us: int, *, bursts: int = 1) -> float:
    """How long the path rests once it has been woken often enough, so far apart and with so many bursts each time."""
    kept, rested = pace.Pace(), 0.0
    for turn in range(100):
        for sender in range(bursts):
            kept.heard(sender)
            kept.heard(sender)
        rested = kept.rest(1_000_000 + turn * apart_us)
    assert kept.rest(2_000_000_000) == 0.0, "nothing has come"
    return rested


def test_where_bursts_follow_each_other_closely_the_path_waits_for_more_of_them() -> None:
    assert rests(2 * pace.BUSY_US) == 0.0
    assert rests(pace.BUSY_US // 2) == pace.REST_SECONDS
    assert rests(2 * pace.BUSY_US, bursts=3) == pace.REST_SECONDS


async def test_what_comes_while_the_path_rests_and_after_it_has_rested_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BUSY_US", float("inf"))  # it rests after whatever comes
    edge = await Edge.bind(form="python")
    pair = Pair(edge)
    assert await pair.connect() == "connected"

    for number in range(30):
        pair.client.send(rtp_of(5, number))
        await asyncio.sleep(0.0003)
    await until(lambda: len(pair.rtp) == 30)
    await until(lambda: edge._rest is None)
    pair.client.send(rtp_of(5, 30))
    await until(lambda: len(pair.rtp) == 31)

    assert pair.rtp == [rtp_of(5, number) for number in range(31)]
    await pair.close()
    await edge.close()
