"""`depacketiser`: what a journal held, to the frames of a playback file, and on into that file."""

from __future__ import annotations

import io
from collections import Counter

from recordings import depacketise, playback, webm
from recordings.journal import Item, clock_pair
from recordings.sealing import Context
from recordings.webm import Frame
from tests.recordings.packets import Camera, picture, rtp

from ..engine import Target

WITHIN = (0, 3_600_000_000)
MOST_STEP_US = 5_000_000


class Kept(io.BytesIO):
    """A file in memory that says what it held after it was closed."""

    def fileno(self) -> int:
        raise OSError

    def close(self) -> None:
        """Kept open."""


def run(data: bytes) -> None:
    """The first octet says which source; then items, each behind its kind, its distance in time and its length."""
    source = "cam" if data[:1] < b"\x80" else "mic"
    items = _items(data[1:])
    tally: Counter[str] = Counter()
    try:
        frames = list(depacketise.frames(lambda: items, source, offset_us=None, within=WITHIN, tally=tally))
    except depacketise.Damaged:
        return
    times = [frame.time_us for frame in frames]
    assert times == sorted(set(times)), "times do not rise"
    assert all(WITHIN[0] <= time <= WITHIN[1] for time in times)
    assert sum(len(frame.data) for frame in frames) <= sum(len(item.data) for item in items), "more came out than went in"
    assert all(frame.data for frame in frames)
    assert not frames or source == "mic" or frames[0].key, "a player cannot begin here"
    assert len(frames) + sum(tally.values()) <= 3 * len(items) + 3
    _is_written(frames, source)


def _is_written(frames: list[Frame], source: str) -> None:
    """What comes out can be written as a playback file, all of it."""
    claim = Context("acme", "recording", "gail", source, "epoch", bytes(32))
    writer = playback.Writer(Kept(), bytes(32), claim, source)
    longest = playback.PAUSES_US[webm.CODECS[source]]
    for frame in frames if source == "cam" else webm.without_holes(frames, longest):
        writer.add(frame)


def _items(data: bytes) -> list[Item]:
    found, at, arrival = list[Item](), 0, 0
    while at + 6 <= len(data):
        kind = b"S" if data[at] & 0x80 else b"P"
        arrival += int.from_bytes(data[at + 1 : at + 4]) % MOST_STEP_US
        length = int.from_bytes(data[at + 4 : at + 6]) % 1501
        body = data[at + 6 : at + 6 + length]
        if kind == b"P" or len(body) == 16:
            found.append(Item(arrival, kind, body))
        at += 6 + length
    return found


def _framed(*items: tuple[bytes, int, bytes]) -> bytes:
    return b"".join(kind + step.to_bytes(3) + len(body).to_bytes(2) + body for kind, step, body in items)


def seeds() -> list[bytes]:
    camera = Camera(payload=30)
    pictures = [sent.raw for number in range(4) for sent in camera.send(picture(number, key=number % 2 == 0, size=60), number * 33_333)]
    seen = [(b"\x00", 16_000, raw) for raw in pictures]
    clocks = [(b"\x80", 1_000, clock_pair(number << 32, 90_000 * number)) for number in range(1, 3)]
    swapped = [seen[0], seen[2], seen[1], *seen[3:]]
    sounds = [(b"\x00", 20_000, rtp(number, number * 960, b"\xfc" + bytes(20))) for number in range(6)]
    gap = [(b"\x00", 20_000, rtp(number, number * 960, code)) for number, code in ((1, b"\xfb\x03abc"), (40, b"\xf8\xff\xfe"), (65_000, b"\x01ab"))]
    made = [(b"\x00", seen), (b"\x00", swapped), (b"\x00", [clocks[0], *seen, clocks[1]]), (b"\xff", sounds), (b"\xff", gap + sounds)]
    return [source + _framed(*items) for source, items in made]


TARGET = Target("depacketiser", run, seeds, [b"\x9d\x01\x2a", b"\x00\x00\x4e\x20", b"\x80\x60", b"\xff\xff\xff"])
