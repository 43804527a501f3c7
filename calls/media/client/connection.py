"""A participant's end of one peer connection: a full ICE agent's checks over one UDP socket, DTLS as client, SRTP by aiortc's transport."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pylibsrtp
from aioice import stun
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

Address = tuple[str, int]

CHECK_SECONDS = 0.02  # between two checks until one is answered; then ten times as long
PRIORITY = 1853824767  # of a peer-reflexive candidate (RFC 8445 section 5.1.2)


@cache
def certificate() -> RTCCertificate:
    """One for all connections of this process."""
    return RTCCertificate.generateCertificate()


class Connection(asyncio.DatagramProtocol):
    """Sends and receives clear RTP and RTCP. `checked` is set once the server has answered a check."""

    role = "controlling"
    local_host = "0.0.0.0"

    def __init__(self, on_rtp: Callable[[bytes], None], on_rtcp: Callable[[bytes], None]) -> None:
        self._on_rtp, self._on_rtcp = on_rtp, on_rtcp
        self.certificate = certificate()
        self.transport: Any = None
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.server: Address | None = None
        self.remote = ("", "")
        self.checked = asyncio.Event()
        self.checking = True
        self.answering = True
        self.tasks: list[asyncio.Task[None]] = []
        self.counters: Counter[str] = Counter()
        self.fresh_credentials()
        self.dtls = RTCDtlsTransport(self, [self.certificate])  # type: ignore[arg-type]  # reason: it asks for these three names only
        self.dtls._set_role("client")

    def fresh_credentials(self) -> None:
        self.ufrag, self.pwd = secrets.token_hex(2), secrets.token_hex(12)

    @property
    def fingerprint(self) -> str:
        return next(f.value for f in self.dtls.getLocalParameters().fingerprints if f.algorithm == "sha-256")

    @property
    def connected(self) -> bool:
        """Can media flow?"""
        return bool(self.dtls.state == "connected")

    def through(self, data: bytes) -> Sequence[bytes]:
        """What arrives, or leaves, when `data` does: a test puts its weather here."""
        return [data]

    async def bind(self) -> None:
        """A new socket; the old one, if any, is closed: the client moved to another network."""
        if self.transport is not None:
            self.transport.close()
        self.checked.clear()
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.local_host, 0))

    def learn(self, text: str) -> None:
        """Take the server's description."""
        find = {line.split(":")[0]: line.partition(":")[2] for line in text.split("\r\n") if line.startswith("a=")}
        words = next(line for line in text.split("\r\n") if line.startswith("a=candidate:") and " udp " in line).split(" ")
        self.server = (words[4], int(words[5]))
        remote = (find["a=ice-ufrag"], find["a=ice-pwd"])
        if remote != self.remote:
            self.remote = remote
            self.checked.clear()
        if not self.tasks:
            algorithm, value = find["a=fingerprint"].split(" ")
            parameters = RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint(algorithm, value)])
            self.tasks = [asyncio.create_task(self._check()), asyncio.create_task(self._shake(parameters))]

    def check(self, *, nominate: bool = True) -> bytes:
        """One connectivity check (RFC 8445 section 7.2.2)."""
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes["USERNAME"] = f"{self.remote[0]}:{self.ufrag}"
        message.attributes["PRIORITY"] = PRIORITY
        message.attributes["ICE-CONTROLLING"] = 7
        if nominate:
            message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity(self.remote[1].encode())
        return bytes(message)

    async def _check(self) -> None:
        while True:
            if self.checking and self.server is not None and not self.transport.is_closing():
                self.transport.sendto(self.check(), self.server)
            await asyncio.sleep(CHECK_SECONDS if not self.checked.is_set() else 10 * CHECK_SECONDS)

    async def _shake(self, parameters: RTCDtlsParameters) -> None:
        await self.checked.wait()
        await self.dtls.start(parameters)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if data[0] < 4:
            self._stun(data, addr)
            return
        for arriving in self.through(data):
            self._media(arriving)

    def _stun(self, data: bytes, addr: Address) -> None:
        message = stun.parse_message(data)
        if message.message_class == stun.Class.RESPONSE:
            if message.check_message_integrity(self.remote[1].encode()):
                self.checked.set()
        elif self.answering and message.check_message_integrity(self.pwd.encode()):
            self.counters["asked"] += 1
            reply = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=message.transaction_id)
            reply.attributes["XOR-MAPPED-ADDRESS"] = addr
            reply.add_message_integrity(self.pwd.encode())
            self.transport.sendto(bytes(reply), addr)

    def _media(self, data: bytes) -> None:
        if data[0] < 64:
            self.inbox.put_nowait(data)
            return
        session = self.dtls._rx_srtp
        if session is None:
            return
        control = is_control(data)
        try:
            clear = session.unprotect_rtcp(data) if control else session.unprotect(data)
        except pylibsrtp.Error:
            self.counters["refused"] += 1  # what was sent again came twice
            return
        (self._on_rtcp if control else self._on_rtp)(clear)

    async def _recv(self) -> bytes:
        return await self.inbox.get()

    async def _send(self, data: bytes) -> None:
        if self.server is not None and not self.transport.is_closing():
            self.transport.sendto(data, self.server)

    def send(self, clear: bytes) -> None:
        """Seal and send RTP or RTCP."""
        session: Any = self.dtls._tx_srtp
        sealed = session.protect_rtcp(clear) if is_control(clear) else session.protect(clear)
        for leaving in self.through(sealed):
            self.transport.sendto(leaving, self.server)

    async def close(self) -> None:
        """Say goodbye and let the socket go."""
        while waiting := [task for task in self.tasks if not task.done()]:
            for task in waiting:
                task.cancel()  # again, where a message came in the same moment: up to Python 3.11 `wait_for` then forgets the first
            await asyncio.wait(waiting, timeout=0.1)
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.transport is not None:
            await self.dtls.stop()
            self.transport.close()


def is_control(data: bytes) -> bool:
    """RTCP rather than RTP, where both come by one port (RFC 5761 section 4)."""
    return 192 <= data[1] <= 223
