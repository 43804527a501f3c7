"""Both forms of the packet path under the same hands: every command and datagram goes to both, and everything that either does is noted."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pylibsrtp

from calls.media import sdp
from calls.media.forward import PythonPath
from calls.media.forward.allowance import Rate, Rates
from calls.media.native.path import NativePath
from calls.media.path import Address, Copy, Event, Layer, Masters, MediaPath, Shape
from calls.media.sink import Packet

from . import control
from .plain import AUDIO, IDS, REPAIRS, VIDEO, rtp
from .wires import Clock

OFFSET_US = 1_700_000_000_000_000
TIGHT = Rates(audio=Rate(12, 2_000), video=Rate(30, 20_000), control=Rate(20, 700))  # what every third run may bring
LISTENERS, RIDS = 3, ("q", "h", "f")
KEYS = {"in": bytes(range(28)), "out": bytes(range(50, 78))}


def session(direction: str, *, ours: bool) -> pylibsrtp.Session:
    """One half of a connection's seal; `ours` is the server's."""
    receiving = (direction == "in") == ours
    kind = pylibsrtp.Policy.SSRC_ANY_INBOUND if receiving else pylibsrtp.Policy.SSRC_ANY_OUTBOUND
    policy = pylibsrtp.Policy(KEYS[direction], kind, 0, pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM)
    policy.allow_repeat_tx, policy.window_size = True, 1024
    return pylibsrtp.Session(policy)


@dataclass
class Noted:
    """What one form did, in order."""

    sent: list[tuple[Address, bytes]] = field(default_factory=list)
    events: list[tuple[int, Event]] = field(default_factory=list)
    tapped: list[tuple[Any, ...]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)

    def told(self) -> tuple[Any, ...]:
        return self.sent, self.events, self.tapped, self.answers, {name: count for name, count in self.counters.items() if count}


class NotingEnd:
    def __init__(self, number: int, noted: Noted) -> None:
        self.number, self.rtcp_ssrc, self._noted = number, 9_000 + number, noted
        self.address: Address | None = ("192.0.2.1", number)
        self.sessions: tuple[Any, Any] = (session("in", ours=True), session("out", ours=True))
        self.masters: Masters = (KEYS["in"], KEYS["out"])

    def on_event(self, event: Event) -> None:
        self._noted.events.append((self.number, event))


class NotingSink:
    """Fails at the packet that it is told to fail at."""

    def __init__(self, name: str, noted: Noted, fails_at: int) -> None:
        self._name, self._noted, self._left = name, noted, fails_at

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        self._noted.tapped.append((self._name, packet, raw, arrived))
        self._left -= 1
        if self._left == 0:
            raise RuntimeError("disk full")

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        self._noted.tapped.append((self._name, ntp, rtp, arrived))

    def closed(self, reason: str) -> None:
        self._noted.tapped.append((self._name, reason))


class World:
    """One form, its ends and its sinks."""

    def __init__(self, form: type[PythonPath] | type[NativePath], clock: Clock, rates: Rates | None) -> None:
        self.noted, self.full = Noted(), set[Address]()
        self.path: MediaPath = form(self.noted.counters, self._send, clock, OFFSET_US, rates)
        self.ends: dict[int, NotingEnd] = {}
        self.sinks: dict[str, NotingSink] = {}

    def _send(self, data: bytes, address: Address) -> bool:
        self.noted.sent.append((address, data))
        return address not in self.full


class Both:
    """A publisher with a camera of three layers, one of one, and a microphone; listeners that come and go; recorders.

    What happens is drawn from a seed. Datagrams are sealed once, and given to both.
    """

    def __init__(self, seed: int) -> None:
        self.chance, self.clock = random.Random(seed), Clock()
        rates = TIGHT if seed % 3 == 0 else None
        self.worlds = (World(PythonPath, self.clock, rates), World(NativePath, self.clock, rates))
        self.sealing = {number: session("in", ours=False) for number in range(1, 2 + LISTENERS)}
        self.ssrc = 7_000
        self.numbers = {key: self.chance.choice((0, 65_400, 300)) for key in range(10)}
        self.timestamps = {key: self.chance.getrandbits(32) for key in range(10)}
        self.pictures = {key: self.chance.randrange(0x8000) for key in range(10)}
        self.past: list[tuple[int, bytes]] = []
        self.late: list[tuple[int, bytes]] = []
        self.copies: dict[tuple[int, str], tuple[int, int]] = {}
        self.tapping = 0
        for number in range(1, 2 + LISTENERS):
            self._arrive(number)
        self._open()

    def tell(self, name: str, *arguments: Any) -> None:
        """The same command to both; what it answers is noted, and so is what it refuses."""
        for world in self.worlds:
            given = [
                world.ends.get(a.number, a) if isinstance(a, NotingEnd) else world.sinks[a.name] if isinstance(a, Named) else a for a in arguments
            ]
            try:
                world.noted.answers.append((name, getattr(world.path, name)(*given)))
            except KeyError:
                world.noted.answers.append((name, "unknown"))

    def _arrive(self, number: int) -> None:
        for world in self.worlds:
            world.ends[number] = NotingEnd(number, world.noted)
        self.tell("attach", self.worlds[0].ends[number])

    def _open(self) -> None:
        publisher = self.worlds[0].ends[1]
        simulcast = tuple(Layer(rid) for rid in RIDS)
        self.tell("open", 1, publisher, Shape("video", "c", VIDEO, REPAIRS, IDS, simulcast))
        self.tell("open", 2, publisher, Shape("video", "s", VIDEO, REPAIRS, IDS, (Layer("", 24, 34),)))
        self.tell("open", 3, publisher, Shape("audio", "m", AUDIO, None, IDS, (Layer("", 25),)))

    # What happens.
    def happen(self) -> None:
        """One more thing."""
        self.clock.now += self.chance.choice((0.0, 0.0, 0.0007, 0.004, 0.021, 0.05, 0.11))
        doing = self.chance.choices(
            (
                self.media,
                self.repair,
                self.report,
                self.listen,
                self.feedback,
                self.come,
                self.go,
                self.choose,
                self.record,
                self.poll,
                self.disturb,
                self.junk,
            ),
            (50, 4, 3, 12, 6, 3, 1, 3, 2, 8, 2, 4),
        )[0]
        doing()

    def deliver(self, number: int, clear: bytes, *, control: bool = False) -> None:
        """Seal a datagram of end `number`; it may be lost, late, doubled or damaged."""
        seal = self.sealing[number]
        try:
            sealed = (seal.protect_rtcp if control else seal.protect)(clear)
        except pylibsrtp.Error:
            return  # too malformed to be sealed
        draw = self.chance.random()
        if draw < 0.04:
            return
        if draw < 0.09:
            self.late.append((number, sealed))
            return
        if draw < 0.10:
            at = self.chance.randrange(len(sealed))
            sealed = sealed[:at] + bytes([sealed[at] ^ 1 << self.chance.randrange(8)]) + sealed[at + 1 :]
        self._take(number, sealed)
        if self.late and self.chance.random() < 0.3:
            self._take(*self.late.pop(self.chance.randrange(len(self.late))))
        if draw > 0.98:
            self._take(number, sealed)

    def _take(self, number: int, sealed: bytes) -> None:
        now = int(self.clock() * 1_000_000)
        self.tell("take", self.worlds[0].ends[number], sealed, now)

    def _payload(self, key: int, video: bool) -> bytes:
        if self.chance.random() < 0.04:
            return b""
        filler = self.chance.randbytes(self.chance.choice((1, 40, 900, 1150, 1316)))
        if not video:
            return b"\xfc" + filler
        start = self.chance.random() < 0.7
        self.pictures[key] = (self.pictures[key] + start) & 0x7FFF
        picture, wide = self.pictures[key], self.chance.random() < 0.9
        shape = self.chance.randrange(4)
        ids = (0x8000 | picture).to_bytes(2) if wide else bytes([picture & 0x7F])
        flags = (0x80 if shape else 0) | (0x40 if shape > 1 else 0)
        block = (ids if shape else b"") + (bytes([picture & 0xFF]) if shape > 1 else b"")
        head = bytes([(0x90 if start else 0x80), flags]) + block if self.chance.random() < 0.9 else bytes([0x10])
        return head + bytes([0 if self.chance.random() < 0.25 else 1]) + filler

    def media(self) -> None:
        """A packet of one of the five streams, sometimes after a gap or a jump."""
        key = self.chance.randrange(5)
        for _ in range(self.chance.choice((1, 1, 2, 5))):
            self._one(key)

    def _one(self, key: int) -> None:
        self.numbers[key] += self.chance.choices((1, 2, 4, 700, 40_000), (300, 6, 2, 0.3, 0.1))[0]
        self.timestamps[key] += self.chance.choice((0, 0, 3000, 3003))
        ssrc, video = (21, 22, 23, 24, 25)[key], key < 4
        extensions = {IDS[sdp.TRANSPORT_CC]: self._transport()} if self.chance.random() < 0.9 else {}
        if key < 3:
            extensions |= {IDS[sdp.MID]: b"c", IDS[sdp.RID]: RIDS[key].encode()}
        if self.chance.random() < 0.3:
            extensions[IDS[sdp.ORIENTATION if video else sdp.AUDIO_LEVEL]] = self.chance.randbytes(self.chance.choice((1, 1, 1, 2)))
        payload_type = (VIDEO if video else AUDIO) if self.chance.random() < 0.99 else 77
        raw = rtp(
            self.numbers[key],
            self._payload(key, video),
            ssrc=ssrc,
            payload_type=payload_type,
            timestamp=self.timestamps[key],
            marker=self.chance.random() < 0.3,
            extensions=extensions,
        )
        self.past = [*self.past[-40:], (key, raw)]
        self.deliver(1, raw)

    def _transport(self) -> bytes:
        self.numbers[9] += self.chance.choices((1, 2, 3, 2000), (80, 4, 1, 0.2))[0]
        return (self.numbers[9] & 0xFFFF).to_bytes(2)

    def repair(self) -> None:
        """Something of before once more, wrapped as a repair, or a probe."""
        if not self.past:
            return
        key, raw = self.chance.choice(self.past)
        if key == 4:
            return
        packet = Packet.parse(raw)
        extensions = {IDS[sdp.MID]: b"c", IDS[sdp.REPAIRED_RID]: RIDS[key].encode()} if key < 3 else {}
        body = packet.sequence_number.to_bytes(2) + packet.payload if self.chance.random() < 0.9 else b""
        self.numbers[5 + key] += 1
        self.deliver(1, rtp(self.numbers[5 + key], body, ssrc=31 + key, payload_type=REPAIRS, timestamp=packet.timestamp, extensions=extensions))

    def report(self) -> None:
        key = self.chance.randrange(5)
        ntp = int((self.clock() + self.chance.choice((0, 0, 0, 900))) * 2**32)
        told = control.block(self.chance.choice(self._ssrcs()), self.chance.randrange(256))
        self.deliver(1, control.sender_report(21 + key, ntp, self.timestamps[key] & 0xFFFFFFFF, told), control=True)

    def _ssrcs(self) -> list[int]:
        return [ssrc for ssrc, _ in self.copies.values()] or [1]

    def listen(self) -> None:
        """A listener asks for what it lost, for a key frame, or tells what it receives."""
        number, ssrc, highest = self._known_packet()
        lost = sorted({(highest - self.chance.randrange(60)) & 0xFFFF for _ in range(self.chance.choice((1, 5, 30)))})
        if self.chance.random() < 0.02:
            for _ in range(60):
                self.deliver(number, control.nack(1, ssrc, lost), control=True)
        said = self.chance.choice(
            (
                control.nack(1, ssrc, lost),
                control.nack(1, ssrc, lost),
                control.pli(1, ssrc),
                control.fir(1, ssrc),
                control.remb(1, self.chance.randrange(10_000_000), ssrc),
                control.receiver_report(1, *(control.block(one, self.chance.randrange(256)) for one in self._ssrcs()[:31])),
                control.bye(1),
            )
        )
        self.deliver(number, said, control=True)

    def _known_packet(self) -> tuple[int, int, int]:
        """A listener, an SSRC and a number: most often of a packet that went out lately."""
        sent = [(to, data) for to, data in self.worlds[0].noted.sent[-40:] if not 192 <= data[1] <= 223]
        if not sent or self.chance.random() < 0.2:
            return 2 + self.chance.randrange(LISTENERS), self.chance.choice(self._ssrcs()), self.chance.randrange(0x10000)
        to, data = self.chance.choice(sent)
        return to[1], int.from_bytes(data[8:12]), int.from_bytes(data[2:4])

    def feedback(self) -> None:
        """transport-cc of a listener, by its own clock, with holes."""
        number = 2 + self.chance.randrange(LISTENERS)
        base = self.chance.choice((1, 1, 30, 200, 600, 65_000))
        runs = [
            self.chance.choice(((1 << 13) | 9, (1 << 13) | 40, 5, 0xC000 | self.chance.getrandbits(14), 0x8000 | self.chance.getrandbits(14)))
            for _ in range(4)
        ]
        body = b"".join(run.to_bytes(2) for run in runs) + self.chance.randbytes(self.chance.choice((20, 120, 240)))
        body += bytes(-len(body) % 4)
        ticks = int(self.clock() * 1000 / 64) & 0xFFFFFF
        fixed = base.to_bytes(2) + self.chance.choice((30, 60, 100)).to_bytes(2) + ticks.to_bytes(3) + b"\x01"
        if self.chance.random() < 0.4:  # as browsers pad it
            body += bytes(3) + bytes([self.chance.choice((4, 4, 3, 0, 250))])
        first = bytes([0xAF if self.chance.random() < 0.4 else 0x8F])
        head = first + b"\xcd" + (2 + (len(fixed) + len(body)) // 4).to_bytes(2) + (1).to_bytes(4) + (2).to_bytes(4)
        self.deliver(number, head + fixed + body, control=True)

    def come(self) -> None:
        """A listener is given a copy, with or without repairs."""
        track, number = 1 + self.chance.randrange(3), 2 + self.chance.randrange(LISTENERS)
        listener = f"listener-{number}"
        if (track, listener) in self.copies:
            return
        self.ssrc += 2
        self.copies[track, listener] = self.ssrc, number
        repairs = self.ssrc + 1 if self.chance.random() < 0.6 else None
        layer = self.chance.choice((None, 0, 1, 2)) if track == 1 else self.chance.choice((None, 0, 0, 0))
        self.tell("add", track, listener, self.worlds[0].ends[number], Copy(self.ssrc, repairs, f"m{track}", "gail"), layer)

    def go(self) -> None:
        if not self.copies:
            return
        (track, listener), (ssrc, number) = self.chance.choice(list(self.copies.items()))
        del self.copies[track, listener]
        self.tell("remove", track, listener)
        self.tell("forget_ssrc", self.worlds[0].ends[number], ssrc)

    def choose(self) -> None:
        if self.copies:
            track, listener = self.chance.choice(list(self.copies))
            self.tell("choose", track, listener, self.chance.choice((None, 0, 1, 2)) if track == 1 else self.chance.choice((None, 0)))

    def record(self) -> None:
        """A sink comes, goes, or is put on another layer."""
        track = 1 + self.chance.randrange(3)
        name = f"sink-{track}-{self.tapping}"
        draw = self.chance.random()
        if draw < 0.4 and not any(name in world.sinks for world in self.worlds):
            fails_at = self.chance.choice((0, 0, 0, 7))
            for world in self.worlds:
                world.sinks[name] = NotingSink(name, world.noted, fails_at)
            self.tell("tap", track, Named(name), self.chance.randrange(3) if track == 1 else 0)
        elif name in self.worlds[0].sinks and draw < 0.7:
            self.tell("choose_tap", track, Named(name), self.chance.randrange(3))
        elif name in self.worlds[0].sinks:
            self.tell("untap", track, Named(name))
            self.tapping += 1

    def poll(self) -> None:
        now = int(self.clock() * 1_000_000)
        if self.chance.random() < 0.5:
            self.tell("allow", None)
        self.tell("poll", now)
        for track in (1, 2, 3):
            self.tell("seen", track)
            self.tell("listeners", track)
            if self.chance.random() < 0.3:
                self.tell("reports", track, now)

    def disturb(self) -> None:
        """A full socket, a fence, an address that moves, a listener whose connection ends and comes again."""
        draw, number = self.chance.random(), 2 + self.chance.randrange(LISTENERS)
        now = int(self.clock() * 1_000_000)
        end = self.worlds[0].ends[number]
        if draw < 0.4:
            for world in self.worlds:
                world.full = {("192.0.2.1", number)} if not world.full else set()
        elif draw < 0.7:
            self.tell("allow", self.chance.choice((now - 1, now, now + 60_000)))
        elif draw < 0.85:
            self.tell("move", end, self.chance.choice((None, ("192.0.2.1", number), ("192.0.2.1", number))))
        elif draw < 0.9:
            self._end_and_begin(number)

    def _end_and_begin(self, number: int) -> None:
        for (track, listener), (_, of) in list(self.copies.items()):
            if of == number:
                del self.copies[track, listener]
                self.tell("remove", track, listener)
        self.tell("detach", self.worlds[0].ends[number])
        self.sealing[number] = session("in", ours=False)
        self._arrive(number)

    def junk(self) -> None:
        """What nobody of good will sends: clear and sealed, of any length and kind."""
        number = 1 + self.chance.randrange(1 + LISTENERS)
        body = self.chance.randbytes(self.chance.choice((4, 8, 12, 40, 200)))
        if self.chance.random() < 0.4:
            self._take(number, bytes([0x80, self.chance.randrange(256)]) + body)
            return
        if self.chance.random() < 0.5:
            kind = self.chance.choice((200, 201, 202, 203, 205, 206, 207))
            first = bytes([self.chance.choice((0x80, 0x81, 0x82, 0xA1, 0x8F)), kind, 0, self.chance.choice((len(body) // 4, len(body) // 4, 1, 200))])
            self.deliver(number, first + body, control=True)
        else:
            first = self.chance.choice((0x80, 0x90, 0xA0, 0xB0, 0x9F))
            head = bytes([first, self.chance.choice((VIDEO, REPAIRS, AUDIO)), 0, self.chance.randrange(256)]) + bytes(4)
            block = self.chance.choice((b"\xbe\xde\0\1", b"\x10\0\0\2", b"\xbe\xde\0\x50", b""))
            self.deliver(number, head + self.chance.choice((21, 24, 25, 34, 99)).to_bytes(4) + block + body)

    def close(self) -> None:
        """Tracks end, ends leave."""
        for track in (1, 2, 3):
            self.tell("close", track, "ended")
        for number in range(1, 2 + LISTENERS):
            self.tell("detach", self.worlds[0].ends[number])
        self.tell("closing")


@dataclass(frozen=True)
class Named:
    """A sink, in whichever world."""

    name: str
