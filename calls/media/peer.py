"""The only door to aiortc and aioice; to pylibsrtp beside `srtp`.

A `Link` is the server's end of one peer connection: ICE-lite credentials, DTLS as server, SRTP. It has no receiver and no
decoder (D10). Private names of aiortc used here, and held by one contract test: `_rx_srtp`, `_tx_srtp`, `_set_role`,
`_create_ssl_context`, `_recv_next`, `_ssl`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import count
from typing import Any, Protocol, cast

import pylibsrtp
from aioice import stun
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AEAD_AES_256_GCM,
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
)
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
    unpack_remb_fci,
)
from aiortc.utils import uint16_gt
from OpenSSL import SSL

from . import faults
from .budgets import Bucket
from .path import Address, Event, Masters, MediaPath

__all__ = [
    "AEAD_PROFILES",
    "KNOWN_MASTERS",
    "RTCP_PSFB_APP",
    "RTCP_PSFB_FIR",
    "RTCP_PSFB_PLI",
    "RTCP_RTPFB_NACK",
    "Address",
    "AnyRtcpPacket",
    "Carrier",
    "Certificate",
    "Link",
    "NackGenerator",
    "RtcpByePacket",
    "RtcpPsfbPacket",
    "RtcpReceiverInfo",
    "RtcpRrPacket",
    "RtcpRtpfbPacket",
    "RtcpSdesPacket",
    "RtcpSenderInfo",
    "RtcpSourceInfo",
    "RtcpSrPacket",
    "RtpPacket",
    "authentic_stun",
    "known_session",
    "pack_remb_fci",
    "parse_rtcp",
    "stun",
    "uint16_gt",
    "unpack_remb_fci",
]

AEAD_PROFILES = [SRTP_AEAD_AES_256_GCM, SRTP_AEAD_AES_128_GCM]
AEAD_SUITES = b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305"
MOST_HANDSHAKE_DATAGRAMS = 64
MOST_HELD_BACK = 8
HANDSHAKE_SECONDS = 15.0  # from the first address that answered
SECRET_RATE, SECRET_BURST = 20.0, 60.0  # DTLS datagrams a second once the handshake is over: only repeats and the goodbye are left

_numbers = count(1)


class Certificate(RTCCertificate):
    """One per worker process, in memory only; AEAD suites and SRTP profiles whatever the library would also offer.

    All connections share one context of OpenSSL, which is ready before the first of them and keeps no session of theirs.
    """

    def __init__(self, key: Any, cert: Any) -> None:
        super().__init__(key, cert)
        self._contexts: dict[tuple[bytes, ...], SSL.Context] = {}
        self._create_ssl_context(AEAD_PROFILES)

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        allowed = [profile for profile in AEAD_PROFILES if profile in srtp_profiles]
        names = tuple(profile.openssl_profile for profile in allowed)
        if names not in self._contexts:
            context = self._contexts[names] = super()._create_ssl_context(allowed)
            context.set_cipher_list(AEAD_SUITES)
            context.set_options(SSL.OP_NO_RENEGOTIATION)
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return self._contexts[names]


class Dtls(RTCDtlsTransport):
    """Takes out what a datagram brings beyond its first record: the library reads one, and the rest would be kept for ever."""

    async def _recv_next(self) -> None:
        await super()._recv_next()
        while self.encrypted and self._ssl is not None:
            try:
                self._ssl.recv(1500)
            except SSL.ZeroReturnError:
                raise ConnectionError from None
            except SSL.Error:
                return


def parse_rtcp(raw: bytes) -> list[AnyRtcpPacket]:
    """Every packet of a compound (RFC 3550 section 6). Raises ValueError, and nothing else, on malformed input."""
    try:
        return RtcpPacket.parse(raw)
    except Exception as fault:
        raise ValueError("malformed RTCP") from fault


def authentic_stun(raw: bytes, key: str) -> stun.Message:
    """A STUN message whose MESSAGE-INTEGRITY was made with `key` (RFC 8489 section 14.5).

    Raises ValueError("malformed") or ValueError("forged"), and nothing else.
    """
    try:
        message = stun.parse_message(raw)
        genuine = message.check_message_integrity(key.encode())
    except Exception as fault:
        raise ValueError("malformed") from fault
    if not genuine:
        raise ValueError("forged")
    return message


KNOWN_MASTERS = (bytes(range(28)), bytes(range(44)))  # with their salts, of AES-128-GCM and of AES-256-GCM


def known_session(*, receiving: bool, master: bytes = KNOWN_MASTERS[0]) -> pylibsrtp.Session:
    """A session under a fixed key, for packets whose sealed form is known beforehand."""
    kind = pylibsrtp.Policy.SSRC_ANY_INBOUND if receiving else pylibsrtp.Policy.SSRC_ANY_OUTBOUND
    profile = next(one for one in AEAD_PROFILES if one.key_length + one.salt_length == len(master))
    return pylibsrtp.Session(pylibsrtp.Policy(master, kind, 0, profile.libsrtp_profile))


class Carrier(Protocol):
    """What a link needs from the socket: `edge.Edge`."""

    counters: Counter[str]
    certificate: Certificate
    clock: Callable[[], float]
    path: MediaPath
    handshakes: asyncio.Semaphore

    def send(self, data: bytes, address: Address) -> bool:
        """Send one datagram; False when the socket is full."""

    def listen(self, ufrag: str, link: Link) -> None:
        """From now on checks for `ufrag` belong to `link`."""

    def retire(self, ufrag: str) -> None:
        """Checks for `ufrag` belong to nobody."""

    def forget(self, link: Link) -> None:
        """Drop every address and credential of `link`."""


class Link:
    """The server's end of one peer connection, over the worker's one socket.

    States, told through `on_state`: `connecting`, `connected`, then `failed` or `closed`. `on_event` is told what the packet path
    found. `number` names it there and is never used again.
    """

    role = "controlled"

    def __init__(
        self,
        carrier: Carrier,
        on_event: Callable[[Event], None],
        on_state: Callable[[str], None],
    ) -> None:
        self._carrier, self.on_event, self._on_state = carrier, on_event, on_state
        self.number = next(_numbers)
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_HANDSHAKE_DATAGRAMS)
        self._held: deque[bytes] = deque(maxlen=MOST_HELD_BACK)
        self._credentials: dict[str, str] = {}
        self._used_ssrcs: set[int] = set()
        self._handshake: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.session = secrets.randbits(62)
        self.address: Address | None = None
        self.remote: tuple[str, str] | None = None
        self.answered_at = carrier.clock()  # whoever media go to, or the beginning: how fresh consent is (RFC 7675)
        self.closed = False
        self.ufrag = self.pwd = ""
        self._reached = asyncio.Event()
        self._secrets = Bucket(SECRET_RATE, SECRET_BURST, carrier.clock())
        self.rtcp_ssrc = self.fresh_ssrc()
        self.restart()
        self._dtls = Dtls(cast(RTCIceTransport, self), [carrier.certificate])
        self._dtls._set_role("server")
        self._dtls.on("statechange", self._changed)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 fingerprint of the certificate, as SDP writes it (RFC 8122)."""
        return next(f.value for f in self._dtls.getLocalParameters().fingerprints if f.algorithm == "sha-256")

    @property
    def sessions(self) -> tuple[Any, Any]:
        """The SRTP sessions, receiving and sending; None before the handshake is over."""
        return self._dtls._rx_srtp, self._dtls._tx_srtp

    @property
    def masters(self) -> Masters:
        """What the sessions were made with: master keys and salts, exported from DTLS as aiortc does (RFC 5764 section 4.2)."""
        tls = self._dtls._ssl
        chosen = tls.get_selected_srtp_profile() if tls is not None else b""
        for profile in AEAD_PROFILES:
            if profile.openssl_profile == chosen and tls is not None:
                material = tls.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (profile.key_length + profile.salt_length))
                return profile.get_key_and_salt(material, 0), profile.get_key_and_salt(material, 1)
        return None, None

    @property
    def state(self) -> str:
        """`new`, `connecting`, `connected`, `failed` or `closed`."""
        if self.closed:
            return "closed"
        return "connecting" if self._handshake is not None and self._dtls.state == "new" else self._dtls.state

    def restart(self) -> None:
        """ICE restart (RFC 8445 section 9): fresh credentials on the same DTLS session.

        The credentials in use stay valid until a check with the new ones passed; others of before are void.
        """
        for ufrag in [known for known in self._credentials if known != self.in_use]:
            self._carrier.retire(ufrag)
            del self._credentials[ufrag]
        self.ufrag, self.pwd = secrets.token_hex(4), secrets.token_hex(16)
        self._credentials[self.ufrag] = self.pwd
        self._carrier.listen(self.ufrag, self)

    @property
    def in_use(self) -> str:
        """The fragment of the credentials in use."""
        return next(iter(self._credentials), "")

    def password(self, ufrag: str) -> str:
        """The password that belongs to one of this link's own fragments."""
        return self._credentials[ufrag]

    def checked(self, ufrag: str) -> None:
        """A valid check with `ufrag` came in: what was valid before that fragment is void."""
        while self.in_use != ufrag and ufrag in self._credentials:
            old = self.in_use
            self._carrier.retire(old)
            del self._credentials[old]

    def move(self, address: Address | None) -> None:
        """Send to `address` from now on (None: nowhere); what the handshake held back goes first."""
        self.address = address
        self._carrier.path.move(self, address)
        if address is not None:
            self._reached.set()
        while self._held and address is not None:
            self._carrier.send(self._held.popleft(), address)

    def start(self, fingerprints: Iterable[tuple[str, str]]) -> None:
        """Wait for the other side's handshake; only a certificate with these (algorithm, value) fingerprints is accepted."""
        if self._handshake is None and not self.closed:
            parameters = RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint(name, value) for name, value in fingerprints])
            self._handshake = asyncio.get_running_loop().create_task(self._shake(parameters))

    async def _shake(self, parameters: RTCDtlsParameters) -> None:
        await self._reached.wait()
        self._carrier.counters["dtls-waited"] += self._carrier.handshakes.locked()
        try:
            async with self._carrier.handshakes, asyncio.timeout(HANDSHAKE_SECONDS):
                await self._dtls.start(parameters)
        except TimeoutError:
            self._carrier.counters["dtls-late"] += 1
            self._end("failed")
        except Exception as error:
            self._carrier.counters["dtls-broken"] += 1
            faults.record(error, "a connection ended in its handshake")
            self._end("failed")

    def _changed(self) -> None:
        if self.closed:
            return
        state = self._dtls.state
        if state in ("failed", "closed"):
            self._end(state)
        else:
            if state == "connected":
                self._carrier.path.attach(self)
            self._on_state(state)

    def _end(self, state: str) -> None:
        if not self.closed:
            self.close()
            self._on_state(state)

    def expire(self) -> None:
        """Consent to send has lapsed: nothing more goes out, not even a farewell; told as `closed`."""
        self.move(None)
        self._end("closed")

    def close(self) -> None:
        """Say goodbye and stop; `wait_closed` waits for it. Nothing is told through `on_state`."""
        if self.closed:
            return
        self.closed = True
        self._carrier.path.detach(self)
        self._carrier.forget(self)
        self._held.clear()
        self._stopping = asyncio.get_running_loop().create_task(self._stop())

    async def _stop(self) -> None:
        while self._handshake is not None and not self._handshake.done():
            self._handshake.cancel()  # again, where a message came in the same moment: up to Python 3.11 `wait_for` then forgets the first
            await asyncio.wait([self._handshake], timeout=0.1)
        await self._dtls.stop()
        self.address = None
        del self._dtls  # it and this link hold each other: what OpenSSL keeps of a session goes now and not when garbage is collected

    async def wait_closed(self) -> None:
        """Return when everything that `close` began is done."""
        waiting: list[asyncio.Task[Any]] = [task for task in (self._stopping, self._handshake) if task is not None]
        await asyncio.gather(*waiting, return_exceptions=True)

    # What RTCDtlsTransport asks of the transport below it.
    async def _recv(self) -> bytes:
        data = await self._inbox.get()
        if data is None:
            raise ConnectionError
        return data

    async def _send(self, data: bytes) -> None:
        if self.address is not None:
            self._carrier.send(data, self.address)
        elif not self.closed:
            self._held.append(data)

    # The packet path: no task switch per packet.
    def feed(self, data: bytes) -> None:
        """One datagram from an address that was proven to be this link's; demultiplexed as RFC 7983 says."""
        first = data[0]
        if 127 < first < 192:
            self._carrier.path.take(self, data, int(self._carrier.clock() * 1_000_000))
        elif 19 < first < 64:
            if self._dtls.state == "connected" and not self._secrets.take(self._carrier.clock()):
                self._carrier.counters["dtls-over-rate"] += 1
                return
            try:
                self._inbox.put_nowait(data)
            except asyncio.QueueFull:
                self._carrier.counters["dtls-overflow"] += 1
        else:
            self._carrier.counters["not-media"] += 1

    def fresh_ssrc(self) -> int:
        """An SSRC that this link never sent with: SRTP must not see one twice under one key (RFC 7714 section 9)."""
        ssrc = secrets.randbelow(0xFFFFFFFF) + 1
        while ssrc in self._used_ssrcs:
            ssrc = secrets.randbelow(0xFFFFFFFF) + 1
        self._used_ssrcs.add(ssrc)
        return ssrc

    def retire(self, ssrc: int) -> None:
        """No packet will be sent with `ssrc` again: free what SRTP keeps for it."""
        if not self.closed:
            self._carrier.path.forget_ssrc(self, ssrc)
