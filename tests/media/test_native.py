"""The media thread of the form in C: while packets come as fast as they can, commands cut exactly, and the loop may stand still."""

from __future__ import annotations

import asyncio
import ctypes
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from calls.media import clock, sdp
from calls.media.edge import Edge
from calls.media.forward.allowance import WITHOUT_LIMIT
from calls.media.native import build
from calls.media.path import Address, Copy, Event, Layer, Masters, Shape
from calls.media.sink import Packet

from .both import KEYS, session
from .plain import AUDIO, IDS, VIDEO, PlainPath, rtp

PATIENCE = 20.0
COPY = Copy(7000, None, "m", "gail")


class SealedEnd:
    """One end whose client is a socket of this test."""

    def __init__(self, number: int, edge: Edge) -> None:
        self.number, self.rtcp_ssrc = number, 9_000 + number
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self.client.bind(("127.0.0.1", 0))
        self.client.settimeout(PATIENCE)
        self.client.connect(("127.0.0.1", edge.port))
        self.address: Address | None = self.client.getsockname()
        self.sessions = (session("in", ours=True), session("out", ours=True))
        self.masters: Masters = (KEYS["in"], KEYS["out"])
        self.sealing, self.opening = session("in", ours=False), session("out", ours=False)
        self.events: list[Event] = []
        self.sent = 0

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def sealed(self) -> bytes:
        """The next packet of sound."""
        self.sent += 1
        return self.sealing.protect(rtp(self.sent, b"\xfc" + self.sent.to_bytes(4), ssrc=25, payload_type=AUDIO))

    def send(self) -> None:
        self.client.send(self.sealed())

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Packets without a pause, from a thread."""
        going = threading.Event()

        def send() -> None:
            while not going.is_set():
                self.send()
                time.sleep(0.0001)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            going.set()
            thread.join()

    def received(self) -> bytes:
        """The next datagram, opened."""
        sealed = self.client.recv(2000)
        return self.opening.unprotect_rtcp(sealed) if 192 <= sealed[1] <= 223 else self.opening.unprotect(sealed)


class PollDescriptor(ctypes.Structure):
    """`struct pollfd` of poll(2)."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Numbers:
    """A sink that remembers numbers."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.over: list[str] = []

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        self.got.append(packet.sequence_number)

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        """Not looked at."""

    def closed(self, reason: str) -> None:
        self.over.append(reason)


class Wire:
    """A microphone and one listener, on a real port."""

    def __init__(self, edge: Edge) -> None:
        self.edge, self.path = edge, edge.path
        self.gail, self.hana = SealedEnd(1, edge), SealedEnd(2, edge)
        for end in (self.gail, self.hana):
            self.path.attach(end)
            assert end.address is not None
            self.path.hear(end.address, end)
        self.path.open(1, self.gail, Shape("audio", "m", AUDIO, None, {sdp.AUDIO_LEVEL: IDS[sdp.AUDIO_LEVEL]}, (Layer("", 25),)))

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():
                await asyncio.sleep(0.01)

    @property
    def arrived(self) -> int:
        return self.path.seen(1).layers[0].packets


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    assert build.ensure() == ""
    edge = await Edge.bind(form="native", kernel_filter=False, rates=WITHOUT_LIMIT)
    made = Wire(edge)
    yield made
    for end in (made.gail, made.hana):
        made.path.detach(end)
        end.client.close()
    await edge.close()


async def test_untap_gives_what_was_put_down_before_and_nothing_after_and_tells_the_cut(wire: Wire) -> None:
    with wire.gail.sending():
        for _ in range(30):
            sink, before = Numbers(), wire.arrived
            wire.path.tap(1, sink, 0)
            await wire.until(lambda before=before: wire.arrived >= before + 20)  # type: ignore[misc]  # reason: a default binds the value of this turn

            cut = wire.path.untap(1, sink)

            got = list(sink.got)
            assert cut == max(got)
            assert got == sorted(set(got))
            passed = wire.arrived
            await wire.until(lambda passed=passed: wire.arrived >= passed + 20)  # type: ignore[misc]  # reason: as above
            assert sink.got == got


async def test_when_remove_has_returned_the_goodbye_is_the_last_that_the_listener_is_sent(wire: Wire) -> None:
    wire.path.add(1, "hana", wire.hana, COPY, 0)
    with wire.gail.sending():
        await wire.until(lambda: wire.arrived >= 50)
        wire.path.remove(1, "hana")
        passed = wire.arrived
        await wire.until(lambda: wire.arrived >= passed + 50)
        wire.path.send_rtcp(wire.hana, b"\x80\xc9\0\1" + (77).to_bytes(4))

    kinds = []
    while not kinds or kinds[-1] != 201:
        kinds.append(wire.hana.received()[1])
    assert kinds[-2:] == [203, 201]
    assert set(kinds[:-2]) == {sdp.PAYLOAD_TYPES["audio"]}


async def test_a_track_that_is_closed_reaches_nobody_any_more_and_its_tap_is_told_last(wire: Wire) -> None:
    sink = Numbers()
    wire.path.tap(1, sink, 0)
    with wire.gail.sending():
        await wire.until(lambda: len(sink.got) >= 20)
        wire.path.close(1, "left")
        got = list(sink.got)
        sent = wire.gail.sent
        await wire.until(lambda: wire.gail.sent >= sent + 100 and wire.edge.counters["ssrc-undeclared"] >= 50)

    assert (sink.got, sink.over) == (got, ["left"])


async def test_packets_go_on_while_the_loop_stands_still(wire: Wire) -> None:
    wire.path.add(1, "hana", wire.hana, COPY, 0)
    for _ in range(50):
        wire.gail.send()
        assert Packet.parse(wire.hana.received()).payload[-4:] == wire.gail.sent.to_bytes(4)


async def test_a_packet_passes_while_nobody_else_can_have_the_interpreter(wire: Wire) -> None:
    """The test sends and waits without giving the interpreter's lock back, so a thread that ever asked for it would never answer."""
    wire.path.add(1, "hana", wire.hana, COPY, 0)
    holding = ctypes.PyDLL(None)
    waiting = PollDescriptor(wire.hana.client.fileno(), select.POLLIN, 0)
    for _ in range(50):
        sealed = wire.gail.sealed()
        assert holding.send(wire.gail.client.fileno(), sealed, len(sealed), 0) == len(sealed)
        assert holding.poll(ctypes.byref(waiting), 1, int(PATIENCE * 1000)) == 1
        assert Packet.parse(wire.hana.received()).payload[-4:] == wire.gail.sent.to_bytes(4)


async def test_past_the_fence_the_thread_sends_and_taps_nothing(wire: Wire) -> None:
    sink = Numbers()
    wire.path.tap(1, sink, 0)
    wire.path.add(1, "hana", wire.hana, COPY, 0)
    wire.gail.send()
    wire.hana.received()
    wire.path.allow(int(clock.now() * 1_000_000) - 1)
    for _ in range(20):
        wire.gail.send()
    await wire.until(lambda: wire.edge.counters["fenced"] >= 20)
    wire.path.allow(None)
    wire.gail.send()

    assert Packet.parse(wire.hana.received()).sequence_number == 22
    await wire.until(lambda: sink.got == [1, 22])


async def test_bursts_of_equal_packets_arrive_whole_and_in_order(wire: Wire) -> None:
    """Where the kernel has it they travel as one message that it cuts up."""
    wire.path.add(1, "hana", wire.hana, COPY, 0)
    for _ in range(10):
        for _ in range(60):
            wire.gail.send()
        got = [Packet.parse(wire.hana.received()).sequence_number for _ in range(60)]
        assert got == list(range(wire.gail.sent - 59, wire.gail.sent + 1))


class Bare:
    """A sink that has nothing read for it."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        raise AssertionError("it was read")

    def heard(self, raw: bytes, start: int, length: int, arrived: float) -> None:
        self.payloads.append(raw[start : start + length])

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None: ...

    def closed(self, reason: str) -> None: ...


@pytest.mark.parametrize("layers", [1, 2])
def test_a_sink_that_reads_nothing_is_told_where_the_payload_of_each_packet_is(layers: int) -> None:
    plain, sink = PlainPath("native"), Bare()
    plain.path.open(1, plain.publisher, Shape("video", "v", VIDEO, None, IDS, tuple(Layer(f"l{at}", 5 + at) for at in range(layers))))
    plain.path.tap(1, sink, 0)
    key, padded = b"\x10\0first", rtp(2, b"second\0\0\3")
    plain.path.take(plain.publisher, rtp(1, key, extensions={5: b"v", 9: b"\1\2"}), 1)
    plain.path.take(plain.publisher, bytes([padded[0] | 0x20]) + padded[1:], 2)
    plain.path.take(plain.publisher, rtp(3, b"third"), 3)

    assert sink.payloads == [key, b"second", b"third"]
