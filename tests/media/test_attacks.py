"""What strangers send at the media port: dropped, by the kernel where it may be told to, and counted by the edge where not."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from calls.media import kernel_filter
from calls.media.kernel_filter import MOST_INSTRUCTIONS, KernelFilter, program

STUN = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
RTP = b"\x80\x6f" + bytes(30)

Opened = Callable[[int, str], socket.socket]

needs_filter = pytest.mark.skipif(not kernel_filter.permitted(), reason="this kernel lets no filter be set")


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Makes UDP sockets; one of IPv6 serves IPv4 too."""
    made: list[socket.socket] = []

    def make(family: int, host: str) -> socket.socket:
        made.append(socket.socket(family, socket.SOCK_DGRAM))
        if family == socket.AF_INET6:
            made[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made[-1].bind((host, 0))
        made[-1].setblocking(False)
        return made[-1]

    yield make
    for one in made:
        one.close()


def waiting(receiver: socket.socket) -> list[bytes]:
    """What the kernel has put into the socket; over loopback that is complete when `sendto` returns."""
    found = []
    while True:
        try:
            found.append(receiver.recv(2000))
        except BlockingIOError:
            return found


@needs_filter
@pytest.mark.parametrize(
    ("own", "host", "client", "target"),
    [
        (socket.AF_INET, "127.0.0.1", socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET6, "::1", socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::", socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::", socket.AF_INET, "127.0.0.1"),
    ],
    ids=["IPv4", "IPv6", "IPv6 on a dual-stack socket", "IPv4 on a dual-stack socket"],
)
def test_strangers_get_stun_through_and_nothing_else_and_proven_addresses_everything(
    opened: Opened, own: int, host: str, client: int, target: str
) -> None:
    media, known, stranger = opened(own, host), opened(client, target), opened(client, target)
    to = (target, media.getsockname()[1])
    kept = KernelFilter(media.fileno(), Counter())
    kept.hear(known.getsockname()[:2])

    for sender in (known, stranger):
        for data in (STUN, RTP, b"\x16\xfe\xfd" + bytes(60), b"\x00\x01" + bytes(30), b""):
            sender.sendto(data, to)

    assert waiting(media) == [STUN, RTP, b"\x16\xfe\xfd" + bytes(60), STUN]


@needs_filter
def test_an_address_that_went_is_a_stranger_from_the_next_settling_on(opened: Opened) -> None:
    media, client = opened(socket.AF_INET, "127.0.0.1"), opened(socket.AF_INET, "127.0.0.1")
    kept = KernelFilter(media.fileno(), Counter())
    kept.hear(client.getsockname())
    kept.unhear(client.getsockname())
    kept.settle()

    client.sendto(RTP, media.getsockname())
    assert waiting(media) == []

    kept.hear(client.getsockname())
    client.sendto(RTP, media.getsockname())
    assert waiting(media) == [RTP]


@needs_filter
@pytest.mark.parametrize("peers", [1, 100, 300, 301, 1500])
def test_many_hosts_of_both_families_are_heard_and_above_a_few_hundred_without_their_port(opened: Opened, peers: int) -> None:
    media, client, neighbour = (opened(socket.AF_INET, "127.0.0.1") for _ in range(3))
    others = [(f"10.1.{n // 250}.{n % 250}", 4000) for n in range(peers - 1)]
    kernel_filter.attach(media.fileno(), program([*others, client.getsockname()]) or [])

    client.sendto(RTP, media.getsockname())
    neighbour.sendto(RTP, media.getsockname())

    assert len(waiting(media)) == (1 if peers <= kernel_filter.MOST_WITH_PORTS else 2)


@needs_filter
def test_a_host_with_very_many_ports_is_heard_on_all(opened: Opened) -> None:
    media, client = opened(socket.AF_INET, "127.0.0.1"), opened(socket.AF_INET, "127.0.0.1")
    kernel_filter.attach(media.fileno(), program([("127.0.0.1", port) for port in range(1, 150)]) or [])
    client.sendto(RTP, media.getsockname())
    assert waiting(media) == [RTP]


@needs_filter
def test_more_peers_than_a_program_can_name_leave_the_socket_without_a_filter_never_with_a_narrow_one(opened: Opened) -> None:
    media, client = opened(socket.AF_INET, "127.0.0.1"), opened(socket.AF_INET, "127.0.0.1")
    counters: Counter[str] = Counter()
    kept = KernelFilter(media.fileno(), counters)
    kept._heard = {(f"fd00::{n:x}", 4000) for n in range(600)}
    kept.hear(("fd00::ffff", 4000))

    client.sendto(RTP, media.getsockname())

    assert (kept.active, waiting(media), counters["kernel-filter-off"]) == (False, [RTP], 1)


@pytest.mark.parametrize("peers", [0, 1, 300, 340, 2000, 3000])
def test_a_program_is_never_longer_than_the_kernel_takes(peers: int) -> None:
    made = program([(f"fd00::{n:x}" if n % 2 else f"10.1.{n // 250}.{n % 250}", 4000) for n in range(peers)])
    assert made is None or len(made) <= MOST_INSTRUCTIONS
    assert (made is None) == (peers >= 2000)
