"""Headless participants: they publish numbered packets and receive them through a real Edge and Room on loopback.

The client's end is aiortc's DTLS transport over one UDP socket per connection, with the checks of a full ICE agent. Loss and
reordering are made by the `Weather` between a peer and its socket, from a seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aioice import stun
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from calls.media import sdp
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
CHECK_SECONDS = 0.02
CERTIFICATE = RTCCertificate.generateCertificate()
DESCRIPTOR = b"\x10"


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


class Connection(asyncio.DatagramProtocol):
    """The client's end of one peer connection."""

    role = "controlling"

    def __init__(self, weather: Weather, on_rtp: Callable[[bytes], None], on_rtcp: Callable[[bytes], None]) -> None:
        self.weather, self._on_rtp, self._on_rtcp = weather, on_rtp, on_rtcp
        self.certificate = CERTIFICATE
        self.transport: Any = None
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.server: tuple[str, int] | None = None
        self.remote: tuple[str, str] = ("", "")
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

    async def bind(self) -> None:
        """A new socket; the old one, if any, is closed: the client moved to another network."""
        if self.transport is not None:
            self.transport.close()
        self.checked.clear()
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))

    def learn(self, text: str) -> None:
        """Take the server's description."""
        find = {line.split(":")[0]: line.partition(":")[2] for line in text.split("\r\n") if line.startswith("a=")}
        words = find["a=candidate"].split(" ")
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
        message.attributes["PRIORITY"] = 1853824767
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

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[0] < 4:
            self._stun(data, addr)
            return
        for arriving in self.weather.through(data):
            self._media(arriving)

    def _stun(self, data: bytes, addr: tuple[str, int]) -> None:
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
        if 192 <= data[1] <= 223:
            self._on_rtcp(session.unprotect_rtcp(data))
        else:
            self._on_rtp(session.unprotect(data))

    async def _recv(self) -> bytes:
        return await self.inbox.get()

    async def _send(self, data: bytes) -> None:
        if self.server is not None and not self.transport.is_closing():
            self.transport.sendto(data, self.server)

    def send(self, clear: bytes) -> None:
        """Seal and send RTP or RTCP, through the weather."""
        session = self.dtls._tx_srtp
        sealed = session.protect_rtcp(clear) if 192 <= clear[1] <= 223 else session.protect(clear)
        for leaving in self.weather.through(sealed):
            self.transport.sendto(leaving, self.server)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.transport is not None:
            await self.dtls.stop()
            self.transport.close()


@dataclass
class Sending:
    """One source that a peer publishes."""

    source: str
    mid: str
    ssrc: int
    declared: bool = True
    number: int = 65500  # so that every test passes the wrap
    live: bool = True
    key_wanted: bool = True
    sent: dict[int, bytes] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return sdp.KINDS[self.source]

    @property
    def payload_type(self) -> int:
        return {"audio": 63 + 48, "video": 100}[self.kind]


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
        mid = ""
        for line in offer["sdp"].split("\r\n"):
            mid = line.removeprefix("a=mid:") if line.startswith("a=mid:") else mid
            if line.startswith("a=ssrc:"):
                self.ssrcs[int(line.split(" ")[0].removeprefix("a=ssrc:"))] = mid
        if offer["rev"] == self.said("offer")[-1]["rev"]:
            self.member.subscribed({"kind": "subscribed", "rev": offer["rev"], "sdp": self.answer_text(offer["sdp"])})

    def answer_text(self, text: str) -> str:
        drop = ("a=ice-", "a=fingerprint", "a=setup", "a=candidate", "a=end-of", "a=ssrc", "a=msid")
        lines = [line for line in text.rstrip().split("\r\n") if not line.startswith(drop)]
        answered = []
        for line in lines:
            answered.append({"a=sendonly": "a=recvonly"}.get(line, line))
            if line.startswith("a=mid:"):
                answered += self._transport_lines(self.sub, "active")
        return "\r\n".join(answered) + "\r\n"

    def _transport_lines(self, connection: Connection, setup: str) -> list[str]:
        credentials = [f"a=ice-ufrag:{connection.ufrag}", f"a=ice-pwd:{connection.pwd}"]
        return [*credentials, f"a=fingerprint:sha-256 {connection.fingerprint}", f"a=setup:{setup}"]

    def offer_text(self) -> str:
        """The offer for everything in `sending`."""
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
        lines.append("a=group:BUNDLE " + " ".join(s.mid for s in self.sending.values()))
        for s in self.sending.values():
            lines += [f"m={s.kind} 9 UDP/TLS/RTP/SAVPF {s.payload_type} 97", "c=IN IP4 0.0.0.0"]
            lines += self._transport_lines(self.pub, "actpass")
            lines += [f"a=mid:{s.mid}", "a=rtcp-mux", "a=sendonly" if s.live else "a=inactive"]
            lines += [f"a=rtpmap:{s.payload_type} {sdp.CODECS[s.kind]}", "a=rtpmap:97 rtx/90000"]
            lines += [f"a=extmap:{key + 4} {uri}" for uri, key in sdp.EXTENSIONS[s.kind].items()]
            if s.declared and s.live:
                lines += [f"a=ssrc:{s.ssrc} cname:whoever", f"a=ssrc:{s.ssrc} msid:- -"]
        return "\r\n".join(lines) + "\r\n"

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
            self.sending[source] = Sending(source, mid, secrets.randbelow(2**32 - 1) + 1, declared)
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
        s = self.sending[source]
        ids = {uri: key + 4 for uri, key in sdp.EXTENSIONS[s.kind].items()}
        mid = s.mid.encode()
        block = bytes([ids[sdp.MID] << 4 | len(mid) - 1]) + mid
        other = sdp.ORIENTATION if s.kind == "video" else sdp.AUDIO_LEVEL
        block += bytes([ids[other] << 4, 2])
        block += bytes(-len(block) % 4)
        head = bytes([0x90 if body else 0xB0, 0x80 | s.payload_type]) + number.to_bytes(2) + (serial * 3000).to_bytes(4) + s.ssrc.to_bytes(4)
        return head + b"\xbe\xde" + (len(block) // 4).to_bytes(2) + block + (body or b"\0\0\0\4")

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
        nack = self.nacks.setdefault(packet.ssrc, NackGenerator())
        nack.add(RtpPacket(sequence_number=packet.sequence_number))
        if nack.missing:
            self.nack(packet.ssrc, sorted(nack.missing))
        self._note()

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
        return [ssrc for ssrc, found in self.ssrcs.items() if found == mid][-1]

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
