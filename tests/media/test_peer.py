"""DTLS and SRTP: who is accepted, with what strength, and what is dropped unread."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import random
import weakref
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiortc import rtcdtlstransport
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from OpenSSL import SSL
from pylibsrtp import Policy, Session

from calls.media import forward
from calls.media.edge import Edge
from calls.media.path import Event, Layer, Shape
from calls.media.peer import AEAD_PROFILES, Certificate, Link, RtcpReceiverInfo, RtcpRrPacket
from calls.media.sink import Packet

from .peers import PATIENCE, Connection, Weather


class Tape:
    """A sink that keeps what it was given."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        self.raw.append(raw)

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        """Not looked at."""

    def closed(self, reason: str) -> None:
        """Not looked at."""


class Pair:
    """A link of a real edge and a client's connection to it."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.states: asyncio.Queue[str] = asyncio.Queue()
        self.events: list[Event] = []
        self.link: Link = edge.link(self.events.append, self.states.put_nowait)
        self.tape = Tape()
        self.open(1, 5)
        edge.path.tap(1, self.tape, 0)
        self.client = Connection(Weather(), lambda clear: None, lambda clear: None)

    def open(self, track: int, ssrc: int) -> None:
        """Declare one more track, as an offer would."""
        self.edge.path.open(track, self.link, Shape("video", "m", 0x60, None, {}, (Layer("", ssrc),)))

    @property
    def rtp(self) -> list[bytes]:
        return self.tape.raw

    async def connect(self, fingerprint: str | None = None) -> str:
        """Shake hands; returns the state that the link reached."""
        self.link.remote = (self.client.ufrag, self.client.pwd)
        self.link.start([("sha-256", fingerprint or self.client.fingerprint)])
        await self.client.bind()
        host, port = self.edge.hosts[0], self.edge.port
        lines = [f"a=candidate:1 1 udp 1 {host} {port} typ host", f"a=ice-ufrag:{self.link.ufrag}", f"a=ice-pwd:{self.link.pwd}"]
        self.client.learn("\r\n".join([*lines, f"a=fingerprint:sha-256 {self.link.fingerprint}"]))
        reached = await self.state("connected", "failed", "closed")
        async with asyncio.timeout(PATIENCE):
            while reached == "connected" and self.client.dtls.state != "connected":
                await asyncio.sleep(0.01)
        return reached

    async def state(self, *wanted: str) -> str:
        async with asyncio.timeout(PATIENCE):
            while (state := await self.states.get()) not in wanted:
                pass
        return state

    async def close(self) -> None:
        await self.client.close()


@pytest_asyncio.fixture
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    edge = await Edge.bind(kernel_filter=getattr(request, "param", True))
    made = Pair(edge)
    yield made
    await made.close()
    await edge.close()


def rtp(ssrc: int, number: int = 1) -> bytes:
    return b"\x80\x60" + number.to_bytes(2) + bytes(4) + ssrc.to_bytes(4) + b"payload"


def test_the_private_names_of_aiortc_that_we_use_are_what_we_think() -> None:
    source = inspect.getsource(RTCDtlsTransport)
    assert "self._rx_srtp: Session = None" in source
    assert "self._tx_srtp: Session = None" in source
    assert list(inspect.signature(RTCDtlsTransport._set_role).parameters) == ["self", "role"]
    assert list(inspect.signature(RTCCertificate._create_ssl_context).parameters) == ["self", "srtp_profiles"]
    assert "_create_ssl_context(" in inspect.getsource(RTCDtlsTransport.start)
    assert source.count("await self._recv_next()") == 2
    assert "self._ssl: Optional[SSL.Connection] = None" in source
    for name in ("_recv", "_send", "role"):
        assert f"transport.{name}" in source


def handshake(server: SSL.Connection, client: SSL.Connection) -> None:
    """Both sides in memory, until neither has more to say."""
    server.set_accept_state()
    client.set_connect_state()
    while True:
        said = 0
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                while datagram := one.bio_read(4096):
                    said += 1
                    other.bio_write(datagram)
        if not said:
            return


def test_connections_share_what_belongs_to_the_certificate_but_no_session_is_taken_up_again() -> None:
    """A second connection that offers the first one's session gets one of its own: its secret is another."""
    ours, theirs = Certificate.generateCertificate(), RTCCertificate.generateCertificate()
    profiles = [rtcdtlstransport.SRTP_AEAD_AES_128_GCM]
    contexts = [ours._create_ssl_context(profiles) for _ in range(2)]
    client_context = theirs._create_ssl_context(profiles)
    first, offered = (SSL.Connection(contexts[0]), SSL.Connection(client_context))
    handshake(first, offered)
    session = offered.get_session()
    assert session is not None

    second, again = SSL.Connection(contexts[1]), SSL.Connection(client_context)
    again.set_session(session)
    handshake(second, again)

    assert contexts[0] is contexts[1]
    assert second.master_key() == again.master_key()
    assert second.master_key() != first.master_key()


async def test_a_handshake_with_the_expected_certificate_gives_sealed_media_both_ways(pair: Pair) -> None:
    assert await pair.connect() == "connected"
    pair.client.send(rtp(5))
    async with asyncio.timeout(PATIENCE):
        while not pair.rtp:
            await asyncio.sleep(0.01)
    assert pair.rtp == [rtp(5)]
    assert pair.edge.path.send_rtp(pair.link, rtp(9))


async def test_a_certificate_that_the_sdp_did_not_name_is_refused(pair: Pair) -> None:
    assert await pair.connect(fingerprint=":".join(["00"] * 32)) == "failed"
    assert pair.link.closed
    assert not pair.edge.path.send_rtp(pair.link, rtp(9))


async def test_only_aead_profiles_are_agreed_to(pair: Pair) -> None:
    pair.client.dtls._srtp_profiles = [rtcdtlstransport.SRTP_AES128_CM_SHA1_80]
    assert await pair.connect() == "failed"


class OldSuites(RTCCertificate):
    """A client that knows nothing newer than CBC."""

    def _create_ssl_context(self, srtp_profiles: list[rtcdtlstransport.SRTPProtectionProfile]) -> SSL.Context:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA")
        return context


async def test_only_aead_suites_are_agreed_to(pair: Pair) -> None:
    pair.client.dtls = RTCDtlsTransport(pair.client, [OldSuites.generateCertificate()])  # type: ignore[arg-type]  # reason: as in peers
    pair.client.dtls._set_role("client")
    assert await pair.connect() == "failed"


def test_the_suites_are_the_three_with_authenticated_encryption() -> None:
    offered = SSL.Connection(Certificate.generateCertificate()._create_ssl_context(rtcdtlstransport.SRTP_PROFILES)).get_cipher_list()
    assert [name for name in offered if "GCM" not in name and "CHACHA20" not in name] == []


async def test_every_process_has_a_certificate_of_its_own() -> None:
    one, two = Edge(), Edge()
    links = [edge.link(lambda event: None, lambda state: None) for edge in (one, one, two)]
    prints = [link.fingerprint for link in links]
    assert prints[0] == prints[1] != prints[2]
    for link in links:
        link.close()
        await link.wait_closed()


@pytest.mark.parametrize("pair", [True, False], ids=["dropped by the kernel", "dropped by the edge"], indirect=True)
async def test_a_spray_of_hellos_from_elsewhere_during_the_handshake_breaks_nothing(pair: Pair) -> None:
    loop = asyncio.get_running_loop()
    spray, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(pair.edge.hosts[0], pair.edge.port))
    spraying = True
    chance = random.Random(3)

    async def go_on() -> None:
        while spraying:
            for _ in range(20):
                spray.sendto(bytes([22, 254, 253]) + chance.randbytes(90))
            await asyncio.sleep(0)

    task = asyncio.create_task(go_on())
    reached = await pair.connect()
    spraying = False
    await task
    spray.close()

    assert reached == "connected"
    in_kernel = pair.edge.kernel_filter is not None and pair.edge.kernel_filter.active
    assert (pair.edge.counters["stranger"] > 0) is not in_kernel
    assert pair.edge.counters["dtls-overflow"] == 0


async def test_the_keys_that_are_named_for_a_connection_are_those_its_client_seals_and_opens_with(pair: Pair) -> None:
    assert pair.link.masters == (None, None)
    await pair.connect()
    receiving, sending = pair.link.masters
    assert receiving is not None
    assert sending is not None
    profile = next(one for one in AEAD_PROFILES if one.key_length + one.salt_length == len(sending))
    sealing = Session(Policy(sending, Policy.SSRC_ANY_OUTBOUND, 0, profile.libsrtp_profile))
    opening = Session(Policy(receiving, Policy.SSRC_ANY_INBOUND, 0, profile.libsrtp_profile))

    assert pair.client.dtls._rx_srtp.unprotect(sealing.protect(rtp(5))) == rtp(5)
    assert opening.unprotect(pair.client.dtls._tx_srtp.protect(rtp(6))) == rtp(6)


async def test_forged_and_replayed_packets_are_counted_and_the_link_lives(pair: Pair) -> None:
    await pair.connect()
    session = pair.client.dtls._tx_srtp
    genuine = session.protect(rtp(5))
    chance = random.Random(4)
    for _ in range(500):
        pair.link.feed(genuine[:12] + chance.randbytes(40))
        pair.link.feed(bytes([0x80, 200]) + chance.randbytes(40))
    pair.link.feed(genuine)
    pair.link.feed(genuine)

    assert pair.rtp == [rtp(5)]
    assert pair.events == []
    assert pair.edge.counters["srtp-refused"] == 1001
    assert pair.link.state == "connected"


async def test_an_undeclared_ssrc_is_dropped_before_it_costs_anything(pair: Pair) -> None:
    await pair.connect()
    for ssrc in range(100, 1100):
        pair.link.feed(pair.client.dtls._tx_srtp.protect(rtp(ssrc)))
    assert (pair.rtp, pair.edge.counters["ssrc-undeclared"]) == ([], 1000)


async def test_the_number_of_senders_of_reports_is_bounded(pair: Pair) -> None:
    await pair.connect()
    for ssrc in range(100, 200):
        report = bytes(RtcpRrPacket(ssrc, [RtcpReceiverInfo(1, 0, 0, 0, 0, 0, 0)]))
        pair.link.feed(pair.client.dtls._tx_srtp.protect_rtcp(report))
    assert pair.edge.counters["ssrc-undeclared"] == 100 - forward.MOST_REPORTERS


async def test_the_number_of_senders_of_media_over_a_connections_life_is_bounded(pair: Pair) -> None:
    await pair.connect()
    for ssrc in range(100, 1100):
        pair.open(ssrc, ssrc)
        pair.link.feed(pair.client.dtls._tx_srtp.protect(rtp(ssrc)))
    assert sum(pair.edge.path.seen(ssrc).layers[0].packets for ssrc in range(100, 1100)) == forward.MOST_SENDERS


async def test_short_and_strange_datagrams_of_a_known_peer_are_counted(pair: Pair) -> None:
    await pair.connect()
    for data in (b"\x80", b"\x80\xc8\x00", b"\x40abc", b"\xff" * 30, b"\x80" * 1400):
        pair.link.feed(data)
    assert (pair.edge.counters["not-media"], pair.rtp) == (2, [])


async def test_a_packet_that_grew_too_long_to_seal_is_counted(pair: Pair) -> None:
    await pair.connect()
    pair.edge.path.send_rtcp(pair.link, bytes([0x80, 200]) + bytes(1600))
    async with asyncio.timeout(PATIENCE):
        while pair.edge.counters["srtp-unsent"] != 1:
            await asyncio.sleep(0.01)


async def test_the_clients_goodbye_closes_the_link_and_is_told(pair: Pair) -> None:
    await pair.connect()
    await pair.client.dtls.stop()
    assert await pair.state("closed") == "closed"
    assert pair.link.closed
    assert pair.link not in pair.edge._links


async def test_what_openssl_keeps_of_a_session_goes_with_its_link_and_waits_for_no_garbage_collection(pair: Pair) -> None:
    await pair.connect()
    session = weakref.ref(pair.link._dtls)
    gc.disable()
    try:
        await pair.close()
        async with asyncio.timeout(PATIENCE):
            while session() is not None:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_no_ssrc_is_used_twice_on_one_link() -> None:
    edge = Edge()
    link = edge.link(lambda event: None, lambda state: None)
    assert len({link.fresh_ssrc() for _ in range(2000)} | {link.rtcp_ssrc}) == 2001
    link.close()
    await link.wait_closed()
