"""Playback files for a player: pictures that carry the moment they belong to, and tones, written as a finished recording is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import av
import numpy as np

from recordings import playback
from recordings.sealing import Context, new_key
from recordings.webm import Frame
from tests.walks.media import BLOCK_HEIGHT, BLOCK_WIDTH, CHECK, COLUMNS, HEIGHT, RATE, ROWS, TOP, WIDTH, Gray, pitch_of

Span = tuple[int, int]  # ms of recording time
SHOWN = 100  # ms that a picture is shown
PACKET = 20  # ms of sound
KEY = 1000  # ms between key frames


def picture(captured: int, who: int) -> Gray:
    """A grey picture that says of itself when, in ms of the recording, it was captured, and from whom; `media.stamp_of` reads it."""
    value = captured | who << 48
    bits = value | ((CHECK + sum(value.to_bytes(7, "little"))) & 0xFF) << 56
    drawn = np.full((HEIGHT, WIDTH), 90 + 30 * (who % 4), np.uint8)
    for block in range(COLUMNS * ROWS):
        row, column = divmod(block, COLUMNS)
        x, y = column * BLOCK_WIDTH, TOP + row * BLOCK_HEIGHT
        drawn[y : y + BLOCK_HEIGHT, x : x + BLOCK_WIDTH] = 255 * (bits >> block & 1)
    return np.ascontiguousarray(drawn[::2, ::2])


@cache
def pictures(who: int, *spans: Span) -> tuple[Frame, ...]:
    """VP8, ten pictures a second, with a key frame where a stretch begins and every second after."""
    encoder: Any = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH // 2, HEIGHT // 2, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 1000), Fraction(1000 // SHOWN)
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}

    def packets() -> Iterator[Any]:
        for start, end in spans:
            for at in range(start, end, SHOWN):
                frame = av.VideoFrame.from_ndarray(picture(at, who), format="gray").reformat(format="yuv420p")
                frame.pts, frame.time_base = at, encoder.time_base
                if (at - start) % KEY == 0:
                    frame.pict_type = av.video.frame.PictureType.I
                yield from encoder.encode(frame)
        yield from encoder.encode(None)

    return tuple(Frame(int(packet.pts * packet.time_base * 1_000_000), packet.is_keyframe, bytes(packet)) for packet in packets())


@cache
def tone(who: int, *spans: Span) -> tuple[Frame, ...]:
    """Opus, everybody at a pitch of their own."""

    def packets(span: Span) -> Iterator[bytes]:
        encoder: Any = av.CodecContext.create("libopus", "w")
        encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, "mono", "flt", 32_000
        for at in range(*span, PACKET):
            moments = (np.arange(RATE * PACKET // 1000) + at * RATE // 1000) / RATE
            sound = (0.3 * np.sin(2 * np.pi * pitch_of(who) * moments)).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(sound, format="flt", layout="mono")
            frame.sample_rate = RATE
            yield from map(bytes, encoder.encode(frame))

    return tuple(Frame((span[0] + number * PACKET) * 1000, True, data) for span in spans for number, data in enumerate(packets(span)))


def finished(folder: Path, source: str, frames: Iterable[Frame]) -> playback.Reader:
    """These frames as a finished, sealed playback file, open for reading."""
    path, key = folder / uuid4().hex, new_key()
    claim = Context(uuid4(), uuid4(), uuid4(), source, uuid4(), b"h" * 32)
    writer = playback.Writer(path.open("xb", buffering=0), key, claim, source)
    for frame in frames:
        writer.add(frame)
    writer.finish()
    return playback.Reader(path.open("rb", buffering=0), key, claim)
