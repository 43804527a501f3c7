"""A packet path without sockets and seals: what is fed in is clear, what comes out is remembered in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from ctypes import CFUNCTYPE, c_int, c_uint32, c_void_p, cast
from dataclasses import dataclass, field
from typing import Any

from calls.media import forms, sdp
from calls.media.forward import PythonPath
from calls.media.forward.allowance import WITHOUT_LIMIT, Rates
from calls.media.native.path import NativePath
from calls.media.path import Address, Copy, Event, Layer, Masters, Shape
from calls.media.sink import Packet

from .wires import Clock

IDS = {sdp.MID: 5, sdp.ABS_SEND_TIME: 6, sdp.ORIENTATION: 7, sdp.AUDIO_LEVEL: 8, sdp.TRANSPORT_CC: 9, sdp.RID: 10, sdp.REPAIRED_RID: 11}
PUBLISHER, VIDEO, REPAIRS, AUDIO = 1, 100, 101, 111


_PASS = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)(lambda session, packet, length: 0)
_FORGET = CFUNCTYPE(c_int, c_void_p, c_uint32)(lambda session, ssrc: 0)
UNSEALED = (c_void_p * 5)(*(cast(function, c_void_p) for function in (_PASS, _PASS, _PASS, _PASS, _FORGET)))


def plain_path(counters: Counter[str], send: Callable[[bytes, Address], bool], clock: Callable[[], float], form: str, rates: Rates) -> Any:
    """A path of the form under test that seals nothing."""
    if forms.chosen(form) == "native":
        return NativePath(counters, send, clock, rates=rates, functions=UNSEALED)
    return PythonPath(counters, send, clock, rates=rates)


class Unsealed:
    """Stands where an SRTP session would, for paths whose seals are not what is tested."""

    _srtp = (0,)

    def protect(self, clear: bytes) -> bytes:
        return clear

    protect_rtcp = unprotect = unprotect_rtcp = protect

    def remove_stream(self, ssrc: int) -> None:
        """Nothing is kept."""


@dataclass
class PlainEnd:
    """One end, with the events that it was told."""

    number: int
    rtcp_ssrc: int = 77
    address: Address | None = None
    events: list[Event] = field(default_factory=list)
    sessions: tuple[Any, Any] = field(default_factory=lambda: (Unsealed(), Unsealed()))
    masters: Masters = (None, None)

    @property
    def on_event(self) -> Callable[[Event], None]:
        return self.events.append


def rtp(
    number: int,
    payload: bytes,
    *,
    ssrc: int = 5,
    payload_type: int = VIDEO,
    timestamp: int = 90,
    marker: bool = False,
    extensions: Mapping[int, bytes] | None = None,
) -> bytes:
    """One packet in clear; without a payload it is padding only."""
    block = b"".join(bytes([key << 4 | len(value) - 1]) + value for key, value in (extensions or {}).items())
    block += bytes(-len(block) % 4)
    first = (0x90 if block else 0x80) | (0 if payload else 0x20)
    head = bytes([first, marker << 7 | payload_type]) + (number & 0xFFFF).to_bytes(2) + (timestamp % 2**32).to_bytes(4) + ssrc.to_bytes(4)
    extended = b"\xbe\xde" + (len(block) // 4).to_bytes(2) + block if block else b""
    return head + extended + (payload or b"\x00\x00\x00\x04")


class PlainPath:
    """A path with one publisher and as many listeners as are asked for. `sent[n]` is what listener n got, RTP and RTCP apart."""

    def __init__(self, form: str = "", rates: Rates | None = None) -> None:
        self.counters: Counter[str] = Counter()
        self.clock = Clock()
        self.sent: dict[int, list[bytes]] = {}
        self.told: dict[int, list[bytes]] = {}
        self.shut: set[int] = set()
        self.path = plain_path(self.counters, self._send, self.clock, form, rates or WITHOUT_LIMIT)  # time stands still here
        self.publisher = self.end(PUBLISHER)
        self.listeners: list[PlainEnd] = []

    def end(self, number: int) -> PlainEnd:
        end = PlainEnd(number, address=("192.0.2.1", number))
        self.sent[number], self.told[number] = [], []
        self.path.attach(end)
        self.path.move(end, end.address)
        return end

    def _send(self, data: bytes, address: Address) -> bool:
        control = 192 <= data[1] <= 223
        if address[1] in self.shut and not control:
            return False
        (self.told if control else self.sent)[address[1]].append(data)
        return True

    @property
    def now(self) -> int:
        return int(self.clock() * 1_000_000)

    def open(self, kind: str = "video", layers: tuple[Layer, ...] = (Layer("", 5),), track: int = 1) -> None:
        payload_type, repairs = (VIDEO, REPAIRS) if kind == "video" else (AUDIO, None)
        self.path.open(track, self.publisher, Shape(kind, "m", payload_type, repairs, IDS, layers))

    def listen(self, *, repairs: bool = False, layer: int = 0, track: int = 1) -> PlainEnd:
        """One more listener of the track, by the name `listener-N`, with the SSRC 7000 + N (repairs 8000 + N)."""
        number = len(self.listeners)
        end = self.end(100 + number)
        self.listeners.append(end)
        self.path.add(track, f"listener-{number}", end, Copy(7000 + number, 8000 + number if repairs else None, str(number), "gail"), layer)
        return end

    def take(self, raw: bytes) -> None:
        self.path.take(self.publisher, raw, self.now)

    def hear(self, end: PlainEnd, control: bytes) -> None:
        self.path.take(end, control, self.now)

    def packets(self, end: PlainEnd) -> list[Packet]:
        return [Packet.parse(raw) for raw in self.sent[end.number]]
