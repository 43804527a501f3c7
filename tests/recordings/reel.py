"""Frames that say what they are, whoever plays them: a number burned into every picture, a pitch for every few seconds of sound."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType

from recordings.playback import Reader, Writer, Written
from recordings.sealing import Context
from recordings.webm import Frame

KEY = bytes(range(100, 132))
CAM = Context("acme", "recording-1", "gail", "cam", "epoch-1", bytes(range(32)))
MIC = Context("acme", "recording-1", "gail", "mic", "epoch-2", bytes(range(32)))

SECOND = 1_000_000
FIRST = 8_300_000  # Gail agreed when the recording had run for 8.3 seconds
STEP = 66_000  # between two pictures
KEY_EVERY = 30  # pictures
BARS = 8  # black and white, lowest bit first
RATE, PACKET = 48_000, 20_000  # samples per second; microseconds
BLOCK, LOWEST_PITCH, PITCH_STEP = 4, 600, 400  # seconds of one pitch; Hz


def picture_head(key: bool, width: int = 640, height: int = 360) -> bytes:
    """The first bytes of a VP8 frame (RFC 6386 section 9.1), which is all that a container looks at."""
    return b"\x10\0\0\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") if key else b"\x11\0\0"


def write(path: Path, frames: Iterable[Frame], context: Context = CAM, key: bytes = KEY) -> Written:
    with open(path, "xb", buffering=0) as file:
        writer = Writer(file, key, context, context.source)
        for frame in frames:
            writer.add(frame)
        return writer.finish()


def opened(content: bytes, context: Context = CAM, key: bytes = KEY) -> Reader:
    return Reader(io.BytesIO(content), key, context)


def painted(number: int, width: int, height: int) -> Any:
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    for bar in range(BARS):
        picture[:, bar * width // BARS : (bar + 1) * width // BARS] = 235 * (number >> bar & 1)
    return picture


def number_in(picture: Any) -> int:
    """Read what `painted` burned in, in whatever size."""
    gray = picture.to_ndarray(format="gray")
    middle, width = gray[gray.shape[0] // 2], gray.shape[1]
    return sum(int(middle[(2 * bar + 1) * width // (2 * BARS)] > 117) << bar for bar in range(BARS))


@cache
def pictures(*, small: int, large: int, first_us: int = FIRST) -> list[Frame]:
    """VP8 in two sizes, as from a camera that was turned up: so many pictures of 160x120, then so many of 320x240."""
    encoded = [*_encoded(0, small, 160, 120), *_encoded(small, small + large, 320, 240)]
    return [Frame(first_us + number * STEP, key, data) for number, (key, data) in enumerate(encoded)]


def _encoded(first: int, last: int, width: int, height: int) -> Iterator[tuple[bool, bytes]]:
    if first == last:
        return
    encoder: Any = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate, encoder.time_base = width, height, "yuv420p", 15, Fraction(1, 15)
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0", "g": "9999"}
    encoder.bit_rate = 600_000
    for number in range(first, last):
        picture = av.VideoFrame.from_ndarray(painted(number, width, height), format="rgb24")
        picture.pts, picture.time_base = number - first, Fraction(1, 15)
        picture.pict_type = PictureType.I if (number - first) % KEY_EVERY == 0 else PictureType.NONE
        for packet in encoder.encode(picture):
            yield bool(packet.is_keyframe), bytes(packet)


def pitch_at(second: float) -> int:
    """What sounds so long after the first packet, in Hz."""
    return LOWEST_PITCH + PITCH_STEP * int(second // BLOCK)


@cache
def sounds(*, seconds: int, first_us: int = FIRST) -> list[Frame]:
    """Opus as a browser sends it: 20 ms a packet."""
    encoder = opus_encoder(PACKET)
    size, found = RATE * PACKET // SECOND, []
    for number in range(seconds * SECOND // PACKET):
        times = (np.arange(size) + number * size) / RATE
        wave = (16_000 * np.sin(2 * np.pi * pitch_at(number * PACKET / SECOND) * times)).astype(np.int16)
        found += encoded_sound(encoder, wave, number * size)
    return [Frame(first_us + number * PACKET, True, data) for number, data in enumerate(found)]


def opus_encoder(packet_us: int, application: str = "voip") -> Any:
    encoder: Any = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.time_base = RATE, "mono", "s16", Fraction(1, RATE)
    encoder.options = {"application": application, "frame_duration": f"{packet_us / 1000:g}"}
    return encoder


def encoded_sound(encoder: Any, wave: Any, first_sample: int) -> list[bytes]:
    sound = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
    sound.sample_rate, sound.pts, sound.time_base = RATE, first_sample, Fraction(1, RATE)
    return [bytes(packet) for packet in encoder.encode(sound)]


def loudest(wave: Any, rate: int = RATE) -> float:
    """The pitch that sounds, in Hz."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum)) * rate / len(wave)
