"""Headless participants: they publish numbered packets and receive them through a real Edge and Room on loopback.

The client's end is the project's own headless client, whose messages go straight to the room. Loss and reordering are made by the
`Weather` between a peer and its socket, from a seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from calls.media import client, sdp
from calls.media.client import Sending
from calls.media.edge import Edge
from calls.media.peer import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    NackGenerator,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
    parse_rtcp,
)
from calls.media.room import Member, Room
from calls.media.sink import Packet

PATIENCE = 20.0  # a generous limit on an event, never a measurement
DESCRIPTOR = b"\x10"
BEFORE_THE_WRAP = 65500  # a first sequence number, so that every test passes the wrap


@dataclass
class Weather:
    """What happens to sealed media on its way, from a seed: lost, or swapped with the one behind it."""

    seed: int = 0
    loss: float = 0.0
    swap: float = 0.0
    _random: random.Random = field(init=False)
    _held: bytes | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def through(self, data: bytes) -> list[bytes]:
        """What arrives now. Only RTP suffers: control and handshakes pass."""
        if not 127 < data[0] < 192 or 192 <= data[1] <= 223:
            return [data]
        if self._random.random() < self.loss:
            return []
        if self._held is not None:
            held, self._held = self._held, None
            return [data, held]
        if self._random.random() < self.swap:
            self._held = data
            return []
        return [data]


class Connection(client.Connection):
    """The client's end of one peer connection, in a weather."""

    local_host = "127.0.0.1"

    def __init__(self, weather: Weather, on_rtp: Callable[[bytes], None], on_rtcp: Callable[[bytes], None]) -> None:
        super().__init__(on_rtp, on_rtcp)
        self.weather = weather

    def through(self, data: bytes) -> list[bytes]:
        return self.weather.through(data)


class Peer:
    """One participant, client side. `got[(participant, source)]` holds what arrived: serial number -> packet."""

    def __init__(self, room: Room, participant: str, role: str = "guest", weather: Weather | None = None) -> None:
        self.room, self.participant = room, participant
        self.weather = weather or Weather()
        self.messages: list[dict[str, Any]] = []
        self.sending: dict[str, Sending] = {}
        self.got: dict[tuple[str, str], dict[int, Packet]] = {}
        self.order: dict[tuple[str, str], list[int]] = {}
        self.places: dict[str, tuple[str, str]] = {}
        self.control: list[AnyRtcpPacket] = []
        self.publisher_control: list[AnyRtcpPacket] = []
        self.byes: list[int] = []
        self.ssrcs: dict[int, str] = {}
        self.media_ssrcs: dict[str, int] = {}
        self.nacks: dict[int, NackGenerator] = {}
        self.rev = 0
        self.answering = True
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.pub = Connection(self.weather, lambda clear: None, self._pub_rtcp)
        self.sub = Connection(self.weather, self._sub_rtp, self._sub_rtcp)
        self.member: Member = room.admit(participant, f"person-{participant}", participant.capitalize(), role, self.hear)

    # Waiting.
    async def until(self, true: Callable[[], bool]) -> None:
        """Return when `true()` holds; it is asked after everything that arrives. Raises TimeoutError after a generous limit."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                with contextlib.suppress(TimeoutError):
                    async with self._changed:
                        await asyncio.wait_for(self._changed.wait(), 0.05)

    def _note(self) -> None:
        async def wake() -> None:
            async with self._changed:
                self._changed.notify_all()

        self._spawn(wake())

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["kind"] == kind]

    # Signalling.
    def hear(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        if message["kind"] == "published":
            self.pub.learn(message["sdp"])
        elif message["kind"] == "offer" and self.answering:
            self._spawn(self.answer(message))
        self._note()

    async def answer(self, offer: dict[str, Any]) -> None:
        """Answer the server's offer, as a browser would."""
        if self.sub.transport is None:
            await self.sub.bind()
        self.sub.learn(offer["sdp"])
        self.places = {track["mid"]: (track["participant"], track["source"]) for track in offer["tracks"]}
        self.ssrcs |= client.ssrcs(offer["sdp"])
        self.media_ssrcs |= {mid: ssrc for ssrc, mid in reversed(client.ssrcs(offer["sdp"]).items())}
        if offer["rev"] == self.said("offer")[-1]["rev"]:
            self.member.subscribed({"kind": "subscribed", "rev": offer["rev"], "sdp": self.answer_text(offer["sdp"])})

    def answer_text(self, text: str) -> str:
        return client.answer(self.sub, text)

    def offer_text(self) -> str:
        """The offer for everything in `sending`."""
        return client.offer(self.pub, self.sending.values())

    def offer_message(self) -> dict[str, Any]:
        self.rev += 1
        tracks = [{"mid": s.mid, "source": s.source} for s in self.sending.values() if s.live]
        return {"kind": "publish", "rev": self.rev, "sdp": self.offer_text(), "tracks": tracks}

    async def publish(self, *sources: str, declared: bool = True) -> None:
        """Publish these sources beside those already live, and wait until media can flow."""
        if self.pub.transport is None:
            await self.pub.bind()
        for source in sources:
            mid = self.sending[source].mid if source in self.sending else str(len(self.sending))
            self.sending[source] = Sending(source, mid, secrets.randbelow(2**32 - 1) + 1, declared, number=BEFORE_THE_WRAP)
        self.member.publish(self.offer_message())
        await self.until(lambda: self.pub.dtls.state == "connected")
        await self.until(lambda: any(m["pc"] == "pub" and m["state"] == "connected" for m in self.said("state")))

    def unpublish(self, source: str) -> None:
        self.sending[source].live = False
        self.member.publish(self.offer_message())

    # Media out.
    def send(self, source: str, serial: int, *, key: bool | None = None, padding: bool = False, **extensions: bytes) -> int:
        """One packet that carries `serial`; returns its sequence number. Video is a key frame where one was asked for."""
        s = self.sending[source]
        number, s.number = s.number, (s.number + 1) & 0xFFFF
        key = s.key_wanted if key is None else key
        s.key_wanted = s.key_wanted and not key and not padding
        body = b"" if padding else (DESCRIPTOR + (b"\x00" if key else b"\x01") if s.kind == "video" else b"\xfc") + serial.to_bytes(4)
        raw = self.packet(source, number, body, serial)
        s.sent[number] = raw
        self.pub.send(raw)
        return number

    def packet(self, source: str, number: int, body: bytes, serial: int) -> bytes:
        return self.sending[source].packet(number, body, serial * 3000)

    def send_report(self, source: str, ntp: int, rtp: int) -> None:
        self.pub.send(bytes(RtcpSrPacket(self.sending[source].ssrc, RtcpSenderInfo(ntp, rtp, 1, 1))))

    def _pub_rtcp(self, clear: bytes) -> None:
        for packet in parse_rtcp(clear):
            self.publisher_control.append(packet)
            by_ssrc = {s.ssrc: s for s in self.sending.values()}
            if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_PLI:
                by_ssrc[packet.media_ssrc].key_wanted = True
            elif isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
                s = by_ssrc[packet.media_ssrc]
                for lost in packet.lost:
                    if lost & 0xFFFF in s.sent:
                        self.pub.send(s.sent[lost & 0xFFFF])
        self._note()

    # Media in.
    def _sub_rtp(self, clear: bytes) -> None:
        packet = Packet.parse(clear)
        place = self.places[packet.extensions[1].decode()]
        if packet.payload:
            serial = int.from_bytes(packet.payload[-4:])
            self.got.setdefault(place, {})[serial] = packet
            self.order.setdefault(place, []).append(serial)
        self._missed(packet)
        self._note()

    def _missed(self, packet: Packet) -> None:
        """Ask for what is missing; a repair fills the place of its original (RFC 4588)."""
        repair = packet.payload_type == sdp.REPAIR_PAYLOAD_TYPE
        ssrc = self.ssrc_of(*self.places[packet.extensions[1].decode()])
        nack = self.nacks.setdefault(ssrc, NackGenerator())
        nack.add(RtpPacket(sequence_number=int.from_bytes(packet.payload[:2]) if repair else packet.sequence_number))
        if nack.missing:
            self.nack(ssrc, sorted(nack.missing))

    def _sub_rtcp(self, clear: bytes) -> None:
        for packet in parse_rtcp(clear):
            self.control.append(packet)
            if isinstance(packet, RtcpByePacket):
                self.byes += packet.sources
        self._note()

    def nack(self, ssrc: int, numbers: list[int]) -> None:
        self.sub.send(bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, ssrc, numbers)))

    def ssrc_of(self, participant: str, source: str) -> int:
        mid = next(mid for mid, place in self.places.items() if place == (participant, source))
        return self.media_ssrcs[mid]

    def report_loss(self, ssrc: int, fraction: float) -> None:
        block = RtcpReceiverInfo(ssrc, int(fraction * 256), 0, 0, 0, 0, 0)
        self.sub.send(bytes(RtcpRrPacket(1, [block])))

    def ask_key_frame(self, ssrc: int) -> None:
        self.sub.send(bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, 1, ssrc)))

    def serials(self, participant: str, source: str) -> set[int]:
        return set(self.got.get((participant, source), {}))

    def reports(self) -> list[RtcpSrPacket]:
        return [packet for packet in self.control if isinstance(packet, RtcpSrPacket)]

    def names(self) -> set[bytes]:
        return {item[1] for packet in self.control if isinstance(packet, RtcpSdesPacket) for chunk in packet.chunks for item in chunk.items}

    def ceilings(self) -> list[RtcpPsfbPacket]:
        return [p for p in self.publisher_control if isinstance(p, RtcpPsfbPacket) and p.fmt == RTCP_PSFB_APP]

    async def close(self) -> None:
        await self.pub.close()
        await self.sub.close()
        for task in list(self._tasks):
            task.cancel()


class Stage:
    """An edge, a room on it, and whoever came."""

    def __init__(self, edge: Edge, room: Room) -> None:
        self.edge, self.room = edge, room
        self.peers: list[Peer] = []

    @classmethod
    async def open(cls) -> Stage:
        edge = await Edge.bind()
        return cls(edge, Room("call", edge))

    def join(self, participant: str, role: str = "guest", weather: Weather | None = None) -> Peer:
        peer = Peer(self.room, participant, role, weather)
        self.peers.append(peer)
        return peer

    async def flowing(self, sender: Peer, source: str, *listeners: Peer, serial: int = 0) -> int:
        """Send numbered packets until every listener has one that was sent after this call; returns the next serial."""
        first = serial
        for _ in range(int(PATIENCE / 0.02)):
            sender.send(source, serial)
            serial += 1
            await asyncio.sleep(0.02)
            if all(max(listener.serials(sender.participant, source), default=-1) >= first for listener in listeners):
                return serial
        raise TimeoutError(f"{source} of {sender.participant} did not arrive; {dict(self.edge.counters)}")

    async def close(self) -> None:
        for peer in self.peers:
            await peer.close()
        await self.room.close("ended")
        await self.edge.close()
