"""Withdrawal on the packets' own way: sealed by the publisher, opened by the packet path, taken by the recorder, read from the journal.

For every cut the stored packets are exactly those that arrived before it: with packets lost, repaired and in another order, and with layers.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pylibsrtp import Policy, Session

from calls.media import sdp
from calls.media.native import build
from calls.media.path import Layer
from calls.media.sink import Packet
from recordings.journal import End, Reader
from recordings.recorder import Recorder
from recordings.sealing import Context, new_key
from tests.media.plain import AUDIO, IDS, REPAIRS, PlainPath, Unsealed, rtp

KEY, CLAIM = new_key(), Context("acme", "recording-1", "gail", "cam", "epoch-1", bytes(range(32)))
SRTP_KEY = bytes(range(44))  # AEAD_AES_256_GCM: 32 bytes of key, 12 of salt (RFC 7714 section 12)
KEY_FRAME, PICTURE, SOUND = b"\x10\x00", b"\x10\x01", b"\x98"
STEP = 0.02  # seconds between two packets
REPAIR_SSRC = 6


@dataclass(frozen=True)
class Sent:
    """One packet in clear on its way, and the number that its payload ends with."""

    serial: int
    raw: bytes


@dataclass
class Scene:
    """What one publisher sends, and how its track is declared. `switches`: before the nth packet, which layer is wished for."""

    kind: str
    layers: tuple[Layer, ...]
    packets: list[Sent]
    switches: dict[int, int] = field(default_factory=dict)


def numbered(serial: int, number: int, head: bytes, **facts: object) -> Sent:
    return Sent(serial, rtp(number, head + serial.to_bytes(4), timestamp=90 * serial, **facts))  # type: ignore[arg-type]  # reason: as `rtp`


def voice() -> Scene:
    """In order, across the end of the sequence numbers."""
    return Scene("audio", (Layer("", 5),), [numbered(n, 65_480 + n, SOUND, payload_type=AUDIO) for n in range(120)])


def picture_with_repairs() -> Scene:
    """Every seventh packet is lost and comes as a repair (RFC 4588) five packets later; every fifth changes places with the next."""
    whole = [numbered(n, 65_480 + n, PICTURE if n % 40 else KEY_FRAME, marker=n % 3 == 2) for n in range(120)]
    way: list[Sent] = []
    for place, packet in enumerate(whole):
        if place % 7:
            way.append(packet)
        if place >= 5 and not (place - 5) % 7:
            lost = Packet.parse(whole[place - 5].raw)
            body = lost.sequence_number.to_bytes(2) + lost.payload
            again = rtp(place, body, ssrc=REPAIR_SSRC, payload_type=REPAIRS, timestamp=lost.timestamp, marker=lost.marker)
            way.append(Sent(place - 5, again))
    for place in range(0, len(way) - 1, 5):
        way[place], way[place + 1] = way[place + 1], way[place]
    return Scene("video", (Layer("", 5, REPAIR_SSRC),), way)


def picture_in_layers() -> Scene:
    """Three layers by RID, each with a key frame every tenth packet of its own; the recorder's wish goes up and down again."""
    names = ("q", "h", "f")
    way = []
    for n in range(120):
        layer, number = n % 3, n // 3
        head = KEY_FRAME if number % 10 == 2 * layer else PICTURE
        told = {IDS[sdp.MID]: b"m", IDS[sdp.RID]: names[layer].encode()}
        way.append(numbered(n, 1000 * layer + number, head, ssrc=50 + layer, extensions=told))
    return Scene("video", tuple(Layer(name) for name in names), way, {0: 0, 20: 2, 70: 1})


SCENES: dict[str, Callable[[], Scene]] = {"voice": voice, "repairs and another order": picture_with_repairs, "layers": picture_in_layers}
WAYS = {"python, sealed": ("python", True), "python, in clear": ("python", False), "native, in clear": ("native", False)}


@pytest.fixture(autouse=True)
def compiled() -> None:
    assert build.ensure() == ""


class Way:
    """A packet path with one publisher, whose track a recorder is on."""

    def __init__(self, scene: Scene, path: Path, form: str = "python", sealed: bool = False) -> None:
        self.scene, self.plain, self.place = scene, PlainPath(form), path
        self.plain.open(scene.kind, scene.layers)
        self.sender = None
        if sealed:
            profile = Policy.SRTP_PROFILE_AEAD_AES_256_GCM
            self.sender = Session(Policy(key=SRTP_KEY, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
            inbound = Session(Policy(key=SRTP_KEY, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=profile))
            self.plain.publisher.sessions = (inbound, Unsealed())
            self.plain.path.attach(self.plain.publisher)
        path.unlink(missing_ok=True)
        self.started = self.plain.clock()
        self.file = path.open("xb", buffering=0)
        self.recorder = Recorder(
            self.file,  # type: ignore[arg-type]  # reason: unbuffered files are not typed as BinaryIO
            KEY,
            CLAIM,
            started=self.started,
            ask_for_key_frame=lambda: None,
            clock=self.plain.clock,
        )
        self.plain.path.tap(1, self.recorder, 0)

    def moment(self, place: int) -> float:
        """When the packet of this place arrives."""
        return self.started + place * STEP

    def send(self, first: int, last: int) -> None:
        for place in range(first, last):
            if place in self.scene.switches:
                self.plain.path.choose_tap(1, self.recorder, self.scene.switches[place])
            self.plain.clock.now = self.moment(place)
            raw = self.scene.packets[place].raw
            self.plain.take(self.sender.protect(raw) if self.sender else raw)
            self.recorder.tick(self.plain.clock.now)

    def cut(self, place: int) -> None:
        """The withdrawal is applied before the packet of this place: off the track, then END, as capture does it."""
        self.plain.clock.now = self.moment(place)
        self.plain.path.untap(1, self.recorder)
        self.recorder.stop("withdrawn", self.plain.clock.now)

    def stored(self) -> tuple[list[int], End | None]:
        """The numbers of the stored packets in their order, and END."""
        reader = Reader(io.BytesIO(self.place.read_bytes()), KEY, CLAIM)
        return [int.from_bytes(item.data[-4:]) for item in reader.items() if item.kind == b"P"], reader.end


def arriving(scene: Scene, folder: Path) -> list[tuple[int, int]]:
    """What the recorder is given when nobody withdraws: (place, number) of each packet, by a recorder that is read after each."""
    way = Way(scene, folder / "uncut")
    found: list[tuple[int, int]] = []
    take = way.recorder.packet

    def packet(packet: Packet, raw: bytes, arrived: float) -> None:
        found.append((round((arrived - way.started) / STEP), int.from_bytes(raw[-4:])))
        take(packet, raw, arrived)

    way.recorder.packet = packet  # type: ignore[method-assign]  # reason: what it is given is written down, and then taken as it is
    way.send(0, len(scene.packets))
    return found


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", SCENES)
def test_for_every_cut_the_stored_packets_are_exactly_those_that_arrived_before_it(tmp_path: Path, name: str, how: str) -> None:
    scene = SCENES[name]()
    given = arriving(scene, tmp_path)
    for cut in range(len(scene.packets) + 1):
        way = Way(scene, tmp_path / "journal", *WAYS[how])
        way.send(0, cut)
        way.cut(cut)
        way.send(cut, len(scene.packets))

        numbers, end = way.stored()

        assert numbers == [serial for place, serial in given if place < cut], cut
        assert end is not None
        assert (end.reason, end.cut_us, end.packets) == ("withdrawn", round(cut * STEP * 1_000_000), len(numbers)), cut


def test_without_layers_everything_that_arrives_is_given_to_the_recorder_repairs_too(tmp_path: Path) -> None:
    for name in ("voice", "repairs and another order"):
        scene = SCENES[name]()
        assert arriving(scene, tmp_path) == list(enumerate(packet.serial for packet in scene.packets))


def test_with_layers_it_is_one_layer_at_a_time_from_a_key_frame_on(tmp_path: Path) -> None:
    scene = picture_in_layers()
    given = [serial for _place, serial in arriving(scene, tmp_path)]
    layers = [serial % 3 for serial in given]
    begins = [place for place, layer in enumerate(layers) if not place or layers[place - 1] != layer]

    assert [layers[place] for place in begins] == [0, 2, 1]
    assert all(scene.packets[given[place]].raw[-6:-4] == KEY_FRAME for place in begins)
    assert len(given) > 30


@pytest.mark.parametrize("form", ["python", "native"])
@pytest.mark.parametrize("name", SCENES)
def test_for_every_moment_of_a_withdrawal_that_is_learnt_late_no_record_that_ends_after_it_stays(tmp_path: Path, name: str, form: str) -> None:
    """It is learnt at the end. What stays is the whole records before the moment, at most a second is lost with it, and END names the moment."""
    scene = SCENES[name]()
    given, last = arriving(scene, tmp_path), len(scene.packets)
    for decided in range(last + 1):
        way = Way(scene, tmp_path / "journal", form)
        way.send(0, last)
        way.plain.path.untap(1, way.recorder)
        way.recorder.abandon(way.moment(decided), "withdrawn", way.moment(last))

        numbers, end = way.stored()

        assert numbers == [serial for _place, serial in given][: len(numbers)]
        assert all(place <= decided for place, _serial in given[: len(numbers)])
        assert end is not None
        assert (end.reason, end.packets, end.cut_us) == ("withdrawn", len(numbers), round(decided * STEP * 1_000_000))
        assert len(numbers) == len(given) or given[len(numbers)][0] * STEP + 1 > decided * STEP
