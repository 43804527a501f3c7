"""The worker's one UDP port, and TCP on the same number (`streams`): STUN, ICE-lite, and who may be heard.

What must never happen here, and what holds it:
- A stranger's datagram reaches a handshake or a decoder (F1): anything but STUN is looked up by its address, and an address
  is entered only when a link's check came from it *and* it answered a check of ours.
- The worker is aimed at a third party: no media goes to an address that did not answer, and until then it is sent no more
  bytes than came from it in valid checks. (A lite agent may stay silent by RFC 8445; we ask back, as RFC 7675 does.)
- Somebody who overheard checks sends them again under the address that they came from: no check by itself moves a connection or keeps its
  consent fresh, only an answer to what was asked just now does, at each move and every few seconds.
- Malformed STUN raises or is logged (F5): it is counted, nothing else. Whatever is wrong with a check is met with silence.
- A flood of STUN starves media: every source address has a budget of its own, spent before anything is parsed, and so has every
  link for checks from unproven addresses, spent before anything is authenticated. A proven address needs neither, and answers need none:
  who forges an address uses up its budget, and cannot keep it from answering.
- Media that waited while this worker might not carry calls pass when it may again: `allow` takes up what waits before it opens the path.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence

from . import addresses, checks, forms, rhythm
from .addresses import LARGEST_DATAGRAM, Socket
from .budgets import Budgets
from .candidates import Listening
from .checks import Candidate, Heard
from .clock import now
from .forward.allowance import Rates
from .kernel_filter import KernelFilter
from .path import Address, Event, MediaPath
from .peer import Certificate, Link, authentic_stun, stun
from .streams import Streams

CONSENT_SECONDS = 30.0  # RFC 7675 section 5.1
ASKED_EVERY, ASKED_AGAIN = 5.0, 2.0  # seconds after an answer, and after a question without one, in which an address in use is asked
SWEEP_SECONDS = 1.0
POLL_SECONDS = 0.05
MOST_ADDRESSES = 8
MOST_PROBES = 8
STRANGER_RATE, STRANGER_BURST = 200.0, 400.0  # checks per second of one IP address: a whole office may join at once
KNOWN_RATE, KNOWN_BURST = 50.0, 100.0  # checks per second of one proven address
NAMED_RATE, NAMED_BURST = 400.0, 800.0  # checks per second that name one link, from all unproven addresses: no single one can use it up
MOST_HANDSHAKES = 256  # at one time; the others wait for their turn
PORT_TRIES = 8  # for one free port number of both kinds


class Edge:
    """One UDP port per worker. `counters` says, by name, what was dropped and why.

    The path reads the socket in batches, which a transport of asyncio does not do (one datagram per turn of the loop loses a
    handshake to a spray), and nothing is queued on the way out: what the kernel does not take is the listener's loss.
    """

    def __init__(
        self,
        advertise: Sequence[str] = (),
        clock: Callable[[], float] | None = None,
        form: str = "",
        rates: Rates | None = None,
    ) -> None:
        self.clock = clock or now
        self.certificate = Certificate.generateCertificate()
        self.counters: Counter[str] = Counter()
        self.hosts, self.port = tuple(advertise), 0
        self.socket: Socket | None = None
        self.kernel_filter: KernelFilter | None = None
        self._links: dict[Link, dict[Address, Candidate]] = {}
        self._by_ufrag: dict[str, Link] = {}
        self._by_address: dict[Address, Heard] = {}
        self._asked: dict[bytes, Link] = {}
        self._budgets, self._named = Budgets(self.clock), Budgets(self.clock)
        self.handshakes = asyncio.Semaphore(MOST_HANDSHAKES)
        self.streams = Streams(self.counters, self.datagram_received, self._stream_lost, self._is_past)
        self._timer: asyncio.TimerHandle | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None  # while it runs, nobody waits for the socket
        wall_offset_us = int(time.time() * 1_000_000) - int(self.clock() * 1_000_000)
        self.path: MediaPath = forms.make(form, self.counters, self.send, self.clock, wall_offset_us, rates)
        self._watched = -1
        self._shut = False
        self._until: float | None = None

    @classmethod
    async def bind(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        advertise: Sequence[str] = (),
        *,
        tcp: bool = True,
        kernel_filter: bool = True,
        form: str = "",
        rates: Rates | None = None,
    ) -> Edge:
        """Open the port, for UDP and, with `tcp`, for TCP. `advertise` are the addresses that clients are told when not `host`. Raises OSError.

        An IPv6 `host` serves IPv4 too; so `::` serves both. With `kernel_filter` the kernel drops what strangers send, where it may be told to.
        `form` is that of the packet path, as `forms` names it; `rates` what participants may bring, where it is not `Rates()`.
        """
        edge = cls(advertise, form=form, rates=rates)
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
        edge._watch(opened.fileno(), family)
        edge._tick()
        edge._poll_path()
        return edge

    def _watch(self, descriptor: int, family: int) -> None:
        """Let the path read the socket."""
        self._watched = self.path.read(descriptor, family, self.datagram_received)
        asyncio.get_running_loop().add_reader(self._watched, self._woken)

    @property
    def listening(self) -> Listening:
        """Where clients may send to."""
        return Listening(self.hosts, self.port, self.streams.listening)

    def link(self, on_event: Callable[[Event], None], on_state: Callable[[str], None]) -> Link:
        """A new end of a peer connection, silent until it is started and checked. Callbacks as `peer.Link` says."""
        return Link(self, on_event, on_state)

    async def close(self) -> None:
        """Close every link and the socket."""
        for timer in (self._timer, self._poll, self._rest):
            if timer is not None:
                timer.cancel()
        links = list(self._links)
        for link in links:
            link.close()
        for link in links:
            await link.wait_closed()
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = -1
        self.path.closing()
        if self.socket is not None:
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
        self._named.forget(ufrag)

    def forget(self, link: Link) -> None:
        for address in list(self._links.get(link, {})):
            self._stop_waiting(link, address)
        self._links.pop(link, None)
        for ufrag in [ufrag for ufrag, owner in self._by_ufrag.items() if owner is link]:
            self.retire(ufrag)
        for address in [address for address, heard in self._by_address.items() if heard.link is link]:
            self._unhear(address)

    # The fence.
    def allow(self, until: float) -> None:
        """Media may pass up to this moment of `clock.now`, which may be over already.

        Where the last such moment is over, nothing that waited since passes: it is taken up first, while the path still drops it.
        """
        if self._is_past():
            self._shut_path()
            self.streams.lapse(over=True)
            self.path.take_up()
            self.streams.take_up()
        self._until, self._shut = until, False
        path_now = self.clock()  # a test may move it by hand
        self.path.allow(max(0, int((path_now + until - now()) * 1_000_000)))

    def _is_past(self) -> bool:
        """May no media pass at this moment?"""
        return self._until is not None and now() > self._until

    def _shut_path(self) -> None:
        """The last moment is over: nothing that waits goes out."""
        if not self._shut:
            self._shut = True
            self.path.allow(0)
            self.streams.lapse(over=False)

    # Incoming.
    def _woken(self) -> None:
        """Let the path read. An address whose interface has gone in the meantime is nobody's: what else has come is taken up all the same."""
        if self._watched < 0:
            return
        loop, rested, again_in = asyncio.get_running_loop(), self._rest is not None, 0.0
        self._rest = None
        try:
            again_in = self.path.woken()
        except OSError:
            self.counters["socket-error"] += 1
            loop.call_soon(self._woken)
        if again_in:
            self._rest = loop.call_later(again_in, self._woken)
        if rested != (self._rest is not None):
            loop.remove_reader(self._watched) if again_in else loop.add_reader(self._watched, self._woken)

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
        if data[8:20] not in self._asked and not self._budgets.take(source, rate, burst):  # an answer names what only who was asked can know
            self.counters["stun-budget"] += 1
        elif len(data) < 20 or data[4:8] != checks.COOKIE:
            self.counters["stun-malformed"] += 1
        elif data[:2] == checks.REQUEST:
            self._request(data, address)
        elif data[:2] == checks.RESPONSE:
            self._response(data, address)
        else:
            self.counters["stun-unknown"] += 1

    def _request(self, data: bytes, address: Address) -> None:
        ufrag = checks.username_of(data).partition(":")[0]
        link = self._by_ufrag.get(ufrag)
        if link is None:
            self.counters["stun-unknown"] += 1
            return
        heard = self._by_address.get(address)
        if (heard is None or heard.link is not link) and not self._named.take(ufrag, NAMED_RATE, NAMED_BURST):
            self.counters["stun-named-budget"] += 1
            return
        try:
            request = authentic_stun(data, link.password(ufrag))
        except ValueError as fault:
            self.counters[f"stun-{fault}"] += 1
            return
        if heard is not None and heard.link is link:
            heard.checked_at = self.clock()
        if heard is not None and heard.link is link and not checks.moves(link, request, address):
            self._accept(link, ufrag, request, address)
        else:
            self._ask_back(link, ufrag, request, address, len(data))

    def _accept(self, link: Link, ufrag: str, request: stun.Message, address: Address) -> None:
        """A valid check from an address that answers: nominate, reply."""
        link.checked(ufrag)
        if link.address is None or checks.moves(link, request, address):
            self.counters["moved"] += link.address is not None
            link.move(address)
        self.send(checks.answer(request, address, link.password(ufrag)), address)

    def _ask_back(self, link: Link, ufrag: str, request: stun.Message, address: Address, size: int) -> None:
        """A valid check from an address that has not answered yet, or is to be moved to: ask it, for no more bytes than it sent."""
        waiting = self._links[link]
        if address not in waiting and len(waiting) >= MOST_ADDRESSES:
            self._stop_waiting(link, next(iter(waiting)))
        candidate = waiting.setdefault(address, Candidate())
        candidate.credit += size
        candidate.request, candidate.ufrag = request, ufrag
        self._probe(link, address, candidate)

    def _ask_in_use(self, link: Link, address: Address) -> None:
        """Is who is sent media still there? The address has answered before, so it need not have sent anything for that."""
        candidate, at = self._links[link].setdefault(address, Candidate()), self.clock()
        if at - candidate.asked_at >= ASKED_AGAIN:
            candidate.ufrag, candidate.asked_at, candidate.credit = link.in_use, at, LARGEST_DATAGRAM
            self._probe(link, address, candidate)
            candidate.credit = 0

    def _probe(self, link: Link, address: Address, candidate: Candidate) -> None:
        if link.remote is None:
            return
        probe = checks.question(link, candidate.ufrag, link.remote)
        data = bytes(probe)
        if len(data) <= candidate.credit and self.send(data, address):
            candidate.credit -= len(data)
            if len(candidate.probes) == MOST_PROBES:
                self._asked.pop(candidate.probes.popleft(), None)
            candidate.probes.append(probe.transaction_id)
            self._asked[probe.transaction_id] = link

    def _stop_waiting(self, link: Link, address: Address) -> Candidate:
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
        candidate.probes.remove(transaction)  # once: who was asked must not have one answer after the other authenticated
        del self._asked[transaction]
        try:
            authentic_stun(data, asked.remote[1])
        except ValueError as fault:
            self.counters[f"stun-{fault}"] += 1
            return
        self._stop_waiting(asked, address)
        self._hear(asked, address)
        if candidate.request is not None and self._by_ufrag.get(candidate.ufrag) is asked:
            self._accept(asked, candidate.ufrag, candidate.request, address)
        if asked.address == address:
            asked.answered_at = self.clock()

    def _hear(self, link: Link, address: Address) -> None:
        """From now on what comes from `address` is the link's. Its oldest other address makes room."""
        own = [known for known, heard in self._by_address.items() if heard.link is link and known != link.address]
        if len(own) >= MOST_ADDRESSES:
            self._unhear(min(own, key=lambda known: self._by_address[known].checked_at))
        before = self._by_address.get(address)
        if before is not None and before.link is not link and before.link.address == address:
            before.link.move(None)
        self._by_address[address] = Heard(link, self.clock())
        self.path.hear(address, link)
        self.streams.prove(address)
        if self.kernel_filter is not None:
            self.kernel_filter.hear(address)

    def _unhear(self, address: Address) -> None:
        del self._by_address[address]
        self._budgets.forget(address)
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
        self._poll = rhythm.next_turn(self._poll_path, POLL_SECONDS)  # first: one fault must not be the last turn
        if self._is_past():
            self._shut_path()
        self.path.poll(int(self.clock() * 1_000_000))

    # Consent freshness.
    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._tick)
        self.sweep()

    def sweep(self) -> None:
        """Ask who is sent media, close links that have not answered for 30 s, and forget addresses that went silent (RFC 7675)."""
        lapsed = self.clock() - CONSENT_SECONDS
        for link in [link for link in self._links if link.answered_at <= lapsed]:
            self.counters["consent-expired"] += 1
            link.expire()
        for link in self._links:
            if link.address is not None and self.clock() - link.answered_at >= ASKED_EVERY:
                self._ask_in_use(link, link.address)
        for address, heard in list(self._by_address.items()):
            if heard.checked_at <= lapsed and heard.link.address != address:
                self._unhear(address)
        if self.kernel_filter is not None:
            self.kernel_filter.settle()
