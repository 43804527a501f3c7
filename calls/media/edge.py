"""The worker's one UDP port, and TCP on the same number (`streams`): STUN, ICE-lite, and who may be heard.

What must never happen here, and what holds it:
- A stranger's datagram reaches a handshake or a decoder (F1): anything but STUN is looked up by its address, and an address
  is entered only when a link's check came from it *and* it answered a check of ours.
- The worker is aimed at a third party: no media goes to an address that did not answer, and until then it is sent no more
  bytes than came from it in valid checks. (A lite agent may stay silent by RFC 8445; we ask back, as RFC 7675 does.)
- Malformed STUN raises or is logged (F5): it is counted, nothing else. Whatever is wrong with a check is met with silence.
- A flood of STUN starves media: every source address has a budget of its own, spent before anything is parsed.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import addresses
from .addresses import Socket
from .candidates import Listening
from .feedback import Bucket
from .forward import PythonPath
from .kernel_filter import KernelFilter
from .path import Address, Event, MediaPath
from .peer import Certificate, Link, authentic_stun, stun
from .streams import Streams

CONSENT_SECONDS = 30.0  # RFC 7675 section 5.1
SWEEP_SECONDS = 1.0
POLL_SECONDS = 0.05
MOST_ADDRESSES = 8
MOST_PROBES = 8
MOST_SOURCES = 4096
STRANGER_RATE, STRANGER_BURST = 200.0, 400.0  # checks per second of one IP address: a whole office may join at once
KNOWN_RATE, KNOWN_BURST = 50.0, 100.0  # checks per second of one proven address
LARGEST_DATAGRAM = 1500
BATCH = 64
PORT_TRIES = 8  # for one free port number of both kinds

_COOKIE = stun.COOKIE.to_bytes(4)
_REQUEST, _RESPONSE = b"\x00\x01", b"\x01\x01"
_USERNAME = 0x0006


def username_of(data: bytes) -> str:
    """The USERNAME of a STUN message without parsing the rest; empty when there is none (RFC 8489 section 14.3)."""
    position = 20
    while position + 4 <= len(data):
        kind, length = int.from_bytes(data[position : position + 2]), int.from_bytes(data[position + 2 : position + 4])
        if kind == _USERNAME:
            return data[position + 4 : position + 4 + length].decode("ascii", "replace")
        position += 4 + length + (-length % 4)
    return ""


class Budgets:
    """A token bucket per source, for at most `most` sources; the one unused for longest makes room."""

    def __init__(self, clock: Callable[[], float], most: int = MOST_SOURCES) -> None:
        self._clock, self._most = clock, most
        self._buckets: OrderedDict[object, Bucket] = OrderedDict()

    def take(self, source: object, rate: float, burst: float) -> bool:
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = Bucket(rate, burst, self._clock())
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(source)
        return bucket.take(self._clock())


@dataclass(slots=True)
class _Heard:
    """An address that answered: who it belongs to, and when its last valid check came."""

    link: Link
    checked_at: float


@dataclass(slots=True)
class _Candidate:
    """An address that sent a valid check and has not answered yet."""

    credit: int = 0
    probes: deque[bytes] = field(default_factory=deque)
    request: stun.Message | None = None
    ufrag: str = ""


class Edge:
    """One UDP port per worker. `counters` says, by name, what was dropped and why.

    The socket is read in batches, which a transport of asyncio does not do (one datagram per turn of the loop loses a
    handshake to a spray), and nothing is queued on the way out: what the kernel does not take is the listener's loss.
    """

    def __init__(self, advertise: Sequence[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.certificate = Certificate.generateCertificate()
        self.counters: Counter[str] = Counter()
        self.hosts, self.port = tuple(advertise), 0
        self.socket: Socket | None = None
        self.kernel_filter: KernelFilter | None = None
        self._links: dict[Link, dict[Address, _Candidate]] = {}
        self._by_ufrag: dict[str, Link] = {}
        self._by_address: dict[Address, _Heard] = {}
        self._asked: dict[bytes, Link] = {}
        self._budgets = Budgets(clock)
        self.streams = Streams(self.counters, self.datagram_received, self._stream_lost)
        self._timer: asyncio.TimerHandle | None = None
        self._poll: asyncio.TimerHandle | None = None
        wall_offset_us = int(time.time() * 1_000_000) - int(clock() * 1_000_000)
        self.path: MediaPath = PythonPath(self.counters, self.send, clock, wall_offset_us)

    @classmethod
    async def bind(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        advertise: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        *,
        tcp: bool = True,
        kernel_filter: bool = True,
    ) -> Edge:
        """Open the port, for UDP and, with `tcp`, for TCP. `advertise` are the addresses that clients are told when not `host`. Raises OSError.

        An IPv6 `host` serves IPv4 too; so `::` serves both. With `kernel_filter` the kernel drops what strangers send, where it may be told to.
        """
        edge = cls(advertise, clock)
        loop = asyncio.get_running_loop()
        family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
        for left in reversed(range(PORT_TRIES)):
            opened, own_host, edge.port = addresses.open_udp(family, address)
            try:
                if tcp:
                    await edge.streams.listen(family, (address[0], edge.port, *address[2:]))
                break
            except OSError:
                opened.close()
                if port or not left:
                    raise
        edge.hosts, edge.socket = edge.hosts or (own_host,), opened
        if kernel_filter:
            edge.kernel_filter = KernelFilter(opened.fileno(), edge.counters)
        loop.add_reader(opened.fileno(), edge._readable)
        edge._tick()
        edge._poll_path()
        return edge

    @property
    def listening(self) -> Listening:
        """Where clients may send to."""
        return Listening(self.hosts, self.port, self.streams.listening)

    def link(self, on_event: Callable[[Event], None], on_state: Callable[[str], None]) -> Link:
        """A new end of a peer connection, silent until it is started and checked. Callbacks as `peer.Link` says."""
        return Link(self, on_event, on_state)

    async def close(self) -> None:
        """Close every link and the socket."""
        for timer in (self._timer, self._poll):
            if timer is not None:
                timer.cancel()
        links = list(self._links)
        for link in links:
            link.close()
        for link in links:
            await link.wait_closed()
        self.path.closing()
        if self.socket is not None:
            asyncio.get_running_loop().remove_reader(self.socket.fileno())
            self.socket.close()
            self.socket = None
        self.streams.close()

    # What a link asks of its carrier.
    def send(self, data: bytes, address: Address) -> bool:
        if not addresses.is_udp(address):
            return self.streams.send(data, address)
        if self.socket is None:
            return False
        try:
            self.socket.sendto(data, address)
        except BlockingIOError:
            self.counters["send-full"] += 1
        except OSError:
            self.counters["socket-error"] += 1
        else:
            return True
        return False

    def listen(self, ufrag: str, link: Link) -> None:
        self._by_ufrag[ufrag] = link
        self._links.setdefault(link, {})

    def retire(self, ufrag: str) -> None:
        self._by_ufrag.pop(ufrag, None)

    def forget(self, link: Link) -> None:
        for address in list(self._links.get(link, {})):
            self._stop_waiting(link, address)
        self._links.pop(link, None)
        for ufrag in [ufrag for ufrag, owner in self._by_ufrag.items() if owner is link]:
            del self._by_ufrag[ufrag]
        for address in [address for address, heard in self._by_address.items() if heard.link is link]:
            self._unhear(address)

    # Incoming.
    def _readable(self) -> None:
        """Take what has come, at most one batch, so that timers and pipes get their turn."""
        for _ in range(BATCH):
            if self.socket is None:
                return
            try:
                data, address = self.socket.recvfrom(LARGEST_DATAGRAM + 1)
            except BlockingIOError:
                return
            except OSError:
                self.counters["socket-error"] += 1
                return
            self.datagram_received(data, address)

    def datagram_received(self, data: bytes, address: Address) -> None:
        """One datagram, whoever sent it."""
        if not data or len(data) > LARGEST_DATAGRAM:
            self.counters["oversize" if data else "empty"] += 1
        elif data[0] < 4:
            self._stun(data, address)
        else:
            heard = self._by_address.get(address)
            if heard is None:
                self.counters["stranger"] += 1
            else:
                heard.link.feed(data)

    def _stun(self, data: bytes, address: Address) -> None:
        known = address in self._by_address
        source, rate, burst = (address, KNOWN_RATE, KNOWN_BURST) if known else (addresses.source(address), STRANGER_RATE, STRANGER_BURST)
        if not self._budgets.take(source, rate, burst):
            self.counters["stun-budget"] += 1
        elif len(data) < 20 or data[4:8] != _COOKIE:
            self.counters["stun-malformed"] += 1
        elif data[:2] == _REQUEST:
            self._request(data, address)
        elif data[:2] == _RESPONSE:
            self._response(data, address)
        else:
            self.counters["stun-unknown"] += 1

    def _request(self, data: bytes, address: Address) -> None:
        ufrag = username_of(data).partition(":")[0]
        link = self._by_ufrag.get(ufrag)
        if link is None:
            self.counters["stun-unknown"] += 1
            return
        try:
            request = authentic_stun(data, link.password(ufrag))
        except ValueError as fault:
            self.counters[f"stun-{fault}"] += 1
            return
        heard = self._by_address.get(address)
        if heard is not None and heard.link is link:
            heard.checked_at = self.clock()
            self._accept(link, ufrag, request, address)
        else:
            self._ask_back(link, ufrag, request, address, len(data))

    def _accept(self, link: Link, ufrag: str, request: stun.Message, address: Address) -> None:
        """A valid check from an address that answers: refresh consent, nominate, reply."""
        link.checked(ufrag)
        if link.address is None or ("USE-CANDIDATE" in request.attributes and link.address != address):
            self.counters["moved"] += link.address is not None
            link.move(address)
        reply = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id)
        reply.attributes["XOR-MAPPED-ADDRESS"] = addresses.shown(address)
        reply.add_message_integrity(link.password(ufrag).encode())
        self.send(bytes(reply), address)

    def _ask_back(self, link: Link, ufrag: str, request: stun.Message, address: Address, size: int) -> None:
        """A valid check from an address that has not answered yet: ask it, for no more bytes than it sent."""
        waiting = self._links[link]
        if address not in waiting and len(waiting) >= MOST_ADDRESSES:
            self._stop_waiting(link, next(iter(waiting)))
        candidate = waiting.setdefault(address, _Candidate())
        candidate.credit += size
        candidate.request, candidate.ufrag = request, ufrag
        self._probe(link, address, candidate)

    def _probe(self, link: Link, address: Address, candidate: _Candidate) -> None:
        if link.remote is None:
            return
        remote_ufrag, remote_pwd = link.remote
        probe = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        probe.attributes["USERNAME"] = f"{remote_ufrag}:{candidate.ufrag}"
        probe.attributes["ICE-CONTROLLED"] = link.session
        probe.attributes["PRIORITY"] = 2130706431
        probe.add_message_integrity(remote_pwd.encode())
        data = bytes(probe)
        if len(data) <= candidate.credit and self.send(data, address):
            candidate.credit -= len(data)
            if len(candidate.probes) == MOST_PROBES:
                self._asked.pop(candidate.probes.popleft(), None)
            candidate.probes.append(probe.transaction_id)
            self._asked[probe.transaction_id] = link

    def _stop_waiting(self, link: Link, address: Address) -> _Candidate:
        candidate = self._links[link].pop(address)
        for transaction in candidate.probes:
            self._asked.pop(transaction, None)
        return candidate

    def ask_waiting(self, link: Link) -> None:
        """The other side's credentials became known: ask every address that has been checking without an answer."""
        for address, candidate in list(self._links.get(link, {}).items()):
            self._probe(link, address, candidate)

    def _response(self, data: bytes, address: Address) -> None:
        transaction = data[8:20]
        asked = self._asked.get(transaction)
        candidate = self._links[asked].get(address) if asked is not None else None
        if asked is None or asked.remote is None or candidate is None or transaction not in candidate.probes:
            self.counters["stun-unknown"] += 1
            return
        try:
            authentic_stun(data, asked.remote[1])
        except ValueError as fault:
            self.counters[f"stun-{fault}"] += 1
            return
        self._stop_waiting(asked, address)
        self._hear(asked, address)
        if candidate.request is not None and self._by_ufrag.get(candidate.ufrag) is asked:
            self._accept(asked, candidate.ufrag, candidate.request, address)

    def _hear(self, link: Link, address: Address) -> None:
        """From now on what comes from `address` is the link's. Its oldest other address makes room."""
        own = [known for known, heard in self._by_address.items() if heard.link is link and known != link.address]
        if len(own) >= MOST_ADDRESSES:
            self._unhear(min(own, key=lambda known: self._by_address[known].checked_at))
        before = self._by_address.get(address)
        if before is not None and before.link is not link and before.link.address == address:
            before.link.move(None)
        self._by_address[address] = _Heard(link, self.clock())
        self.path.hear(address, link)
        self.streams.prove(address)
        if self.kernel_filter is not None:
            self.kernel_filter.hear(address)

    def _unhear(self, address: Address) -> None:
        del self._by_address[address]
        self.path.unhear(address)
        self.streams.doubt(address)
        if self.kernel_filter is not None:
            self.kernel_filter.unhear(address)

    def _stream_lost(self, address: Address) -> None:
        """A TCP connection ended: its link falls back to the address that checked last, if it has another, until its client nominates one."""
        for link, waiting in self._links.items():
            if address in waiting:
                self._stop_waiting(link, address)
        heard = self._by_address.get(address)
        if heard is None:
            return
        self._unhear(address)
        if heard.link.address == address:
            others = [known for known, of in self._by_address.items() if of.link is heard.link]
            heard.link.move(max(others, key=lambda known: self._by_address[known].checked_at, default=None))

    # Time.
    def _poll_path(self) -> None:
        self.path.poll(int(self.clock() * 1_000_000))
        self._poll = asyncio.get_running_loop().call_later(POLL_SECONDS, self._poll_path)

    # Consent freshness.
    def _tick(self) -> None:
        self.sweep()
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._tick)

    def sweep(self) -> None:
        """Close links without a valid check for 30 s, and forget addresses that went silent (RFC 7675)."""
        lapsed = self.clock() - CONSENT_SECONDS
        for link in [link for link in self._links if link.checked_at <= lapsed]:
            self.counters["consent-expired"] += 1
            link.expire()
        for address, heard in list(self._by_address.items()):
            if heard.checked_at <= lapsed and heard.link.address != address:
                self._unhear(address)
        if self.kernel_filter is not None:
            self.kernel_filter.settle()
