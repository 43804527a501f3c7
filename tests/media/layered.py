"""A headless participant whose camera comes in three layers, as a browser's simulcast does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from calls.media import sdp
from calls.media.client.description import EXTENSION_SHIFT, RID_ID
from calls.media.peer import RTCP_PSFB_PLI, RtcpPsfbPacket, parse_rtcp

from .peers import BEFORE_THE_WRAP, DESCRIPTOR, Peer

RIDS = "qhf"
EVERY = 0.02  # seconds between two pictures
SIZES = (300, 900, 2 * 1100)  # octets of a picture: 120, 360 and 880 kbit/s
SOURCE = "cam"


class Layered(Peer):
    """`layer_of(packet.payload)` says from which layer a packet comes."""

    def prepare(self) -> None:
        self.layer_ssrcs = {rid: 7_000_000 + index for index, rid in enumerate(RIDS)}
        self.numbers = dict.fromkeys(RIDS, BEFORE_THE_WRAP)
        self.keys_wanted = set(RIDS)
        self.serial = 0

    def offer_text(self) -> str:
        head, *sections = super().offer_text().split("m=")
        return "m=".join([head, *(self._with_layers(section) for section in sections)])

    def _with_layers(self, section: str) -> str:
        camera = self.sending.get(SOURCE)
        if camera is None or f"a=mid:{camera.mid}\r\n" not in section or not camera.live:
            return section
        more = [f"a=extmap:{RID_ID} {sdp.RID}", *(f"a=rid:{rid} send" for rid in RIDS), f"a=simulcast:send {';'.join(RIDS)}"]
        return section + "\r\n".join(more) + "\r\n"

    async def publish(self, *sources: str, declared: bool = False) -> None:
        if not hasattr(self, "numbers"):
            self.prepare()
        await super().publish(*sources, declared=declared)

    @asynccontextmanager
    async def filming(self) -> AsyncIterator[None]:
        """Meanwhile pictures are sent in all layers."""
        task = asyncio.create_task(self._film())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _film(self) -> None:
        while True:
            self.serial += 1
            for index, rid in enumerate(RIDS):
                for packet in self._picture(index, rid):
                    self.pub.send(packet)
            await asyncio.sleep(EVERY)

    def _picture(self, index: int, rid: str) -> Iterator[bytes]:
        key = rid in self.keys_wanted
        self.keys_wanted.discard(rid)
        sizes = [min(1100, SIZES[index] - start) for start in range(0, SIZES[index], 1100)]
        for place, size in enumerate(sizes):
            number, self.numbers[rid] = self.numbers[rid], (self.numbers[rid] + 1) & 0xFFFF
            first = DESCRIPTOR if place == 0 else b"\x00"
            body = first + (b"\x00" if key else b"\x01") + bytes([index]) * (size - 6) + self.serial.to_bytes(4)
            yield self._rid_packet(number, rid, body, place == len(sizes) - 1)

    def _rid_packet(self, number: int, rid: str, body: bytes, marker: bool) -> bytes:
        camera = self.sending[SOURCE]
        mid_id = sdp.EXTENSIONS["video"][sdp.MID] + EXTENSION_SHIFT
        mid = camera.mid.encode()
        block = bytes([mid_id << 4 | len(mid) - 1]) + mid + bytes([RID_ID << 4]) + rid.encode()
        block += bytes(-len(block) % 4)
        head = bytes([0x90, marker << 7 | camera.payload_type]) + number.to_bytes(2) + (self.serial * 1800 % 2**32).to_bytes(4)
        return head + self.layer_ssrcs[rid].to_bytes(4) + b"\xbe\xde" + (len(block) // 4).to_bytes(2) + block + body

    def _pub_rtcp(self, clear: bytes) -> None:
        for packet in parse_rtcp(clear):
            self.publisher_control.append(packet)
            if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_PLI:
                self.keys_wanted |= {rid for rid, ssrc in self.layer_ssrcs.items() if ssrc == packet.media_ssrc}
        self._note()


def layer_of(payload: bytes) -> int:
    """Which layer a packet of `Layered` belongs to."""
    return payload[2]
