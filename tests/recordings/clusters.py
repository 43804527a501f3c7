"""Frames to write into a playback file, and what stands in one, read without the code under test."""

from __future__ import annotations

import io
from typing import Any

from recordings.playback import (
    CLUSTER,
    END,
    FRONT,
    MAGIC,
    heads,
)
from recordings.records import Form
from recordings.webm import Frame

from .reel import CAM, opened, picture_head
from .test_webm import CLUSTER as CLUSTER_ELEMENT
from .test_webm import CUES, elements

RECORD_HEAD = 41
FORM = Form(MAGIC, frozenset({CLUSTER, FRONT, END}), "playback file")
PICTURE, SOUND = 33_000, 20_000  # microseconds
SILENCE = b"\xf8\xff\xfe"  # 20 ms of Opus


def picture(time_us: int, *, key: bool = False, size: int = 50) -> Frame:
    return Frame(time_us, key, picture_head(key) + b"%d" % time_us + bytes(size))


FEW = [picture(8_300_000, key=True), picture(8_333_000), picture(10_400_000, key=True)]


def camera(start_us: int, end_us: int, *, key_every: int = 30, step: int = PICTURE) -> list[Frame]:
    return [picture(time, key=number % key_every == 0) for number, time in enumerate(range(start_us, end_us, step))]


def voice(start_us: int, end_us: int) -> list[Frame]:
    return [Frame(time, True, SILENCE) for time in range(start_us, end_us, SOUND)]


def pieces(content: bytes) -> tuple[bytes, list[bytes]]:
    """The head of the file, and each record."""
    found, position = [], len(content)
    for head in reversed(heads(io.BytesIO(content)).records):
        start = position - RECORD_HEAD - head.length
        found.append(content[start:position])
        position = start
    return content[:position], found[::-1]


def webm(content: bytes, context: Any = CAM) -> bytes:
    reader = opened(content, context)
    return reader.read(0, reader.size)


def in_it(whole: bytes) -> list[list[tuple[int, bool, bytes]]]:
    """Time in ms, whether it is a key frame, and the bytes, of every frame of every cluster; read without the code under test."""
    _, segment = elements(whole, 0, len(whole))
    assert segment.end == len(whole)
    found = []
    for cluster in segment.all(CLUSTER_ELEMENT):
        timestamp, *frames = elements(whole, cluster.start, cluster.end)
        found.append([(timestamp.number + int.from_bytes(f.content[1:3]), bool(f.content[3] & 0x80), f.content[4:]) for f in frames])
    return found


def cues_of(whole: bytes) -> list[tuple[int, int]]:
    """Time in ms, and the number of the cluster that begins where the cue points."""
    _, segment = elements(whole, 0, len(whole))
    begins = [cluster.position - segment.start for cluster in segment.all(CLUSTER_ELEMENT)]
    return [(cue.one(0xB3).number, begins.index(cue.one(0xB7, 0xF1).number)) for cue in segment.all(CUES, 0xBB)]
