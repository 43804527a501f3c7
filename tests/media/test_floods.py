"""Floods at the media port while somebody speaks: what was spoken arrives, and nothing that the worker keeps grows without a limit."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from calls.media.edge import STRANGER_BURST, Edge

from .peers import PATIENCE
from .test_peer import Pair, rtp

STUN = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
MALFORMED = [b"\x00", STUN[:19], b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(12) + b"\x00\x24\x00\x04", b"\x03" * 1500]
JUNK = [b"\x80\x60" + bytes(30), b"\x80\xc8" + bytes(30), b"\x16\xfe\xfd" + bytes(60), b"\xff" * 1400, b""]
SPOKEN = 50


@pytest_asyncio.fixture(params=[True, False], ids=["with the kernel filter", "without"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    edge = await Edge.bind(kernel_filter=request.param)
    made = Pair(edge)
    assert await made.connect() == "connected"
    yield made
    await made.close()
    await edge.close()


@pytest.mark.parametrize("flood", [[STUN], JUNK, MALFORMED], ids=["STUN", "junk", "malformed STUN"])
async def test_a_flood_from_a_stranger_takes_no_packet_from_a_call_and_leaves_no_line_in_the_log(
    pair: Pair, flood: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for number in range(1, SPOKEN + 1):
            for turn in range(20):
                stranger.sendto(flood[turn % len(flood)], (pair.edge.hosts[0], pair.edge.port))
            pair.client.send(rtp(5, number))
            async with asyncio.timeout(PATIENCE):
                while len(pair.rtp) < number:
                    await asyncio.sleep(0)

    assert pair.rtp == [rtp(5, number) for number in range(1, SPOKEN + 1)]
    assert len(pair.edge._budgets._buckets) <= 2
    assert len(pair.edge._by_address) == 1
    assert caplog.records == []
    if flood == [STUN]:
        assert pair.edge.counters["stun-budget"] > 0
        assert pair.edge.counters["stun-unknown"] >= STRANGER_BURST
