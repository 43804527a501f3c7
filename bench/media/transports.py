"""A client's end of one peer connection, as the load needs it: joined with ICE and DTLS like anybody's, then handed to C."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM

from calls.media.client import Connection
from calls.media.peer import stun

PATIENCE = 20.0  # seconds until a transport that does not come up counts as failed


class Transport(Connection):
    """Every contender is asked for the same cipher, AES-128-GCM. `controlled`: the server nominates (RFC 8445 section 6.1.1).

    `deaf`: media that arrive are dropped unopened.
    """

    local_host = "127.0.0.1"

    def __init__(self, on_rtp: Callable[[bytes], None] = lambda clear: None, *, controlled: bool = False) -> None:
        super().__init__(on_rtp, lambda clear: None)
        self.dtls._srtp_profiles = [SRTP_AEAD_AES_128_GCM]
        self._controlled = controlled
        self.deaf = False

    def through(self, data: bytes) -> Sequence[bytes]:
        """What arrives: nothing of media for the deaf."""
        return () if self.deaf and data[0] > 127 else (data,)

    @property
    def sessions(self) -> tuple[Any, Any]:
        """SRTP, receiving and sending."""
        return self.dtls._rx_srtp, self.dtls._tx_srtp

    def candidate(self) -> str:
        """Our only address, as a description names it (RFC 8839)."""
        port = self.transport.get_extra_info("sockname")[1]
        return f"a=candidate:1 1 udp 2130706431 {self.local_host} {port} typ host"

    def learn(self, text: str) -> None:
        """As the base; who answered as the DTLS client is met by a server (RFC 5763 section 5)."""
        if "a=setup:active" in text:
            self.dtls._set_role("server")
        super().learn(text)

    def check(self, *, nominate: bool = True) -> bytes:
        if not self._controlled:
            return super().check(nominate=nominate)
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes["USERNAME"] = f"{self.remote[0]}:{self.ufrag}"
        message.attributes["PRIORITY"] = 1853824767  # of a peer-reflexive candidate (RFC 8445 section 5.1.2)
        message.attributes["ICE-CONTROLLED"] = 7
        message.add_message_integrity(self.remote[1].encode())
        return bytes(message)

    async def connected_in_time(self) -> None:
        """Return when DTLS stands. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while not self.connected:
                await asyncio.sleep(0.005)

    def take_socket(self) -> socket.socket:
        """The socket, away from this loop and towards the server alone; checks end with it."""
        for task in self.tasks:
            task.cancel()
        taken = socket.socket(fileno=socket.dup(self.transport.get_extra_info("socket").fileno()))
        self.transport.abort()
        if self.server is None:
            raise RuntimeError("a transport without a server")
        taken.connect(self.server)
        taken.setblocking(False)
        return taken
