"""What the media thread leaves to the edge: bounded, of strangers apart from proven addresses, some of it in each turn of the loop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from calls.media import clock
from calls.media.forward.allowance import WITHOUT_LIMIT
from calls.media.native import build
from calls.media.native.path import NativePath
from calls.media.native.waiting import AT_ONCE, MOST_WAITING
from calls.media.path import Address, Event, Layer, Masters, Shape

from .both import session
from .plain import AUDIO, IDS, rtp

PATIENCE = 20.0
KERNEL_BYTES = 1 << 20
CHECK = b"\x00\x01" + bytes(1398)  # what the thread takes for STUN


class End:
    """One end, whose client is a socket of this test."""

    number, rtcp_ssrc = 1, 9_001

    def __init__(self, port: int) -> None:
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.bind(("127.0.0.1", 0))
        self.client.connect(("127.0.0.1", port))
        self.address: Address | None = self.client.getsockname()
        self.sessions = (session("in", ours=True), session("out", ours=True))
        self.masters: Masters = (None, None)
        self.sealing, self.sent = session("in", ours=False), 0

    def on_event(self, event: Event) -> None:
        """Nothing is asked of it here."""

    def sealed(self) -> bytes:
        """The next packet of sound."""
        self.sent += 1
        return self.sealing.protect(rtp(self.sent, b"\xfc", ssrc=25, payload_type=AUDIO))


class Thread:
    """A path with its thread on a real socket, and everything that it gave to the edge. Nothing of the loop runs but what a test asks for."""

    def __init__(self) -> None:
        self.socket, self.stranger = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.counters: Counter[str] = Counter()
        self.given: list[tuple[bytes, Address]] = []
        self.path = NativePath(self.counters, lambda data, address: False, clock.now, rates=WITHOUT_LIMIT)
        self.path.read(self.socket.fileno(), socket.AF_INET, lambda data, address: self.given.append((data, address)))
        self.gail = End(self.socket.getsockname()[1])
        self.path.attach(self.gail)
        assert self.gail.address is not None
        self.path.hear(self.gail.address, self.gail)
        self.path.open(1, self.gail, Shape("audio", "m", AUDIO, None, IDS, (Layer("", 25),)))

    def pass_by(self) -> None:
        """Return when the thread has taken everything that was sent until now."""
        before = self.path.seen(1).layers[0].packets
        self.gail.client.send(self.gail.sealed())
        until(lambda: self.path.seen(1).layers[0].packets > before)

    def flood(self, octets: int) -> None:
        """So much from a stranger, a little at a time, so that the kernel loses none."""
        for _ in range(octets // len(CHECK) // 100 + 1):
            for _ in range(100):
                self.stranger.sendto(CHECK, self.socket.getsockname())
            self.pass_by()

    def poll(self) -> None:
        self.path.poll(int(clock.now() * 1_000_000))

    def close(self) -> None:
        self.path.detach(self.gail)
        self.path.closing()
        for one in (self.socket, self.stranger, self.gail.client):
            one.close()


def until(true: Callable[[], bool]) -> None:
    """Wait for it without giving the loop a turn."""
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends, "it did not come in time"
        time.sleep(0.001)


@pytest.fixture
def thread() -> Iterator[Thread]:
    assert build.ensure() == ""
    made = Thread()
    yield made
    made.close()


@pytest.mark.parametrize("meanwhile", ["take", "poll", "untap"])
async def test_what_strangers_send_is_bounded_also_where_the_loop_gives_commands_and_takes_none_of_it(thread: Thread, meanwhile: str) -> None:
    for _ in range(6):
        thread.flood(MOST_WAITING // 2)
        if meanwhile == "take":
            thread.path.take(thread.gail, thread.gail.sealed(), int(clock.now() * 1_000_000))
        elif meanwhile == "poll":
            thread.poll()
        else:
            sink = Deaf()
            thread.path.tap(1, sink, 0)
            thread.path.untap(1, sink)
    for _ in range(3 * MOST_WAITING // len(CHECK) // AT_ONCE):
        thread.poll()

    assert thread.counters["edge-overflow"] > 0
    assert sum(len(data) for data, _ in thread.given) <= 2 * MOST_WAITING


class Deaf:
    """A sink that keeps nothing."""

    def packet(self, packet: object, raw: bytes, arrived: float) -> None: ...
    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None: ...
    def closed(self, reason: str) -> None: ...


async def test_what_a_proven_address_sends_reaches_the_edge_while_strangers_overflow(thread: Thread) -> None:
    thread.flood(2 * MOST_WAITING)
    thread.gail.client.send(b"\x00\x01 gail")
    thread.pass_by()

    thread.poll()

    assert (b"\x00\x01 gail", thread.gail.address) in thread.given
    assert thread.counters["edge-overflow"] > 0


async def test_however_often_the_loop_is_woken_it_takes_one_batch_of_what_waits_in_its_next_turn(thread: Thread) -> None:
    thread.flood(MOST_WAITING // 2)
    for _ in range(3):
        thread.poll()
    before = len(thread.given)

    await asyncio.sleep(0)

    assert before == 3 * AT_ONCE
    assert len(thread.given) - before == AT_ONCE
