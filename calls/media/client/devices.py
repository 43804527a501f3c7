"""A camera and a microphone made of nothing: each picture carries its own capture time and whose it is, each full second beeps and flashes.

Picture: 640 x 360, below it 64 blocks, black or white, bit 0 first, row by row: 48 bits of capture time (ms since 1970), 8 bits of the
person's number, 8 bits of check. Sound: at each full second 100 ms at the person's own pitch. Encoded as VP8 (RFC 6386) and Opus (RFC 6716).
"""

from __future__ import annotations

import array
import colorsys
import math
from fractions import Fraction
from typing import Any

from aiortc.codecs.opus import OpusEncoder
from aiortc.codecs.vpx import Vp8Encoder
from av import AudioFrame, VideoFrame

WIDTH, HEIGHT = 640, 360
COLUMNS, ROWS = 16, 4
BLOCK_WIDTH, BLOCK_HEIGHT = 40, 20
CHECK = 0xA5
PICTURE_SECONDS = 1 / 15
BASE_PITCH, PITCH_STEP = 600, 200  # Hz
FLASH_MS = 100
RATE = 48_000  # samples per second
SOUND_SAMPLES = 960  # of one packet, 20 ms
LOUDNESS = 0.5  # of a full swing
CLOCK = 90_000  # of video in RTP (RFC 7741)
BLACK, WHITE = 16, 235  # of luma (ITU-R BT.601)


def stamp(captured_ms: int, who: int) -> int:
    """The 64 bits of a picture."""
    data = captured_ms | who << 48
    return data | ((CHECK + sum(data.to_bytes(7, "little"))) & 0xFF) << 56


class Camera:
    """Pictures of the person with this number (0 to 127)."""

    def __init__(self, who: int) -> None:
        self.who = who
        red, green, blue = (256 * part for part in colorsys.hls_to_rgb(who * 67 % 360 / 360, 0.4, 0.4))
        self._shade = round(16 + 0.257 * red + 0.504 * green + 0.098 * blue)
        self._colours = (round(128 - 0.148 * red - 0.291 * green + 0.439 * blue), round(128 + 0.439 * red - 0.368 * green - 0.071 * blue))
        self._encoder = Vp8Encoder()

    def picture(self, captured_ms: int, *, key: bool) -> list[bytes]:
        """The RTP payloads of the picture of this moment; `key` for one that needs none before it."""
        frame: Any = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        frame.pts, frame.time_base = captured_ms, Fraction(1, 1000)
        flash = captured_ms % 1000 < FLASH_MS
        shade = bytes([WHITE if flash else self._shade]) * (WIDTH * (HEIGHT - ROWS * BLOCK_HEIGHT))
        frame.planes[0].update(shade + self._blocks(captured_ms))
        for plane, colour in zip(frame.planes[1:], self._colours, strict=True):
            plane.update(bytes([128 if flash else colour]) * plane.buffer_size)
        payloads, _ = self._encoder.encode(frame, force_keyframe=key)
        return payloads

    def _blocks(self, captured_ms: int) -> bytes:
        bits = stamp(captured_ms, self.who)
        rows = []
        for row in range(ROWS):
            values = (WHITE if bits >> (row * COLUMNS + column) & 1 else BLACK for column in range(COLUMNS))
            rows.append(b"".join(bytes([value]) * BLOCK_WIDTH for value in values) * BLOCK_HEIGHT)
        return b"".join(rows)


class Microphone:
    """The beeps of the person with this number."""

    def __init__(self, who: int) -> None:
        self._pitch = BASE_PITCH + PITCH_STEP * who
        self._encoder = OpusEncoder()
        self._samples = 0

    def sound(self, captured_ms: int) -> list[bytes]:
        """The RTP payloads of the 20 ms that begin at this moment; the first call may give none."""
        frame: Any = AudioFrame(format="s16", layout="mono", samples=SOUND_SAMPLES)
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._samples, Fraction(1, RATE)
        self._samples += SOUND_SAMPLES
        frame.planes[0].update(self._wave(captured_ms % 1000 * RATE // 1000))
        payloads, _ = self._encoder.encode(frame)
        return payloads

    def _wave(self, first: int) -> bytes:
        """16-bit samples from the sample `first` of a second on."""
        beep = FLASH_MS * RATE // 1000
        places = (place % RATE for place in range(first, first + SOUND_SAMPLES))
        swing = LOUDNESS * 32767
        return array.array("h", (round(swing * math.sin(math.tau * self._pitch * at / RATE)) if at < beep else 0 for at in places)).tobytes()
