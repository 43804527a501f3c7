"""Bursts that the media thread takes in at once reach each listener as if they had come packet by packet."""

from __future__ import annotations

import random
import socket
from collections import Counter

import pylibsrtp
import pytest

from calls.media import clock
from calls.media.forward import PythonPath
from calls.media.forward.allowance import WITHOUT_LIMIT
from calls.media.native import build
from calls.media.native.path import NativePath
from calls.media.path import Address, Copy, Event, Layer, Masters, MediaPath, Shape
from calls.media.peer import RTCP_RTPFB_NACK, RtcpRtpfbPacket

from .both import KEYS, session
from .plain import AUDIO, IDS, REPAIRS, VIDEO, rtp

PATIENCE = 20.0
LISTENERS = 3
CAMERA, MICROPHONE, REPEATED = 25, 26, 27  # SSRCs of the publisher
SENT = 7_000  # the first SSRC that listeners are sent


class End:
    """An end whose client is a socket of this test, once for each form."""

    rtcp_ssrc = 9_001

    def __init__(self, number: int, client: socket.socket) -> None:
        self.number, self.address = number, client.getsockname()
        self.sessions = (session("in", ours=True), session("out", ours=True))
        self.masters: Masters = (KEYS["in"], KEYS["out"])

    def on_event(self, event: Event) -> None:
        """Nothing is asked of it here."""


def client_of(server: socket.socket) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    made.bind(("127.0.0.1", 0))
    made.settimeout(PATIENCE)
    made.connect(server.getsockname())
    return made


def furnish(path: MediaPath, clients: list[socket.socket]) -> list[End]:
    """A publisher with camera and microphone, and listeners to both."""
    ends = [End(number, client) for number, client in enumerate(clients)]
    for end in ends:
        path.attach(end)
        path.hear(end.address, end)
        path.move(end, end.address)
    path.open(1, ends[0], Shape("video", "v", VIDEO, REPAIRS, IDS, (Layer("", CAMERA, REPEATED),)))
    path.open(2, ends[0], Shape("audio", "a", AUDIO, None, IDS, (Layer("", MICROPHONE),)))
    for end in ends[1:]:
        path.add(1, f"l{end.number}", end, Copy(SENT + 10 * end.number, SENT + 10 * end.number + 1, "v", "gail"), 0)
        path.add(2, f"l{end.number}", end, Copy(SENT + 10 * end.number + 2, None, "a", "gail"), 0)
    return ends


def picture(number: int, *, key: bool) -> bytes:
    """A packet with a picture id that begins a picture."""
    return bytes([0x90, 0x80]) + (0x8000 | number & 0x7FFF).to_bytes(2) + bytes([not key]) + number.to_bytes(4) * 30


def datagrams(chance: random.Random) -> list[tuple[int, bytes]]:
    """Who sends what in clear, in order: numbers that jump, also once around what is kept, come late and come twice; and requests in between."""
    number, sound, made = 1_000, 0, list[tuple[int, bytes]]()
    for turn in range(400):
        kind = chance.random()
        if kind < 0.15:
            sound += 1
            made.append((0, rtp(sound, b"\xfc" + sound.to_bytes(4), ssrc=MICROPHONE, payload_type=AUDIO)))
        elif kind < 0.2 and turn:
            listener = chance.randrange(1, 1 + LISTENERS)
            wanted = [number - step & 0xFFFF for step in sorted(chance.sample(range(12), 3), reverse=True)]
            made.append((listener, bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, 4_000 + listener, SENT + 10 * listener, wanted))))
        elif kind < 0.3 and turn:
            late = number - chance.randrange(1, 20)
            made.append((0, rtp(late, picture(late, key=False), ssrc=CAMERA, timestamp=late)))
        else:
            number += chance.choice((1, 1, 1, 1, 1, 1, 2, 8, 9, 256, 511, 512, 513))
            made.append((0, rtp(number, picture(number, key=turn % 20 == 0 or not turn), ssrc=CAMERA, timestamp=number)))
    return [(0, rtp(999, picture(999, key=True), ssrc=CAMERA, timestamp=999)), *made]


def by_stream(sealed: list[bytes]) -> dict[int, list[bytes]]:
    """The packets in clear, in order, by SSRC."""
    opening, found = session("out", ours=False), dict[int, list[bytes]]()
    for clear in map(opening.unprotect, sealed):
        found.setdefault(int.from_bytes(clear[8:12]), []).append(clear)
    return found


def media(client: socket.socket) -> bytes:
    """The next datagram that is no control packet."""
    while 192 <= (data := client.recv(2_000))[1] <= 223:
        pass
    return data


@pytest.mark.parametrize("seed", range(12))
def test_what_lay_there_before_the_thread_began_comes_out_as_from_the_form_in_python(seed: int) -> None:
    assert build.ensure() == ""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    server.bind(("127.0.0.1", 0))
    server.setblocking(False)
    clients = [client_of(server) for _ in range(1 + LISTENERS)]
    sealing: dict[int, pylibsrtp.Session] = {number: session("in", ours=False) for number in range(1 + LISTENERS)}
    sent: dict[Address, list[bytes]] = {client.getsockname(): [] for client in clients}

    def note(data: bytes, address: Address) -> bool:
        if not 192 <= data[1] <= 223:
            sent[address].append(data)
        return True

    python = PythonPath(Counter(), note, clock.now, rates=WITHOUT_LIMIT)
    counters = Counter[str]()
    native = NativePath(counters, lambda data, address: False, clock.now, rates=WITHOUT_LIMIT)
    theirs, _ = furnish(python, clients), furnish(native, clients)
    for who, clear in datagrams(random.Random(seed)):
        sealed = sealing[who].protect_rtcp(clear) if 192 <= clear[1] <= 223 else sealing[who].protect(clear)
        python.take(theirs[who], sealed, int(clock.now() * 1_000_000))
        clients[who].send(sealed)

    native.read(server.fileno(), socket.AF_INET, lambda data, address: None)

    for client in clients[1:]:
        expected = sent[client.getsockname()]
        assert len(expected) > 200
        assert by_stream([media(client) for _ in expected]) == by_stream(expected)
    native.closing()
    for client in clients[1:]:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            media(client)
    for one in (server, *clients):
        one.close()
