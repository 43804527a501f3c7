"""The Python face of `traffic/`: what it publishes over transports that are already joined, and what it counted."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pylibsrtp import _binding

from calls.media import sdp

from .build import library
from .loads import Load, Pace
from .transports import Transport

SOCKET_BUFFER = 8 * 1024 * 1024  # octets: a listener that is drained late has lost nothing
FORCED_BUFFERS = (32, 33)  # SO_SNDBUFFORCE, SO_RCVBUFFORCE of Linux, which Python does not name
FEEDBACK_SSRC = 900_000
MOST_STREAMS = 32  # of one listener
PATIENCE = 0.6  # seconds in which the last packets arrive
APART = {"first_number": 20_000, "first_picture": 9_000, "first_timestamp": 1_000_000_000}  # where each further layer of a picture begins


OF_LAYERS = ("switches", "landed", "broken", "skipped")


class Publisher(ctypes.Structure):
    """`struct publisher`."""

    _fields_ = (
        ("sealing", ctypes.c_void_p),
        ("opening", ctypes.c_void_p),
        ("state", ctypes.c_void_p),
        ("socket", ctypes.c_int32),
        ("ssrc", ctypes.c_uint32),
        ("rate", ctypes.c_uint32),
        ("size", ctypes.c_uint16),
        ("burst", ctypes.c_uint16),
        ("payload_type", ctypes.c_uint8),
        ("frame", ctypes.c_uint8),
        ("block_size", ctypes.c_uint8),
        ("number_at", ctypes.c_int8),
        ("block", ctypes.c_uint8 * 24),
        ("beside", ctypes.c_uint32),
        ("first_number", ctypes.c_uint16),
        ("first_picture", ctypes.c_uint16),
        ("first_timestamp", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in ("packets", "refused", "resent", "lost")),
    )


class Listener(ctypes.Structure):
    """`struct listener`."""

    _fields_ = (
        ("sealing", ctypes.c_void_p),
        ("opening", ctypes.c_void_p),
        ("state", ctypes.c_void_p),
        ("socket", ctypes.c_int32),
        ("own_ssrc", ctypes.c_uint32),
        ("expected", ctypes.c_uint32),
        ("picture_type", ctypes.c_uint8),
        ("sound_type", ctypes.c_uint8),
        ("repair_type", ctypes.c_uint8),
        ("number_id", ctypes.c_uint8),
        ("repairs", ctypes.c_uint32 * (2 * MOST_STREAMS)),
        ("repair_count", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in ("pictures", "sounds", "checked", "bad", "repaired", "lost", "control", "wanted", *OF_LAYERS)),
    )


class Whole(ctypes.Structure):
    """`struct load`."""

    _fields_ = (
        ("publishers", ctypes.POINTER(Publisher)),
        ("listeners", ctypes.POINTER(Listener)),
        ("publisher_count", ctypes.c_uint32),
        ("listener_count", ctypes.c_uint32),
        ("loss", ctypes.c_uint32),
        ("feedback", ctypes.c_uint32),
        ("layers", ctypes.c_uint32),
        ("latencies", ctypes.c_double * 4),
        ("latency_count", ctypes.c_uint64),
        ("ends", ctypes.c_uint64),
        ("drains_until", ctypes.c_uint64),
        ("last_arrived", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class Stream:
    """What one publisher sends over a joined transport; the extension ids are those that the server agreed to, 0 for none.

    A picture in layers is a stream for each, one behind the other, worst first, each with the next SSRC and a `rid` of its own.
    """

    transport: Transport
    pace: Pace
    ssrc: int
    payload_type: int
    mid: str
    mid_id: int
    number_id: int
    rid: str = ""
    rid_id: int = 0


@dataclass(frozen=True)
class Ear:
    """What one listener receives over a joined transport, by the description of its server or, where that is the one who answers, of both.

    It hears `people`, or, where that is 1, the one publisher whose SSRC is `expected`. `name` is how its server knows it.
    """

    transport: Transport
    description: str
    people: int = 1
    expected: int = 0
    name: str = ""


@dataclass(frozen=True)
class Counted:
    """What one window found. `wanted` packets should have come out; latencies in milliseconds: median, 95th and 99th percentile, largest.

    Of pictures in layers: how often one followed another at a listener (`switches`), how many of these were seen whole and go on with a key frame
    and the next numbers (`landed`), how many packets follow their neighbour wrongly (`broken`), and pictures left out at switches (`skipped`).
    """

    published: int
    wanted: int
    forwarded: int
    sounds_wanted: int
    sounds_forwarded: int
    checked: int
    bad: int
    refused: int
    repaired: int
    resent: int
    latencies: tuple[float, float, float, float]
    switches: int = 0
    landed: int = 0
    broken: int = 0
    skipped: int = 0

    @property
    def loss(self) -> float:
        """The share of what should have come out that did not."""
        return _share_lost(self.wanted, self.forwarded)

    @property
    def sound_loss(self) -> float:
        """Likewise, of sound alone."""
        return _share_lost(self.sounds_wanted, self.sounds_forwarded)

    @property
    def picture_loss(self) -> float:
        """Likewise, of the packets of pictures."""
        return _share_lost(self.wanted - self.sounds_wanted, self.forwarded - self.sounds_forwarded)


def _share_lost(wanted: int, came: int) -> float:
    return 1 - came / wanted if wanted else 0.0


class Running:
    """One load over joined transports; from now on only C touches their sockets and sessions."""

    def __init__(self, load: Load, streams: Sequence[Stream], ears: Sequence[Ear]) -> None:
        self._load, self._streams, self._ears = load, streams, ears
        self._c = _library()
        self._sockets: dict[Transport, socket.socket] = {}
        self._publishers = (Publisher * len(streams))(*[self._publisher(number, stream) for number, stream in enumerate(streams)])
        self._listeners = (Listener * len(ears))(*[self._listener(number, ear) for number, ear in enumerate(ears)])
        counts = len(streams), len(ears), round(load.loss * 10_000), load.feedback, len(load.layers) or 1
        self._whole = Whole(self._publishers, self._listeners, *counts)
        if self._c.load_prepare(ctypes.byref(self._whole)):
            raise MemoryError

    def _socket(self, transport: Transport) -> int:
        if transport not in self._sockets:
            taken = self._sockets[transport] = transport.take_socket()
            for option in FORCED_BUFFERS:
                try:
                    taken.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
                except PermissionError:
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF if option == FORCED_BUFFERS[0] else socket.SO_RCVBUF, SOCKET_BUFFER)
        return self._sockets[transport].fileno()

    def _publisher(self, number: int, stream: Stream) -> Publisher:
        beside = next(place for place, other in enumerate(self._streams) if other.transport is stream.transport)
        begins = {name: apart * (number - beside) for name, apart in APART.items()} if self._load.layers else {}
        block = _element(stream.mid_id, stream.mid) + _element(stream.rid_id, stream.rid)
        number_at = len(block) + 1 if stream.number_id else -1
        block += bytes([stream.number_id << 4 | 1, 0, 0]) if stream.number_id else b""
        block += bytes(-len(block) % 4)
        return Publisher(
            sealing=address_of(stream.transport.sessions[1]),
            opening=address_of(stream.transport.sessions[0]),
            socket=self._socket(stream.transport),
            ssrc=stream.ssrc,
            rate=stream.pace.rate,
            size=stream.pace.size,
            burst=stream.pace.burst,
            payload_type=stream.payload_type,
            frame=stream.pace.frame,
            block_size=len(block),
            number_at=number_at,
            block=(ctypes.c_uint8 * 24)(*block),
            beside=beside,
            **begins,
        )

    def _listener(self, number: int, ear: Ear) -> Listener:
        pairs = repair_pairs(ear.description)
        return Listener(
            sealing=address_of(ear.transport.sessions[1]),
            opening=address_of(ear.transport.sessions[0]),
            socket=self._socket(ear.transport),
            own_ssrc=FEEDBACK_SSRC + number,
            expected=ear.expected,
            picture_type=codec(ear.description, sdp.CODECS["video"]),
            sound_type=codec(ear.description, sdp.CODECS["audio"]),
            repair_type=codec(ear.description, "rtx/90000"),
            number_id=extension_id(ear.description, sdp.TRANSPORT_CC),
            repairs=(ctypes.c_uint32 * (2 * MOST_STREAMS))(*[ssrc for pair in pairs for ssrc in pair]),
            repair_count=len(pairs),
        )

    def run(self, seconds: float) -> Counted:
        """Publish for so long, drain a little longer. Blocks; other threads of Python go on. Counts from zero each time."""
        for publisher in self._publishers:
            publisher.packets = publisher.refused = publisher.resent = publisher.lost = 0
        for listener in self._listeners:
            for name in ("pictures", "sounds", "checked", "bad", "repaired", "lost", "control", "wanted", *OF_LAYERS):
                setattr(listener, name, 0)
        if failed := self._c.load_run(ctypes.byref(self._whole), ctypes.c_double(seconds), ctypes.c_double(PATIENCE)):
            raise RuntimeError(f"the load did not run ({failed})")
        wanted, sounds_wanted = self._wanted(sound=False), self._wanted(sound=True)
        heard = {name: self._heard(name) for name in ("pictures", "sounds", "checked", "bad", "repaired", *OF_LAYERS)}
        pictures, sounds = heard.pop("pictures"), heard.pop("sounds")
        medium, high, higher, highest = (value / 1000 for value in self._whole.latencies)
        return Counted(
            published=sum(publisher.packets for publisher in self._publishers),
            wanted=wanted + sounds_wanted,
            forwarded=pictures + sounds,
            sounds_wanted=sounds_wanted,
            sounds_forwarded=sounds,
            refused=sum(publisher.refused for publisher in self._publishers),
            resent=sum(publisher.resent for publisher in self._publishers),
            latencies=(medium, high, higher, highest),
            **heard,
        )

    def _heard(self, name: str) -> int:
        return sum(getattr(listener, name) for listener in self._listeners)

    def _wanted(self, *, sound: bool) -> int:
        """How many packets of this kind should have come out; in a meeting all publish alike. Of layers, what the listeners' own numbers tell."""
        if self._load.layers:
            return 0 if sound else self._heard("wanted")
        kind = "audio" if sound else "video"
        sent = {stream.ssrc: own.packets for stream, own in zip(self._streams, self._publishers, strict=True) if stream.pace.kind == kind}
        mean = sum(sent.values()) / len(sent) if sent else 0
        return round(sum(sent.get(ear.expected, 0) if ear.expected else mean * ear.people for ear in self._ears))

    def close(self) -> None:
        """Let sockets and memory go."""
        self._c.load_free(ctypes.byref(self._whole))
        for taken in self._sockets.values():
            taken.close()


def _element(key: int, text: str) -> bytes:
    """A header extension in the one-byte form (RFC 8285 section 4.2); nothing without an id."""
    return bytes([key << 4 | len(text) - 1]) + text.encode() if key else b""


def extension_id(text: str, uri: str) -> int:
    """The id that a description gives to a header extension; 0 when it has none that fits the one-byte form."""
    for line in text.splitlines():
        if line.startswith("a=extmap:") and line.split(" ")[1] == uri:
            found = int(line.removeprefix("a=extmap:").split(" ")[0].partition("/")[0])
            return found if found <= 14 else 0
    return 0


def codec(text: str, wanted: str) -> int:
    """The first payload type of a codec in a description; 0 where it has none."""
    for line in text.splitlines():
        number, _, name = line.removeprefix("a=rtpmap:").partition(" ")
        if line.startswith("a=rtpmap:") and name.lower() == wanted.lower():
            return int(number)
    return 0


def repair_pairs(text: str) -> list[tuple[int, int]]:
    """The SSRCs of streams and of their repairs in a description (RFC 4588 section 8.8)."""
    groups = [line.split(" ") for line in text.splitlines() if line.startswith("a=ssrc-group:FID ")]
    return [(int(group[1]), int(group[2])) for group in groups][:MOST_STREAMS]


def address_of(session: Any) -> int:
    """Of libsrtp's own context behind a session of pylibsrtp."""
    return int(_binding.ffi.cast("uintptr_t", session._srtp[0]))


def _library() -> ctypes.CDLL:
    built = ctypes.CDLL(str(library("traffic", "-pthread")))
    names = ("srtp_protect", "srtp_unprotect", "srtp_protect_rtcp", "srtp_unprotect_rtcp")
    built.load_begin(*(ctypes.c_void_p(function(name)) for name in names))
    return built


def function(name: str) -> int:
    """The address of one of libsrtp's functions in the wheel of pylibsrtp."""
    return int(_binding.ffi.cast("uintptr_t", _binding.ffi.addressof(_binding.lib, name)))
