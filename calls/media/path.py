"""The packet path: the interface behind which its forms stand, and the plain values that cross it.

`forward.PythonPath` is the form in Python, `native.path.NativePath` the one in C, `forms` chooses; `docs/media.md` says step by step what
every form does. Everything here is called in the loop's thread. Moments are microseconds of the monotonic clock.

What must never happen behind this interface, and what holds it:
- Somebody receives a track who may not: a copy or tap exists only between `add` and `remove`, `tap` and `untap`; when `remove`,
  `untap`, `close` or `detach` has returned, no further packet goes that way.
- A packet acts before SRTP has authenticated it: it is not forwarded, learnt from, answered or counted as arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .sink import Sink

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Layer:
    """One encoding of a track. Without an `ssrc` it is learnt by MID, and by RID where there is one, from its first authentic packet."""

    rid: str = ""
    ssrc: int | None = None
    repair_ssrc: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a publisher declared of a track; `layers` worst first, `extensions` the publisher's ids by URI."""

    kind: str
    mid: str
    payload_type: int
    repair_payload_type: int | None
    extensions: Mapping[str, int]
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """How one listener's copy of a track looks: its own SSRCs and mid; `cname` is the publishing participant.

    With a `repair_ssrc` the listener agreed to retransmissions (RFC 4588) and to transport-cc; without, lost packets are sent
    again as they were, and nothing that changes may stand in them.
    """

    ssrc: int
    repair_ssrc: int | None
    mid: str
    cname: str


@dataclass(frozen=True, slots=True)
class KeyFrameWanted:
    """A listener asked for a key frame of this layer (PLI or FIR), or began to wait for one."""

    track: int
    layer: int


@dataclass(frozen=True, slots=True)
class Learnt:
    """The SSRC of a layer, or of its repairs, became known."""

    track: int
    layer: int
    ssrc: int
    repair: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """A listener's receiver report about one copy: the fraction of 256 that did not arrive."""

    track: int
    listener: str
    fraction: int


@dataclass(frozen=True, slots=True)
class Feedback:
    """What transport-cc said of one connection since the last such event.

    `queue_us`: mean time that packets stood in queues, above the least of the last 10 to 20 s; `acknowledged`: octets that arrived
    over `elapsed_us` of arrival time; `received` and `lost` in packets.
    """

    received: int
    lost: int
    acknowledged: int
    elapsed_us: int
    queue_us: int


@dataclass(frozen=True, slots=True)
class Estimated:
    """A listener's own estimate of what it can receive (REMB), in bit/s."""

    rate: int


Event = KeyFrameWanted | Learnt | Lost | Feedback | Estimated


class LayerSeen(NamedTuple):
    """One layer as it arrives: totals, when its last packet came (None before the first), and whether a copy or tap waits for a key frame."""

    packets: int
    octets: int
    last_us: int | None
    starving: bool


class TrackSeen(NamedTuple):
    """One track as it arrives. `level`: sum of (127 - dBov) over `levels` packets with an audio level since the last look (RFC 6464)."""

    layers: tuple[LayerSeen, ...]
    level: int
    levels: int


@dataclass(frozen=True, slots=True)
class Reported:
    """The fields of a receiver report about one layer (RFC 3550 section 6.4.1)."""

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest_sequence: int
    jitter: int
    last_report: int
    since_report: int


Masters = tuple[bytes | None, bytes | None]  # each a master key and its salt, one behind the other; None where only the session knows them


class End(Protocol):
    """One end of a peer connection, as the path needs it: `peer.Link`."""

    number: int
    rtcp_ssrc: int
    address: Address | None
    on_event: Callable[[Event], None]

    @property
    def sessions(self) -> tuple[Any, Any]:
        """The SRTP sessions, receiving and sending. From `attach` on nobody but the path touches them."""

    @property
    def masters(self) -> Masters:
        """What the sessions were made with, receiving and sending."""


class MediaPath(Protocol):
    """Tracks are named by numbers, ends by their number, listeners by participant."""

    # The socket.
    def read(self, descriptor: int, family: int, others: Callable[[bytes, Address], None]) -> int:
        """Read this UDP socket from now on; what is not sealed media of a known address is given to `others`. Raises OSError.

        Returns the descriptor whose readiness `woken` is to be told of.
        """

    def woken(self) -> float:
        """Something lies ready at that descriptor. Returns the seconds after which to call again, whatever lies there; 0.0: when something does."""

    def take_up(self) -> None:
        """Whatever lies in that socket now is taken before this returns."""

    # The fence.
    def allow(self, until_us: int | None) -> None:
        """Past this moment of the monotonic clock nothing is sent and nothing tapped until a later one is allowed; None: no limit.

        What comes then is opened, so that SRTP keeps step, and dropped; it is counted as `fenced`, and so is what is not sent.
        """

    # Ends.
    def attach(self, end: End) -> None:
        """DTLS stands: its sealed packets are taken and sent from now on."""

    def detach(self, end: End) -> None:
        """When this has returned, nothing comes from it or goes to it any more, and its sessions are not touched. Harmless twice."""

    def hear(self, address: Address, end: End) -> None:
        """What comes from `address` is this end's."""

    def unhear(self, address: Address) -> None:
        """What comes from `address` is nobody's."""

    def move(self, end: End, address: Address | None) -> None:
        """Send to `address` from now on; None: nowhere."""

    def take(self, end: End, sealed: bytes, now: int) -> None:
        """One sealed datagram that came another way than through the path's own socket."""

    def send_rtcp(self, end: End, clear: bytes) -> None:
        """Seal and send control packets."""

    def forget_ssrc(self, end: End, ssrc: int) -> None:
        """Nothing is sent with `ssrc` again: free what SRTP keeps for it."""

    # Tracks.
    def open(self, track: int, end: End, shape: Shape) -> None:
        """A track of this end begins."""

    def close(self, track: int, reason: str) -> None:
        """A track ends: its copies say goodbye, its taps are told."""

    def add(self, track: int, listener: str, end: End, copy: Copy, layer: int | None) -> None:
        """From the next key frame of `layer` (sound: the next packet) on, this listener receives a copy. None: not yet."""

    def choose(self, track: int, listener: str, layer: int | None) -> None:
        """Go over to `layer` with its next key frame; None: send nothing until chosen again."""

    def remove(self, track: int, listener: str) -> None:
        """This listener receives nothing more."""

    def tap(self, track: int, sink: Sink, layer: int) -> None:
        """From the next packet on, `sink` receives the track: as it comes, or with several layers from the next key frame of `layer` on."""

    def choose_tap(self, track: int, sink: Sink, layer: int) -> None:
        """Go over to `layer` with its next key frame."""

    def untap(self, track: int, sink: Sink) -> int | None:
        """`sink` receives nothing more. Returns the cut: the highest sequence number it was given, None if none."""

    # What is seen.
    def listeners(self, track: int) -> frozenset[str]:
        """Who has a copy at this moment, flowing or not."""

    def seen(self, track: int) -> TrackSeen:
        """How a track arrives; resets its sound level."""

    def reports(self, track: int, now: int) -> list[Reported]:
        """A receiver report about each layer that has begun; the fraction counts from the last call on."""

    def poll(self, now: int) -> None:
        """Twenty times a second: gathered events go to their ends; requests for lost packets and transport-cc feedback go out when due."""

    def closing(self) -> None:
        """The worker ends: stop everything. Ends are detached before."""
