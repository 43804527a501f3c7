"""Floods at the media port, by strangers and by participants: what others say arrives, and nothing that the worker keeps grows without a limit."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import socket
import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pylibsrtp
import pytest
import pytest_asyncio

from calls.media import budgets, edge, forward, peer
from calls.media.edge import NAMED_BURST, STRANGER_BURST, Edge
from calls.media.forward.allowance import HELD_US, SHUT_US, Rate, Rates
from calls.media.peer import RTCP_RTPFB_NACK, RtcpRtpfbPacket
from calls.media.room import Room
from tenants.errors import Refused
from tests.fuzz.engine import mutations
from tests.fuzz.targets import TARGETS

from . import plain
from .peers import PATIENCE, Peer, Stage
from .test_peer import Pair, rtp
from .wires import CLIENT, Clock, check, dry_edge, dry_link, prove

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


async def test_ten_handshakes_at_once_succeed_while_a_third_address_sprays_hellos_at_them() -> None:
    """By the edge alone, without the kernel filter: what a stranger sends reaches no handshake."""
    edge = await Edge.bind(kernel_filter=False)
    pairs = [Pair(edge) for _ in range(10)]
    chance = random.Random(17)
    spraying = asyncio.Event()

    async def spray() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as third:
            while not spraying.is_set():
                for _ in range(40):
                    third.sendto(bytes([22, 254, 253]) + chance.randbytes(chance.randrange(10, 200)), (edge.hosts[0], edge.port))
                await asyncio.sleep(0)

    task = asyncio.create_task(spray())
    reached = await asyncio.gather(*(pair.connect() for pair in pairs))
    spraying.set()
    await task

    assert reached == ["connected"] * 10
    assert edge.counters["stranger"] > 0
    for pair in pairs:
        await pair.close()
    await edge.close()


async def test_one_participant_at_twenty_times_its_rate_takes_no_packet_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Hana floods with her camera; every word of Gail's reaches Gus, and both are sent no more of Hana than her allowance."""
    caplog.set_level(logging.INFO)
    edge = await Edge.bind(rates=Rates(video=Rate(25, 100_000)))
    stage = Stage(edge, Room("call", edge))
    hana, gail, gus = (stage.join(name) for name in ("hana", "gail", "gus"))
    await hana.publish("cam")
    await gail.publish("mic")
    serial = await stage.flowing(gail, "mic", gus, hana)

    for spoken in range(serial, serial + 100):
        gail.send("mic", spoken)
        for extra in range(20):
            hana.send("cam", spoken * 20 + extra)
        await gus.until(lambda spoken=spoken: spoken in gus.serials("gail", "mic"))  # type: ignore[misc]  # reason: bound at once

    assert edge.counters["track-over-rate"] > 0
    assert len(gus.serials("hana", "cam")) < 2000
    assert {m["state"] for m in hana.said("state")} <= {"connecting", "connected"}
    assert caplog.records == []
    await stage.close()


def test_a_track_over_its_rate_is_shut_for_a_moment_and_the_other_tracks_of_its_publisher_are_not() -> None:
    path = plain.PlainPath(rates=Rates(video=Rate(100, 1_000_000)))
    path.open()
    path.open(track=2, layers=(plain.Layer("", 6),))
    first, second = path.listen(), path.listen(track=2)

    for number in range(300):
        path.take(plain.rtp(number, b"\x10\x00x"))
    path.take(plain.rtp(0, b"\x10\x00x", ssrc=6))
    held = HELD_US // 10_000
    assert [len(path.sent[end.number]) for end in (first, second)] == [held, 1]
    assert path.counters["track-over-rate"] == 300 - held

    path.clock.now += SHUT_US / 1_000_000
    path.take(plain.rtp(300, b"\x10\x00x"))
    assert len(path.sent[first.number]) == held + 1


def test_a_track_may_not_bring_more_octets_than_its_rate_either() -> None:
    path = plain.PlainPath(rates=Rates(audio=Rate(1000, 1000)))
    path.open("audio")
    listener = path.listen()
    for number in range(10):
        path.take(plain.rtp(number, bytes(488), payload_type=plain.AUDIO))
    assert len(path.sent[listener.number]) == 4


def test_a_listener_that_names_thousands_of_lost_packets_is_not_served_beyond_its_allowance() -> None:
    path = plain.PlainPath(rates=Rates(control=Rate(1_000, 10_000)))
    path.open()
    listener = path.listen()
    path.take(plain.rtp(1, b"\x10\x00x"))
    nack = bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, 7000, list(range(1000, 5000))))

    for _ in range(20):
        path.hear(listener, nack)
    path.clock.now += SHUT_US / 1_000_000
    path.hear(listener, bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, 7000, [1])))

    assert path.counters["control-over-rate"] == 20 - 1
    assert len(path.sent[listener.number]) == 2, "the packet, and once more"


def test_a_sender_that_srtp_keeps_is_counted_although_its_packet_was_over_the_rate() -> None:
    """Else somebody over the rate could make SRTP keep one more sender with each packet (F4)."""
    path = plain.PlainPath(rates=Rates(video=Rate(1_000, 1)))
    path.open(layers=(plain.Layer(""),))
    for ssrc in range(1, 400):
        path.clock.now += 2 * SHUT_US / 1_000_000
        path.take(plain.rtp(1, b"\x10\x00x", ssrc=ssrc, extensions={plain.IDS[plain.sdp.MID]: b"m"}))

    assert path.counters["track-over-rate"] == forward.MOST_SENDERS
    assert path.counters["ssrc-undeclared"] == 399 - forward.MOST_SENDERS


def test_checks_that_name_one_link_from_many_addresses_are_cut_off_before_they_are_authenticated() -> None:
    edge, _ = dry_edge(Clock())
    link, _ = dry_link(edge)
    forged = check(link, pwd="guess")
    for number in range(int(NAMED_BURST) + 300):
        edge.datagram_received(forged, (f"10.{number // 250}.{number % 250}.1", 9))
    assert (edge.counters["stun-forged"], edge.counters["stun-named-budget"]) == (NAMED_BURST, 300)


def test_a_proven_address_goes_on_while_strangers_use_up_what_its_link_may_be_asked() -> None:
    edge, wire = dry_edge(Clock())
    link, _ = dry_link(edge)
    prove(edge, wire, link, CLIENT)
    for number in range(int(NAMED_BURST) + 300):
        edge.datagram_received(check(link, pwd="guess"), (f"10.{number // 250}.{number % 250}.1", 9))
    before = len(wire.to(CLIENT))
    edge.datagram_received(check(link), CLIENT)
    assert len(wire.to(CLIENT)) == before + 1


def test_memory_stays_flat_while_addresses_and_ssrcs_that_nobody_proved_rotate() -> None:
    edge, wire = dry_edge(Clock())
    link, _ = dry_link(edge)
    prove(edge, wire, link, CLIENT)
    check_of, junk = check(link, pwd="guess"), b"\x80\x60" + bytes(6)

    def rotate(first: int, last: int) -> None:
        for number in range(first, last):
            stranger = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 9)
            edge.datagram_received(check_of, stranger)
            edge.datagram_received(junk + number.to_bytes(4) + bytes(20), stranger)
            edge.datagram_received(junk + number.to_bytes(4) + bytes(20), CLIENT)

    rotate(0, 2 * budgets.MOST_SOURCES)
    tracemalloc.start()
    rotate(2 * budgets.MOST_SOURCES, 3 * budgets.MOST_SOURCES)
    before, _ = tracemalloc.get_traced_memory()
    rotate(3 * budgets.MOST_SOURCES, 6 * budgets.MOST_SOURCES)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 64 * 1024
    assert len(edge._budgets._buckets) == budgets.MOST_SOURCES
    assert (len(edge._by_address), len(edge._asked), edge._links[link]) == (1, 0, {})


async def test_records_of_application_data_are_taken_out_and_kept_nowhere(pair: Pair) -> None:
    """Each datagram brings thirty; were they left where they are, the goodbye behind them would never be read."""
    secret = pair.client.dtls._ssl
    for _ in range(40):
        records = []
        for _ in range(30):
            secret.send(b"x")
            records.append(secret.bio_read(1500))
        pair.link.feed(b"".join(records))
        await asyncio.sleep(0)
    await pair.client.dtls.stop()

    assert await pair.state("closed") == "closed"


async def test_a_flood_of_dtls_after_the_handshake_is_dropped_and_the_link_lives(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    chance = random.Random(8)
    for number in range(2000):
        pair.link.feed(bytes([chance.randrange(20, 64), 254, 253]) + chance.randbytes(chance.randrange(1, 1400)))
        if number % 20 == 0:
            await asyncio.sleep(0)
    pair.client.send(rtp(5))
    async with asyncio.timeout(PATIENCE):
        while not pair.rtp:
            await asyncio.sleep(0)

    assert pair.edge.counters["dtls-over-rate"] > 1500
    assert (pair.link.state, caplog.records) == ("connected", [])


async def test_rubbish_in_a_participants_own_handshake_ends_that_alone_and_writes_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    edge = await Edge.bind()
    spoilt, whole = Pair(edge), Pair(edge)
    chance = random.Random(9)
    shaking = asyncio.create_task(spoilt.connect())
    async with asyncio.timeout(PATIENCE):
        while spoilt.link.address is None:
            await asyncio.sleep(0)
    for _ in range(200):
        spoilt.link.feed(bytes([chance.choice([20, 21, 22, 23, 63]), 254, 253]) + chance.randbytes(chance.randrange(1, 300)))
    await asyncio.sleep(0)

    assert await whole.connect() == "connected"
    assert await shaking in ("connected", "failed")
    assert caplog.records == []
    for pair in (spoilt, whole):
        await pair.close()
    await edge.close()


async def test_handshakes_wait_for_their_turn_and_one_that_never_comes_to_its_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gus proves his address and then says nothing: Gail's handshake waits for his to be given up, and succeeds."""
    monkeypatch.setattr(peer, "HANDSHAKE_SECONDS", 0.5)
    monkeypatch.setattr(edge, "MOST_HANDSHAKES", 1)
    port = await Edge.bind()
    gus, gail = Pair(port), Pair(port)
    gus.client._shake = lambda parameters: asyncio.sleep(0)  # type: ignore[assignment, method-assign]  # reason: he is silent
    silent = asyncio.create_task(gus.connect())
    async with asyncio.timeout(PATIENCE):
        while not port.handshakes.locked():
            await asyncio.sleep(0)

    assert await gail.connect() == "connected"
    assert await silent == "failed"
    assert (port.counters["dtls-late"], port.counters["dtls-waited"]) == (1, 1)
    for pair in (gus, gail):
        await pair.close()
    await port.close()


NAMED = {"stranger", "empty", "oversize", "stun-malformed", "stun-unknown", "stun-forged", "stun-budget", "stun-named-budget"}
NAMED |= {"rtp-malformed", "rtp-too-old", "rtp-repeated", "rtcp-malformed", "srtp-refused", "srtp-early", "ssrc-undeclared", "not-media"}
NAMED |= {"payload-type-undeclared", "track-over-rate", "control-over-rate", "dtls-over-rate", "dtls-overflow", "dtls-waited", "moved"}


def hostile(chance: random.Random, peer: Peer) -> Iterator[bytes]:
    """Datagrams of somebody who is in the call: sealed rubbish, forgeries, repetitions, padding, other SSRCs, broken control packets, STUN, DTLS."""
    session, whole = peer.pub.dtls._tx_srtp, list(itertools.islice(mutations(TARGETS["rtp"], TARGETS["rtp"].seeds(), "hostile"), 40))
    controls = mutations(TARGETS["rtcp"], TARGETS["rtcp"].seeds(), "hostile")
    for number in range(400):
        own = peer.sending["mic"].packet(number, b"" if number % 5 == 0 else b"\xfc" + chance.randbytes(20), number * 960)
        spoilt = bytearray(own)
        spoilt[chance.choice([0, 1, 12, 13, 14, 15, 16, 17, -1])] ^= 1 << chance.randrange(8)
        sealed = session.protect(own)
        yield from (sealed, sealed, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"\x80\x6f" + chance.randbytes(chance.randrange(60)))
        with contextlib.suppress(pylibsrtp.Error):
            yield session.protect(bytes(spoilt))
        with contextlib.suppress(pylibsrtp.Error):
            yield session.protect_rtcp(b"\x80\xc8" + next(controls)[3:1200])
        yield peer.pub.check()[: chance.randrange(1, 100)]
        yield bytes([chance.choice([0, 3, 20, 22, 23, 63, 64, 127, 200, 255])]) + chance.randbytes(chance.randrange(1, 1490))
        yield chance.choice(whole)[:1400] or b"\x80"


async def test_whatever_somebody_in_the_call_sends_is_dropped_by_name_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stage = await Stage.open()
    hana, gail, gus = (stage.join(name) for name in ("hana", "gail", "gus"))
    for speaker in (hana, gail):
        await speaker.publish("mic")
    serial = await stage.flowing(gail, "mic", gus, hana)
    chance = random.Random(21)

    for number, datagram in enumerate(hostile(chance, hana)):
        hana.pub.transport.sendto(datagram, hana.pub.server)
        if number % 40 == 0:
            gail.send("mic", serial)
            await gus.until(lambda spoken=serial: spoken in gus.serials("gail", "mic"))  # type: ignore[misc]  # reason: bound at once
            serial += 1
    for offered in (b"v=0".decode() * 200_000, "v=0\r\n" + "m=audio 9 x\r\n" * 900, "\x00", "v=0\r\na=ssrc:" + "9" * 30_000):
        with pytest.raises(Refused, match="sdp-"):
            hana.member.publish({"kind": "publish", "rev": 99, "sdp": offered, "tracks": []})

    assert {name for name, count in stage.edge.counters.items() if count} <= NAMED | {"resent"}
    assert stage.room.members.keys() == {"hana", "gail", "gus"}
    assert caplog.records == []
    await stage.close()
