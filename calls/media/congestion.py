"""transport-cc (draft-holmer-rmcat-transport-wide-cc-extensions-01): what we tell publishers, and what listeners tell us. Nothing here sends."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

from .path import Feedback

FORMAT = 15
EVERY_US = 100_000  # between two feedback packets to one publisher
MOST_STATUSES = 256  # packets that one feedback tells of
MOST_NOTED = 1024  # arrivals kept until they are told; a jump beyond is a new beginning
MOST_UNTOLD = 4096  # numbers that wait to be told, however fast they come
SENT = 4096  # packets to a listener whose feedback counts
EVENT_US = 200_000
WINDOW_US = 10_000_000
_TICK_US, _REFERENCE_US = 250, 64_000
_HEAD = Struct("!BBHLLHH")
_REFERENCE_SPAN = 1 << 24


class Arrivals:
    """The transport-wide numbers that came from one publisher, until they are told back."""

    def __init__(self) -> None:
        self._highest: int | None = None
        self._next = 0
        self._at: dict[int, int] = {}
        self._told_us = 0
        self._count = 0

    def note(self, number: int, now: int) -> None:
        """An authentic packet with this 16-bit number came. What was told as lost and comes late is not told again."""
        if self._highest is None:
            self._highest = self._next = number + 0x10000
        elif number == (self._highest + 1) & 0xFFFF and self._next <= self._highest + 1 < self._next + MOST_UNTOLD:  # as nearly all
            self._highest += 1
            self._at[self._highest] = now
            return
        ahead = (number - self._highest) & 0xFFFF
        long = self._highest + (ahead if ahead < 0x8000 else ahead - 0x10000)
        if long > self._highest + MOST_NOTED or long >= self._next + MOST_UNTOLD:
            self._at.clear()
            self._next = long
        self._highest = max(self._highest, long)
        if long >= self._next:
            self._at.setdefault(long, now)

    def due(self, sender_ssrc: int, media_ssrc: int, now: int) -> bytes | None:
        """The feedback packet that is due now, if any."""
        if not self._at or now - self._told_us < EVERY_US:
            return None
        self._told_us = now
        base, last = self._next, max(self._at)
        times = [self._at.get(number) for number in range(base, min(last + 1, base + MOST_STATUSES))]
        first = next((at for at in times if at is not None), None)
        if first is None:  # a hole longer than one packet can tell of: go on behind it
            self._next = min(self._at)
            return None
        reference = first // _REFERENCE_US
        symbols, deltas = _deltas(times, reference * _REFERENCE_US)
        self._next = base + len(symbols)
        for number in [number for number in self._at if number < self._next]:
            del self._at[number]
        body = _chunks(symbols) + deltas
        body += bytes(-len(body) % 4)
        head = _HEAD.pack(0x80 | FORMAT, 205, 4 + len(body) // 4, sender_ssrc, media_ssrc, base & 0xFFFF, len(symbols))
        counted = (reference % _REFERENCE_SPAN).to_bytes(3) + bytes([self._count & 0xFF])
        self._count += 1
        return head + counted + body


def _deltas(times: list[int | None], reference_us: int) -> tuple[list[int], bytes]:
    """A symbol for each packet (0 lost, 1 small, 2 large delta) and the deltas; ends where a delta no longer fits."""
    symbols, deltas, before = list[int](), bytearray(), reference_us // _TICK_US
    for at in times:
        if at is None:
            symbols.append(0)
            continue
        delta = at // _TICK_US - before
        before += delta
        if 0 <= delta <= 255:
            symbols.append(1)
            deltas.append(delta)
        elif -0x8000 <= delta < 0x8000:
            symbols.append(2)
            deltas += delta.to_bytes(2, signed=True)
        else:
            break
    return symbols, bytes(deltas)


def _chunks(symbols: list[int]) -> bytes:
    """Runs of seven or more of one symbol as run lengths, everything else seven to a vector of two bits each."""
    out, at = bytearray(), 0
    while at < len(symbols):
        run = 1
        while at + run < len(symbols) and symbols[at + run] == symbols[at]:
            run += 1
        if run >= 7 or at + run == len(symbols):
            out += (symbols[at] << 13 | run).to_bytes(2)
            at += run
            continue
        vector = 0xC000
        for place, symbol in enumerate(symbols[at : at + 7]):
            vector |= symbol << (12 - 2 * place)
        out += vector.to_bytes(2)
        at += 7
    return bytes(out)


def statuses(packet: bytes) -> list[tuple[int, int | None]]:
    """(number, arrival in microseconds of the listener's clock, None: lost) for each packet that one feedback tells of.

    `packet` is one RTCP packet; what stands behind the last delta is padding. Raises ValueError on anything that does not fit, and on more
    packets than a sender remembers.
    """
    if len(packet) < 20:
        raise ValueError("shorter than a transport-cc head")
    base, count = int.from_bytes(packet[12:14]), int.from_bytes(packet[14:16])
    if count > SENT:
        raise ValueError("more packets than are remembered")
    ticks = int.from_bytes(packet[16:19]) * (_REFERENCE_US // _TICK_US)
    symbols, at = _symbols(packet, count)
    found: list[tuple[int, int | None]] = []
    for place, symbol in enumerate(symbols):
        if symbol == 3 or at + symbol > len(packet):
            raise ValueError("deltas do not fit")
        if symbol:
            ticks += int.from_bytes(packet[at : at + symbol], signed=symbol == 2)
            at += symbol
        found.append(((base + place) & 0xFFFF, ticks * _TICK_US if symbol else None))
    return found


def _symbols(packet: bytes, count: int) -> tuple[list[int], int]:
    symbols, at = list[int](), 20
    while len(symbols) < count:
        if at + 2 > len(packet):
            raise ValueError("chunks do not fit")
        chunk = int.from_bytes(packet[at : at + 2])
        at += 2
        if not chunk & 0x8000:
            symbols += [chunk >> 13 & 3] * min(chunk & 0x1FFF, count - len(symbols))
            if not chunk & 0x1FFF:
                raise ValueError("a run of nothing")
        elif chunk & 0x4000:
            symbols += [chunk >> shift & 3 for shift in range(12, -1, -2)]
        else:
            symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
    return symbols[:count], at


def each_packet(compound: bytes) -> Iterator[bytes]:
    """The packets of an RTCP compound; ends where a length does not fit."""
    at = 0
    while at + 4 <= len(compound):
        end = at + 4 + 4 * int.from_bytes(compound[at + 2 : at + 4])
        if end > len(compound):
            return
        yield compound[at:end]
        at = end


def unpadded(compound: bytes) -> bytes:
    """The compound with its feedback marked as unpadded: browsers let the deltas end at any octet, where readers of RTCP want whole words."""
    found, at = bytearray(compound), 0
    for packet in each_packet(compound):
        if packet[0] & 0x3F == 0x20 | FORMAT and packet[1] == 205 and 1 <= packet[-1] <= len(packet) - 12:
            found[at] &= ~0x20
        at += len(packet)
    return bytes(found)


class Sent:
    """What was sent to one listener with transport-wide numbers, and what its feedback made of it."""

    def __init__(self) -> None:
        self._next = 1
        self._times, self._sizes = array("q", bytes(8 * SENT)), array("i", bytes(4 * SENT))  # by number modulo SENT; without a size: nothing
        self._event_us = 0
        self._received = self._lost = self._acknowledged = self._queue_sum = 0
        self._arrived_us: int | None = None
        self._counted_from_us: int | None = None
        self._least: int | None = None
        self._least_before: int | None = None
        self._window_us = 0

    def number(self, size: int, now: int) -> int:
        """The next 16-bit number, for a packet of `size` octets that is sent now."""
        return self.several((size,), 0, now) & 0xFFFF

    def several(self, sizes: Sequence[int], more: int, now: int) -> int:
        """As `number`, for packets that go together, each `more` octets longer than told: the first number, in its long form."""
        first, times, known = self._next, self._times, self._sizes
        for number, size in enumerate(sizes, first):
            at = number % SENT
            times[at] = now
            known[at] = size + more
        self._next += len(sizes)
        return first

    def heed(self, told: Iterable[tuple[int, int | None]], now: int) -> None:
        """Take in one feedback; each packet counts once."""
        if now - self._window_us >= WINDOW_US:
            self._least_before, self._least, self._window_us = self._least, None, now
        for number, arrived in told:
            at, size = number % SENT, self._sizes[number % SENT]
            if not size or not 0 < (self._next - number) & 0xFFFF <= SENT:
                continue
            self._sizes[at] = 0
            if arrived is None:
                self._lost += 1
                continue
            self._count(arrived, self._times[at], size)

    def _count(self, arrived: int, sent_us: int, size: int) -> None:
        delay = arrived - sent_us
        self._least = delay if self._least is None else min(self._least, delay)
        least = self._least if self._least_before is None else min(self._least, self._least_before)
        self._received += 1
        self._acknowledged += size
        self._queue_sum += delay - least
        self._arrived_us = arrived if self._arrived_us is None else max(self._arrived_us, arrived)
        if self._counted_from_us is None:
            self._counted_from_us = arrived

    def take(self, now: int) -> Feedback | None:
        """What has gathered, at most every 200 ms."""
        if not self._received + self._lost or now - self._event_us < EVENT_US:
            return None
        elapsed = self._arrived_us - self._counted_from_us if self._arrived_us is not None and self._counted_from_us is not None else 0
        queue = self._queue_sum // self._received if self._received else 0
        found = Feedback(self._received, self._lost, self._acknowledged, elapsed, queue)
        self._received = self._lost = self._acknowledged = self._queue_sum = 0
        self._event_us, self._counted_from_us = now, self._arrived_us
        return found
