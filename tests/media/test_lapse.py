"""A worker whose permission lapsed and came back: nothing that waited meanwhile passes, by UDP or TCP, in or out; and a machine that slept."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from calls.media import addresses, clock
from calls.media.edge import Edge
from calls.media.native import build
from calls.media.streams import Streams

from .peers import PATIENCE
from .test_a_network import Opened, over_tcp, raw, until
from .test_peer import Pair, rtp

FOREVER = 3600.0  # seconds
STUN = b"\x00\x01" + bytes(18)
Connected = Callable[[Edge], Awaitable[Pair]]


@pytest_asyncio.fixture(params=["python", "native"])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    assert build.ensure() == ""
    edges: list[Edge] = []

    async def bind(host: str = "127.0.0.1", **more: Any) -> Edge:
        edges.append(await Edge.bind(host, form=request.param, **more))
        return edges[-1]

    yield bind
    for edge in edges:
        await edge.close()


async def over_udp(edge: Edge) -> Pair:
    pair = Pair(edge)
    assert await pair.connect() == "connected"
    return pair


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The machine sleeps for so long: the clock that counts it goes on, the other one does not."""
    real, slept = time.clock_gettime, [0.0]
    monkeypatch.setattr(time, "clock_gettime", lambda which: real(which) + (slept[0] if which == time.CLOCK_BOOTTIME else 0.0))

    def sleeps(seconds: float) -> None:
        slept[0] += seconds

    return sleeps


@pytest.mark.parametrize("connected", [over_udp, over_tcp])
async def test_what_came_while_nothing_might_pass_does_not_pass_afterwards(opened: Opened, connected: Connected) -> None:
    edge = await opened()
    pair = await connected(edge)
    edge.allow(clock.now() - 1)
    pair.client.send(rtp(5, 1))  # nobody reads it before the next word

    edge.allow(clock.now() + FOREVER)
    pair.client.send(rtp(5, 2))
    await until(lambda: pair.rtp)

    assert pair.rtp == [rtp(5, 2)]
    await until(lambda: edge.counters["fenced"] >= 1)
    await pair.close()


async def test_what_a_slow_client_has_not_taken_over_tcp_never_reaches_it_once_nothing_may_pass(opened: Opened) -> None:
    """Its connection ends, because the kernel holds some of it; what the client had received before is its own."""
    edge = await opened()
    pair = await over_tcp(edge)
    edge.allow(clock.now() + FOREVER)
    framed = pair.client.transport
    framed.transport.pause_reading()
    pair.client.checking = False
    assert pair.link.address is not None
    sent = 0
    while not edge.counters["send-full"]:
        edge.path.send_rtp(pair.link, rtp(9, sent) + bytes(1100))
        sent += 1
        await asyncio.sleep(0)
    heard: list[int] = []
    framed.client.datagram_received = lambda data, address: heard.append(int.from_bytes(data[2:4])) if 128 <= data[0] <= 191 else None

    edge.allow(clock.now() - 1)
    edge.allow(clock.now() + FOREVER)
    assert edge.counters["tcp-fenced"] == 1
    framed.transport.resume_reading()
    await asyncio.wait_for(framed.ended.wait(), PATIENCE)

    assert sent > 50
    assert len(heard) < sent - 20
    assert len(edge.streams) == 0
    await pair.close()


async def test_frames_that_waited_are_left_out_of_the_stream_and_the_next_one_is_found() -> None:
    """A frame that was half sent goes on without what was in it. What is no media is sent all the same."""
    fenced, counters = [False], Counter[str]()
    clients: list[tuple[str, int]] = []
    streams = Streams(counters, lambda data, address: clients.append(address), lambda address: None, lambda: fenced[0])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await streams.listen(socket.AF_INET, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2048)
    writer.write(len(STUN).to_bytes(2) + STUN)
    await until(lambda: clients)
    streams.prove(clients[0])
    assert not addresses.is_udp(clients[0])
    media = [rtp(9, number) + b"\xee" * 1100 for number in range(2000)]
    sent = 0
    while streams.send(media[sent], clients[0]):
        sent += 1
        await asyncio.sleep(0)

    fenced[0] = True
    frames: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while STUN not in frames:
            if counters["fenced"]:
                streams.send(STUN, clients[0])
            frames.append(await reader.readexactly(int.from_bytes(await reader.readexactly(2))))

    kinds = [frame for frame in frames if frame != STUN]
    whole = [frame for frame in kinds if frame in media]
    assert 0 < len(whole) < sent
    assert whole == media[: len(whole)]
    broken = kinds[len(whole) :]
    assert len(broken) <= 1
    assert all(frame.endswith(bytes(100)) for frame in broken)
    assert counters["fenced"] >= sent - len(whole) > 0
    writer.close()
    streams.close()


async def test_a_machine_that_slept_for_longer_than_its_lease_passes_nothing_on(opened: Opened, sleep: Callable[[float], None]) -> None:
    """A test cannot move the clock that the form in C reads, so it is shut by the first turn of the loop here."""
    edge = await opened()
    pair = await over_udp(edge)
    edge.allow(clock.now() + FOREVER)
    pair.client.send(rtp(5, 1))
    await until(lambda: pair.rtp)

    sleep(FOREVER + 1)
    edge._poll_path()
    pair.client.send(rtp(5, 2))
    await until(lambda: edge.counters["fenced"])

    assert pair.rtp == [rtp(5, 1)]
    edge.allow(clock.now() + FOREVER)
    pair.client.send(rtp(5, 3))
    await until(lambda: len(pair.rtp) == 2)
    assert pair.rtp[1] == rtp(5, 3)
    await pair.close()


async def test_an_address_whose_interface_has_gone_ends_nothing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the path has read for the edge may come from an interface that is not there any more; the rest is taken up in the next turn."""
    edge = await opened()
    taken: list[str] = []

    def woken() -> None:
        taken.append("")
        if len(taken) == 1:
            raise OSError("no such device or address")

    monkeypatch.setattr(edge.path, "woken", woken)
    edge._woken()
    await until(lambda: len(taken) > 1)

    assert edge.counters["socket-error"] == 1
    _, writer = await raw(edge)
    writer.close()
