"""The packet path in C behind the interface of `path.MediaPath`, equal octet by octet to `forward.PythonPath`; `docs/media.md` says what both do.

With a socket to read (`read`) a thread of its own moves the packets, and never asks for the interpreter. Without one, everything happens in the
call, and what is to be sent goes through `send`.

What must never happen here, and what holds it:
- A sink receives a packet after `untap`, or loses one that was put down before: `untap` takes up what lies there once the C side is past the
  command, and gives this sink its own.
- The C side uses what Python has freed: sessions are kept here until `detach` has returned, and no handle outlives the call that ends it.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import weakref
from collections import Counter, deque
from collections.abc import Callable
from ctypes import byref, c_int, c_int64, c_uint64, c_void_p
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from ..addresses import is_udp
from ..clock import now as sleepless
from ..forward.allowance import Rates
from ..path import (
    Address,
    Copy,
    End,
    Event,
    KeyFrameWanted,
    Reported,
    Shape,
    TrackSeen,
)
from ..sink import BareSink, Packet, Sink
from ..srtp import session_address
from . import crossing, library, post, seals
from .looks import Looks
from .waiting import Waiting, until_read

NO_LIMIT = 2**63 - 1
_NOWHERE, _UDP, _STREAM = range(3)
_NUMBER = Struct("=q")
_FOR_TAPS = frozenset({post.TAPPED, post.TAP_REPORT})
_CHANGES_NOTHING = ("poll", "send", "report")  # of what `seen` tells

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _End:
    end: End
    handle: int
    address: Address | None = None
    sessions: tuple[Any, Any] = (None, None)
    events: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class _Tap:
    """`handle` is 0 when the C side no longer knows it; `failed` when its sink raised and was told so. `heard` is `BareSink`'s, where it is one."""

    sink: Sink
    of: _Track
    number: int
    layer: int
    handle: int = 0
    failed: bool = False
    heard: Callable[[bytes, int, int, float], None] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.sink, BareSink):
            self.heard = self.sink.heard


@dataclass(slots=True)
class _Track:
    handle: int
    owner: End
    layers: int
    copies: dict[str, int] = field(default_factory=dict)
    taps: dict[int, _Tap] = field(default_factory=dict)


class NativePath:
    """`path.MediaPath` over the C library. `functions` are the sealing functions; others than pylibsrtp's are for tests."""

    def __init__(
        self,
        counters: Counter[str],
        send: Callable[[bytes, Address], bool],
        clock: Callable[[], float],
        wall_offset_us: int = 0,
        rates: Rates | None = None,
        functions: Any = None,
    ) -> None:
        self._counters, self._send, self._clock = counters, send, clock
        self._library = library.load()
        self._hook = library.HOOK(self._sent)
        asked = rates or Rates()
        told = (c_int64 * 6)(*(value for rate in (asked.audio, asked.video, asked.control) for value in (rate.packets, rate.octets)))
        self._engine: int = self._library.cleac_create(functions or library.functions(), self._hook, wall_offset_us, told)
        weakref.finalize(self, self._library.cleac_destroy, self._engine)
        self._threaded, self._until_us, self._descriptor = False, NO_LIMIT, -1
        self._others: Callable[[bytes, Address], None] = lambda data, address: None
        self._ends: dict[int, _End] = {}
        self._tracks: dict[int, _Track] = {}
        self._taps: dict[int, _Tap] = {}
        self._numbers = 0
        self._eventful = False
        self._tapes: deque[post.Tape] = deque()
        self._rest: deque[post.Record] = deque()
        self._waiting = {post.OF_KNOWN: Waiting(), post.OF_STRANGERS: Waiting()}
        self._comes_again = False
        self._counts, self._counted = (c_uint64 * len(library.COUNTERS))(), c_int()
        self._looks = Looks(self._library.cleac_look, self._engine, clock)

    # The socket.
    def read(self, descriptor: int, family: int, others: Callable[[bytes, Address], None]) -> int:
        """Only with the real clock, which is the one that the thread reads. Raises ValueError with another."""
        if self._clock is not sleepless:
            raise ValueError("the media thread has a clock of its own")
        woken: int = self._library.cleac_begin(self._engine, descriptor, family)
        if woken < 0:
            raise OSError(-woken, "the media thread cannot be started")
        self._threaded, self._others, self._descriptor = True, others, descriptor
        return woken

    def woken(self) -> float:
        self._library.cleac_heard(self._engine)
        self._deliver()
        return 0.0

    def take_up(self) -> None:
        if self._threaded:
            until_read(self._descriptor)
        self.woken()

    def _sent(self, number: int, data: int, length: int) -> int:
        """What the C side sends without a thread."""
        known = self._ends.get(number)
        if known is None or known.address is None:
            return False
        return self._send(ctypes.string_at(data, length), known.address)

    # Between the two sides.
    def _call(self, name: str, *arguments: Any) -> Any:
        """A command; without a thread its consequences follow at once."""
        if not self._threaded:
            self._library.cleac_set_clock(self._engine, self._now())
        if not self._threaded or name not in _CHANGES_NOTHING:
            self._looks.forget()
        found = getattr(self._library, f"cleac_{name}")(self._engine, *arguments)
        if not self._threaded:
            self._deliver()
        return found

    def _made(self, name: str, *arguments: Any) -> int:
        """A command that makes something; returns its handle."""
        handle: int | None = self._call(name, *arguments)
        if handle is None:
            raise MemoryError
        return handle

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    def _fetch(self) -> None:
        """Take up what lies there, and count."""
        where = c_void_p()
        length = self._library.cleac_fetch(self._engine, byref(where), self._counts, byref(self._counted))
        data = ctypes.string_at(where, length) if length else b""
        for kind, start, end in post.records(data):
            if kind in _FOR_TAPS:
                self._tapes.append(post.tape(data, kind, start, end))
            elif kind in self._waiting:
                self._counters["edge-overflow"] += not self._waiting[kind].put(data[start:end])
            else:
                self._rest.append(post.Record(kind, data[start:end]))
        if self._counted.value:
            for name, count in zip(library.COUNTERS, self._counts, strict=True):
                if count:
                    self._counters[name] += count

    def _deliver(self) -> None:
        """Give everything to whom it concerns; of datagrams, which others may send as they like, some before the loop has its turn."""
        self._fetch()
        self._play_tapes()
        while self._rest:
            self._hand_over(self._rest.popleft())
        for waiting in self._waiting.values():
            for body in waiting.taken():
                self._others(body[post.ADDRESS_BYTES :], post.unpacked(body))
        if any(self._waiting.values()) and not self._comes_again:
            self._comes_again = True
            asyncio.get_running_loop().call_soon(self._deliver_again)

    def _deliver_again(self) -> None:
        self._comes_again = False
        self._deliver()

    def _play_tapes(self) -> None:
        while self._tapes:
            self._play(self._tapes.popleft())

    def _hand_over(self, record: post.Record) -> None:
        body = record.body
        if record.kind == post.KEY_FRAME:
            track, layer = post.KEY_FRAME_OF.unpack(body)
            if (of := self._tracks.get(track)) is not None:
                of.owner.on_event(KeyFrameWanted(track, layer))
        elif record.kind == post.BY_STREAM:
            self._by_stream(body)
        elif (known := self._ends.get(_NUMBER.unpack_from(body)[0])) is not None:
            known.events.append(crossing.event(record))
            self._eventful = True

    def _by_stream(self, body: bytes) -> None:
        if self._now() > self._until_us:  # the loop stood still since it was put down
            self._counters["fenced"] += 1
            return
        number, ssrc, payload_length = post.STREAM_OF.unpack_from(body)
        known = self._ends.get(number)
        if known is None or known.address is None or self._send(body[post.STREAM_OF.size :], known.address) or not ssrc:
            return
        self._call("refused", known.handle, ssrc, payload_length)

    # The fence.
    def allow(self, until_us: int | None) -> None:
        self._until_us = NO_LIMIT if until_us is None else until_us
        self._call("allow", self._until_us)

    # Ends.
    def _known(self, end: End) -> _End:
        known = self._ends.get(end.number)
        if known is None:
            known = self._ends[end.number] = _End(end, self._made("end", end.number, end.rtcp_ssrc))
            self._place(known, end.address)
        return known

    def _place(self, known: _End, address: Address | None) -> None:
        known.address = address
        if address is None:
            self._call("move", known.handle, _NOWHERE, None)
        elif is_udp(address):
            self._call("move", known.handle, _UDP, post.packed(address))
        else:
            self._call("move", known.handle, _STREAM, None)

    def attach(self, end: End) -> None:
        known = self._known(end)
        sessions, (receiving, sending) = end.sessions, end.masters
        own = seals.opening(sessions[0], receiving), seals.sealing(sessions[1], sending)
        self._call("attach", known.handle, *(session_address(session) for session in sessions), *own)
        known.sessions = sessions

    def detach(self, end: End) -> None:
        known = self._ends.pop(end.number, None)
        if known is not None:
            self._call("detach", known.handle)

    def hear(self, address: Address, end: End) -> None:
        if is_udp(address):
            self._call("hear", self._known(end).handle, post.packed(address))

    def unhear(self, address: Address) -> None:
        if is_udp(address):
            self._call("unhear", post.packed(address))

    def move(self, end: End, address: Address | None) -> None:
        self._place(self._known(end), address)

    def take(self, end: End, sealed: bytes, now: int) -> None:
        known = self._ends.get(end.number)
        if known is None:
            self._counters["srtp-early"] += 1
        else:
            self._call("take", known.handle, sealed, len(sealed), now)
            self._fetch()
            self._play_tapes()

    def send_rtcp(self, end: End, clear: bytes) -> None:
        known = self._ends.get(end.number)
        if known is not None:
            self._call("send", known.handle, clear, len(clear), 1)

    def send_rtp(self, end: End, clear: bytes) -> bool:
        """Seal and send one packet; False when it did not go out."""
        known = self._ends.get(end.number)
        return known is not None and bool(self._call("send", known.handle, clear, len(clear), 0))

    def forget_ssrc(self, end: End, ssrc: int) -> None:
        known = self._ends.get(end.number)
        if known is not None:
            self._call("forget", known.handle, ssrc)

    # Tracks.
    def open(self, track: int, end: End, shape: Shape) -> None:
        declared = (library.Declared * len(shape.layers))(*(crossing.declared(layer) for layer in shape.layers))
        handle = self._made("open", self._known(end).handle, byref(crossing.shape(track, shape)), declared)
        self._tracks[track] = _Track(handle, end, len(shape.layers))

    def close(self, track: int, reason: str) -> None:
        closed = self._tracks.pop(track, None)
        if closed is None:
            return
        self._call("close", closed.handle)
        self._looks.closed(track)
        taps = list(closed.taps.values())
        for tap in taps:
            tap.handle = 0
        self._fetch()
        for tap in taps:
            self._finish(tap)
            if not tap.failed:
                _tell_closed(tap.sink, reason)

    def add(self, track: int, listener: str, end: End, copy: Copy, layer: int | None) -> None:
        of = self._tracks[track]
        if (before := of.copies.pop(listener, None)) is not None:
            self._call("remove", before)
        mid, name, cname = crossing.octets(copy.mid, library.LONGEST_MID), crossing.octets(listener), crossing.octets(copy.cname)
        wanted = library.Wanted(copy.ssrc, copy.repair_ssrc or 0, copy.repair_ssrc is not None, len(mid), len(name), len(cname), mid, name, cname)
        of.copies[listener] = self._made("add", of.handle, self._known(end).handle, byref(wanted), crossing.number(layer), self._now())

    def choose(self, track: int, listener: str, layer: int | None) -> None:
        of = self._tracks.get(track)
        copy = of.copies.get(listener) if of else None
        if copy is not None:
            self._call("choose", copy, crossing.number(layer))

    def remove(self, track: int, listener: str) -> None:
        of = self._tracks.get(track)
        gone = of.copies.pop(listener, None) if of else None
        if gone is not None:
            self._call("remove", gone)

    def tap(self, track: int, sink: Sink, layer: int) -> None:
        of = self._tracks[track]
        self.untap(track, sink)
        self._numbers += 1
        tap = _Tap(sink, of, self._numbers, layer, self._made("tap", of.handle, self._numbers, layer, self._now()))
        of.taps[id(sink)] = self._taps[tap.number] = tap

    def choose_tap(self, track: int, sink: Sink, layer: int) -> None:
        of = self._tracks.get(track)
        tap = of.taps.get(id(sink)) if of else None
        if of is not None and tap is not None and of.layers > 1 and tap.layer != layer:
            tap.layer = layer
            self._call("choose_tap", tap.handle, layer)

    def untap(self, track: int, sink: Sink) -> int | None:
        of = self._tracks.get(track)
        tap = of.taps.pop(id(sink), None) if of else None
        if tap is None:
            return None
        handle, tap.handle = tap.handle, 0
        cut: int = self._call("untap", handle)
        self._fetch()
        self._finish(tap)
        return None if tap.failed or cut < 0 else cut

    # What taps are given.
    def _finish(self, tap: _Tap) -> None:
        """Nothing more is put down for this tap: give it what lies there, and forget it."""
        own = [tape for tape in self._tapes if tape[0] == tap.number]
        self._tapes = deque(tape for tape in self._tapes if tape[0] != tap.number)
        for tape in own:
            self._play(tape)
        self._taps.pop(tap.number, None)

    def _play(self, tape: post.Tape) -> None:
        number, now, start, length, is_report, body = tape
        tap = self._taps.get(number)
        if tap is None:
            return
        try:
            if is_report:
                ntp, rtp = post.REPORT_OF.unpack(body)
                tap.sink.sender_report(ntp, rtp, now / 1_000_000)
            elif tap.heard is not None:
                tap.heard(body, start, length, now / 1_000_000)
            else:
                tap.sink.packet(Packet.parse(body), body, now / 1_000_000)
        except Exception:
            _log.exception("a tap failed and was taken off")
            self._take_off(tap)

    def _take_off(self, tap: _Tap) -> None:
        self._counters["tap-failed"] += 1
        tap.failed = True
        self._taps.pop(tap.number, None)
        tap.of.taps.pop(id(tap.sink), None)
        handle, tap.handle = tap.handle, 0
        if handle:
            self._library.cleac_untap(self._engine, handle)
        _tell_closed(tap.sink, "faulty")

    # What is seen.
    def listeners(self, track: int) -> frozenset[str]:
        of = self._tracks.get(track)
        return frozenset(of.copies) if of else frozenset()

    def seen(self, track: int) -> TrackSeen:
        return self._looks.seen(track)

    def reports(self, track: int, now: int) -> list[Reported]:
        of, told = self._tracks[track], list[Reported]()
        for layer in range(of.layers):
            report = library.ReportOf()
            if self._call("report", of.handle, layer, now, byref(report)):
                told.append(Reported(*(getattr(report, name) for name in library.REPORT_FIELDS)))
        return told

    def poll(self, now: int) -> None:
        self._call("poll", now)
        self._deliver()
        if not self._eventful:
            return
        self._eventful = False
        for known in list(self._ends.values()):
            events, known.events = known.events, []
            for event in events:
                known.end.on_event(event)

    def closing(self) -> None:
        while self._tracks:
            _, track = self._tracks.popitem()
            self._call("close", track.handle)
        for known in list(self._ends.values()):
            self.detach(known.end)
        self._library.cleac_stop(self._engine)
        self._threaded = False


def _tell_closed(sink: Sink, reason: str) -> None:
    try:
        sink.closed(reason)
    except Exception:
        _log.exception("a tap failed while it was closed")
