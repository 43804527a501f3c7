"""Whatever network a participant has: UDP or TCP, IPv4 or IPv6, and from one address to another in the middle of a call."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from calls.media import addresses, streams
from calls.media.candidates import Listening
from calls.media.edge import Edge

from .peers import PATIENCE, Connection, Weather
from .test_peer import Pair, rtp
from .wires import check

STUN = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)


class Framed(asyncio.Protocol):
    """A TCP connection in the place of a client's UDP transport."""

    def __init__(self, client: Connection) -> None:
        self.client, self.rest = client, b""
        self.transport: Any = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while len(self.rest) >= 2 and len(self.rest) - 2 >= (length := int.from_bytes(self.rest[:2])):
            frame, self.rest = self.rest[2 : 2 + length], self.rest[2 + length :]
            self.client.datagram_received(frame, self.transport.get_extra_info("peername")[:2])

    def sendto(self, data: bytes, address: object) -> None:
        self.transport.write(len(data).to_bytes(2) + data)

    def is_closing(self) -> bool:
        return bool(self.transport.is_closing())

    def close(self) -> None:
        self.transport.close()


class TcpConnection(Connection):
    """A client whose network lets TCP through only."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(Weather(), lambda clear: None, lambda clear: None)
        self.over = (host, port)

    async def bind(self) -> None:
        self.checked.clear()
        self.transport = (await asyncio.get_running_loop().create_connection(lambda: Framed(self), *self.over))[1]


Opened = Callable[..., Awaitable[Edge]]


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Opened]:
    edges: list[Edge] = []

    async def bind(host: str = "127.0.0.1", **more: Any) -> Edge:
        edges.append(await Edge.bind(host, **more))
        return edges[-1]

    yield bind
    for edge in edges:
        await edge.close()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


async def over_tcp(edge: Edge, host: str = "127.0.0.1") -> Pair:
    pair = Pair(edge)
    pair.client = TcpConnection(host, edge.port)
    assert await pair.connect() == "connected"
    return pair


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_client_without_udp_has_media_both_ways_over_tcp(opened: Opened, host: str) -> None:
    edge = await opened("::" if host == "::1" else host, advertise=[host])
    pair = await over_tcp(edge, host)

    pair.client.send(rtp(5))
    await until(lambda: pair.rtp)

    assert pair.rtp == [rtp(5)]
    assert pair.link.address is not None
    assert not addresses.is_udp(pair.link.address)
    assert edge.path.send_rtp(pair.link, rtp(9))
    await pair.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_one_dual_stack_socket_serves_both_families_and_knows_each_address_by_one_form(opened: Opened, host: str) -> None:
    edge = await opened("::", advertise=[host])
    pair = Pair(edge)
    pair.client.local_host = host

    assert await pair.connect() == "connected"

    assert pair.link.address is not None
    assert pair.link.address[0] == host
    await pair.close()


async def test_a_client_moves_from_udp_to_tcp_in_the_same_session(opened: Opened) -> None:
    edge = await opened()
    pair = Pair(edge)
    await pair.connect()
    udp = pair.client.transport

    _, framed = await asyncio.get_running_loop().create_connection(lambda: Framed(pair.client), "127.0.0.1", edge.port)
    pair.client.transport = framed
    await until(lambda: pair.link.address is not None and not addresses.is_udp(pair.link.address))
    pair.client.send(rtp(5))
    await until(lambda: pair.rtp)

    assert (edge.counters["moved"], pair.states.empty()) == (1, True)
    udp.close()
    await pair.close()


async def test_the_end_of_a_connection_is_not_the_end_of_the_session(opened: Opened) -> None:
    edge = await opened()
    pair = await over_tcp(edge)
    gone = pair.link.address

    pair.client.transport.close()
    await until(lambda: not len(edge.streams))
    assert pair.link.address is None
    await pair.client.bind()
    await until(lambda: pair.link.address)
    pair.client.send(rtp(5))
    await until(lambda: pair.rtp)

    assert pair.link.address != gone
    await pair.close()


async def raw(edge: Edge) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", edge.port)


@pytest.mark.parametrize(
    "sent",
    [
        *(b"\x00\x00", b"\xff\xff", b"\x00\x04\x00\x01\x00\x00", b"GET / HTTP/1.1\r\n"),
        *(b"\x00\x20\x16" + bytes(31), b"\x00\x20\x80" + bytes(31), b"\x00\x13\x00\x01" + bytes(17)),
    ],
    ids=["empty", "huge", "tiny", "http", "dtls", "rtp", "shorter than any check"],
)
async def test_what_cannot_be_a_check_ends_a_connection_that_proved_nothing(opened: Opened, sent: bytes) -> None:
    edge = await opened()
    reader, writer = await raw(edge)

    writer.write(sent)
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionResetError):  # an end in order is an end too
            assert await reader.read() == b""

    await until(lambda: not len(edge.streams))
    assert edge.counters["tcp-malformed"] == 1
    writer.close()


async def test_a_connection_that_proves_nothing_in_time_is_closed(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PROOF_SECONDS", 0.05)
    edge = await opened()
    _, writer = await raw(edge)

    writer.write(b"\x00")
    await until(lambda: edge.counters["tcp-unproven"])

    await until(lambda: not len(edge.streams))
    writer.close()


async def test_connections_are_limited_for_each_source_and_the_newest_that_waits_pushes_out_the_oldest(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_OF_A_SOURCE", 3)
    monkeypatch.setattr(streams, "MOST_WAITING", 2)
    edge = await opened()

    clients = [await raw(edge) for _ in range(3)]
    await until(lambda: edge.counters["tcp-unproven"] == 1 and len(edge.streams) == 2)
    clients += [await raw(edge)]
    await until(lambda: edge.counters["tcp-unproven"] == 2 and len(edge.streams) == 2)
    monkeypatch.setattr(streams, "MOST_OF_A_SOURCE", 2)
    clients += [await raw(edge)]
    await until(lambda: edge.counters["tcp-turned-away"] == 1)

    assert len(edge.streams) == 2
    for _, writer in clients:
        writer.close()


async def test_a_stranger_who_floods_a_connection_with_checks_has_a_few_of_them_read_and_nobody_waits_for_the_rest(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STRANGERS_PACE", (0.001, 100.0))
    edge = await opened()
    _, writer = await raw(edge)
    flood = (b"\x00\x14" + STUN) * 3000

    writer.write(flood)
    pair = await over_tcp(edge)

    in_two_reads = 2 * streams.STRANGERS_BYTES // (2 + len(STUN))
    assert 0 < edge.counters["stun-unknown"] + edge.counters["stun-budget"] <= in_two_reads
    assert edge.counters["tcp-paused"] == 1
    writer.close()
    await pair.close()


async def test_a_participant_who_sends_faster_than_anybody_need_waits_and_loses_nothing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PACE", (2000.0, 50.0))
    edge = await opened()
    pair = await over_tcp(edge)

    for number in range(1, 301):
        pair.client.send(rtp(5, number))
    await until(lambda: len(pair.rtp) == 300)

    assert pair.rtp == [rtp(5, number) for number in range(1, 301)]
    assert edge.counters["tcp-paused"] > 0
    await pair.close()


async def test_a_source_that_opens_one_connection_after_the_other_is_turned_away(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "OPENED_RATE", 0.001)
    monkeypatch.setattr(streams, "OPENED_BURST", 3.0)
    edge = await opened()

    for _ in range(3):
        _, writer = await raw(edge)
        await until(lambda: len(edge.streams))
        writer.close()
        await until(lambda: not len(edge.streams))
    _, writer = await raw(edge)
    await until(lambda: edge.counters["tcp-turned-away"])

    assert len(edge.streams) == 0
    writer.close()


async def test_a_slow_reader_loses_packets_and_memory_stays_bounded(opened: Opened) -> None:
    edge = await opened()
    pair = await over_tcp(edge)
    pair.client.checking = False
    pair.client.transport.transport.pause_reading()
    address = pair.link.address
    assert address is not None
    stream = edge.streams._streams[address]

    taken = 0
    while edge.send(bytes(1200), address):
        taken += 1
        await asyncio.sleep(0)

    assert taken > 50
    assert edge.counters["send-full"] == 1
    assert 0 < stream.unsent <= streams.UNSENT_BYTES
    pair.client.transport.transport.abort()
    await until(lambda: not len(edge.streams))
    await pair.close()


async def test_with_tcp_off_no_port_is_open_and_no_candidate_named(opened: Opened) -> None:
    edge = await opened(tcp=False)

    with pytest.raises(ConnectionRefusedError):
        await raw(edge)

    assert [line for line in edge.listening.lines() if " tcp " in line] == []


async def test_the_port_of_a_worker_that_went_is_its_heirs_at_once_although_its_connections_linger(opened: Opened) -> None:
    """A side that closes first keeps its end of the connection for a minute (RFC 9293 section 3.6.1)."""
    before = await opened()
    reader, writer = await asyncio.open_connection("127.0.0.1", before.port)
    await until(lambda: len(before.streams))
    await before.close()
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()

    heir = await Edge.bind("127.0.0.1", before.port)

    assert heir.port == before.port
    await heir.close()


async def test_a_client_with_a_new_socket_goes_on_and_a_forged_check_moves_nobody(opened: Opened) -> None:
    edge = await opened()
    pair = Pair(edge)
    await pair.connect()
    at = pair.link.address
    forger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    forger.sendto(check(pair.link, pwd="guess"), ("127.0.0.1", edge.port))
    await until(lambda: edge.counters["stun-forged"])
    assert pair.link.address == at

    await pair.client.bind()
    await until(lambda: pair.link.address != at)
    pair.client.send(rtp(5))
    await until(lambda: pair.rtp)

    assert edge.counters["moved"] == 1
    forger.close()
    await pair.close()


async def test_after_an_ice_restart_the_session_goes_on_with_new_credentials(opened: Opened) -> None:
    edge = await opened()
    pair = Pair(edge)
    await pair.connect()
    before = pair.link.ufrag

    pair.link.restart()
    pair.client.fresh_credentials()
    pair.link.remote = (pair.client.ufrag, pair.client.pwd)
    pair.client.remote = (pair.link.ufrag, pair.link.pwd)
    await pair.client.bind()
    await until(lambda: before not in edge._by_ufrag)
    pair.client.send(rtp(5))
    await until(lambda: pair.rtp)

    assert (pair.link.state, pair.states.empty()) == ("connected", True)
    await pair.close()


def test_a_mapped_address_and_the_prefix_of_a_site_have_one_form() -> None:
    assert addresses.canonical("::ffff:198.51.100.7") == "198.51.100.7"
    assert addresses.canonical("2001:db8::1") == "2001:db8::1"
    assert addresses.source(("2001:db8:1:2:3::4", 5)) == addresses.source(addresses.of_stream("2001:db8:1:2:ffff::1", 9)) == "2001:db8:1:2::"
    assert addresses.source(addresses.of_stream("::ffff:198.51.100.7", 9)) == addresses.source(("198.51.100.7", 5)) == "198.51.100.7"
    assert addresses.as_told("192.0.2.1, ::ffff:192.0.2.1,2001:DB8::1") == ("192.0.2.1", "2001:db8::1")
    with pytest.raises(ValueError, match="separated by commas"):
        addresses.as_told("meet.example.org")


def test_every_address_is_a_candidate_over_udp_first_and_over_tcp_when_it_is_on() -> None:
    lines = list(Listening(("192.0.2.1", "2001:db8::1"), 40000, tcp=True).lines())

    words = [line.removeprefix("a=candidate:").split(" ") for line in lines]
    assert [(word[2], word[4], word[5]) for word in words] == [
        ("udp", "192.0.2.1", "40000"),
        ("udp", "2001:db8::1", "40000"),
        ("tcp", "192.0.2.1", "40000"),
        ("tcp", "2001:db8::1", "40000"),
    ]
    assert [int(word[3]) for word in words] == sorted({int(word[3]) for word in words}, reverse=True)
    assert len({word[0] for word in words}) == 4
    assert lines[2].endswith(" typ host tcptype passive")


def test_a_tcp_address_is_never_the_udp_address_with_its_numbers_but_shows_the_same() -> None:
    over_tcp = addresses.of_stream("::ffff:198.51.100.7", 4000)

    assert over_tcp != ("198.51.100.7", 4000)
    assert addresses.shown(over_tcp) == ("198.51.100.7", 4000)
    assert not addresses.is_udp(over_tcp)
