"""The finished format: one track of one epoch as a WebM file in sealed records, to be read in ranges. `docs/formats.md` has the bytes.

What must never happen here, and what holds it:
- A file that was not finished is played as if it were: `Reader` refuses every file without END (`Unfinished`).
- Bytes that were altered, moved or left out reach a player: nothing is returned from a record before it was verified (`records`), and
  the order is fixed: clusters, FRONT, END, counters without a gap.
- Media in clear lies somewhere: one record at a time is opened, in memory, and kept nowhere.

The file is written in one pass. What a player must see first, FRONT with the cues, is stored last but one and read as the beginning.
Times are microseconds since the recording's start.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from . import records, webm
from .records import END, Form, Heads, SealedFile, canonical, facts_in, place_at, walk, write_whole
from .sealing import Context, Tampered
from .webm import CODECS, MIMES, OPUS, VP8, Cluster, Cue, Frame

MAGIC: Final = b"CLEACP1\n"
CLUSTER: Final = 3
FRONT: Final = 4
LONGEST_CLUSTER_US: Final = 2_000_000
LARGEST_CLUSTER: Final = 256 * 1024
# Frames further apart than this end a stretch: longer than a still screen is silent (one picture a second), and than Opus is in DTX.
PAUSES_US: Final = {VP8: 1_500_000, OPUS: 3_000_000}
LONGEST_PICTURE_US: Final = 200_000

_FORM = Form(MAGIC, frozenset({CLUSTER, FRONT, END}), "playback file")


def playable(frames: Iterable[Frame], source: str) -> Iterator[Frame]:
    """The frames as they have to be written so that a player keeps the time: missing sound becomes silence."""
    codec = CODECS[source]
    return webm.without_holes(frames, PAUSES_US[codec]) if codec == OPUS else iter(frames)


class Unfinished(Tampered):
    """The file has no END: its writer was stopped or the disk was full, or somebody cut it off."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: bytes of the file, frames, stretches of recording time that hold media, and where the last one ends."""

    size: int
    frames: int
    spans: list[list[int]]
    duration_us: int


def heads(file: BinaryIO) -> Heads:
    """The clear heads of a playback file, for proof without keys. Raises `Tampered` on faults of form; only a key verifies the rest."""
    return records.heads(file, _FORM)


class _Spans:
    """The stretches that hold media: from the first frame of each to the end of its last, which is never after the cut."""

    def __init__(self, codec: str, cut_us: int | None) -> None:
        self._codec, self._pause, self._cut_us = codec, PAUSES_US[codec], cut_us
        self.found: list[list[int]] = []
        self._last_us, self._step_us = 0, LONGEST_PICTURE_US

    @property
    def end_us(self) -> int:
        return self.found[-1][1] if self.found else 0

    def add(self, frame: Frame) -> None:
        if not self.found or frame.time_us - self._last_us > self._pause:
            self.found.append([frame.time_us, frame.time_us])
            self._step_us = LONGEST_PICTURE_US
        else:
            self._step_us = min(frame.time_us - self._last_us, LONGEST_PICTURE_US)
        self._last_us = frame.time_us
        end_us = frame.time_us + self._duration(frame)
        self.found[-1][1] = end_us if self._cut_us is None else max(frame.time_us, min(end_us, self._cut_us))

    def _duration(self, frame: Frame) -> int:
        """An Opus packet says its own; a picture is taken to last as long as the one before it did."""
        return webm.opus_duration_us(frame.data) if self._codec == OPUS else self._step_us


class Writer:
    """Writes one file from its first byte, never going back. `file` is new, unbuffered and writable.

    `cut_us`: when the capture ended. A player holds the last picture up to there and no longer.
    Raises OSError when the file cannot be written: it is closed then, and of no use. Until `finish` wrote END, every reader refuses it.
    """

    def __init__(self, file: BinaryIO, data_key: bytes, context: Context, source: str, cut_us: int | None = None) -> None:
        if source not in CODECS or source != context.source:
            raise ValueError("the claim is for another source")
        self._file, self._codec = file, CODECS[source]
        self._sealed = SealedFile.new(_FORM, data_key, context)
        self._cluster: Cluster | None = None
        self._picture: tuple[int, int] | None = None
        self._spans = _Spans(self._codec, cut_us)
        self._size = self._frames = self._clusters = self._clusters_size = 0
        self._last_us = -1
        # Of each cluster that can be sought to: its time, and where it begins after FRONT.
        self._cue_times, self._cue_offsets = array("Q"), array("Q")
        self._write(self._sealed.head)

    def add(self, frame: Frame) -> None:
        """Append one frame. Raises ValueError unless times rise, and for a picture before the first key frame."""
        if self._file.closed:
            raise ValueError("the file is closed")
        if frame.time_us <= self._last_us or not frame.data:
            raise ValueError("frames have bytes, and rising times from 0 on")
        if self._codec == VP8 and not self._frames:
            self._picture = webm.vp8_size(frame.data)
            if not frame.key or not self._picture:
                raise ValueError("the first picture is a key frame")
        if self._cluster is None or self._is_over(self._cluster, frame):
            self._flush()
            self._cluster = Cluster(frame)
        else:
            self._cluster.add(frame)
        self._spans.add(frame)
        self._last_us = frame.time_us
        self._frames += 1

    def finish(self) -> Written:
        """Write FRONT and END, and return when the file's bytes are on the disk. Without a frame there is nothing to play: no END then."""
        if self._file.closed:
            raise ValueError("the file is closed")
        duration_us, spans = self._spans.end_us, self._spans.found
        if self._frames:
            self._flush()
            cues = map(Cue, self._cue_times, self._cue_offsets)
            self._store(FRONT, 0, 0, webm.front(self._codec, self._picture, duration_us, self._clusters_size, cues))
            facts = {"clusters": self._clusters, "duration_us": duration_us, "frames": self._frames, "spans": spans}
            self._store(END, duration_us, 0, canonical(facts))
            self._sync()
        self._file.close()
        return Written(self._size, self._frames, spans, duration_us)

    def abandon(self) -> None:
        """Close the file as it is, without END."""
        self._file.close()
        self._cluster = None

    def _is_over(self, cluster: Cluster, frame: Frame) -> bool:
        """Whether `frame` begins a new cluster: a player can only seek to the beginning of one."""
        begins = self._codec == VP8 and frame.key
        long = frame.time_us - cluster.start_us >= LONGEST_CLUSTER_US
        return begins or long or cluster.size + webm.block_size(frame) > LARGEST_CLUSTER

    def _flush(self) -> None:
        if self._cluster is None:
            return
        cluster, self._cluster = self._cluster, None
        if cluster.opens_with_key:
            self._cue_times.append(cluster.time_ms)
            self._cue_offsets.append(self._clusters_size)
        self._store(CLUSTER, cluster.start_us, cluster.end_us - cluster.start_us, cluster.encoded())
        self._clusters += 1
        self._clusters_size += cluster.size

    def _store(self, kind: int, start_us: int, duration_us: int, clear: bytes) -> None:
        previous = self._sealed.next_counter - 1
        self._write(self._sealed.record(kind, start_us, duration_us, clear, previous if previous >= 0 else None))

    def _write(self, whole: bytes) -> None:
        try:
            write_whole(self._file, whole)
        except OSError:
            self.abandon()
            raise
        self._size += len(whole)

    def _sync(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError:
            self.abandon()
            raise


class Reader:
    """Reads one finished file as the WebM that it holds. Not for two threads at once.

    Raises `Tampered`, before anything is read, under another key or claim, and for whatever is no whole, finished file. Heads, marks,
    order and END are verified at once, the content of a record whenever it is read.
    """

    def __init__(self, file: BinaryIO, data_key: bytes, context: Context) -> None:
        self._file = file
        self._file_size = file.seek(0, os.SEEK_END)
        sealed = SealedFile.found(file, _FORM, data_key, context)
        if sealed is None:
            raise Unfinished("the file ends inside its head")
        if context.source not in CODECS:
            raise Tampered("the claim names an unknown source")
        self._sealed, self._codec = sealed, CODECS[context.source]
        self._positions = array("Q")  # where each record begins, in the order of the file
        self._starts = array("Q", [0])  # where each record's bytes begin in the WebM: FRONT, then the clusters
        end = facts_in(self._opened(self._index()), clusters=int, duration_us=int, frames=int, spans=list)
        self.frames: int = end["frames"]
        self.spans: list[list[int]] = end["spans"]
        self.duration_us: int = end["duration_us"]
        if not all(isinstance(span, list) and [type(moment) for moment in span] == [int, int] for span in self.spans):
            raise Tampered("END has other spans")
        if end["clusters"] != self._clusters:
            raise Tampered("END counts other clusters")

    @property
    def size(self) -> int:
        """Bytes of the WebM."""
        return self._starts[-1]

    @property
    def mime(self) -> str:
        return MIMES[self._codec]

    def read(self, start: int, length: int) -> bytes:
        """What the WebM holds from byte `start` on, at most `length` bytes; only the records behind it are opened. Raises `Tampered`."""
        if start < 0 or length < 0:
            raise ValueError("a range starts at 0 or after")
        end = min(start + length, self.size)
        part, parts = bisect_right(self._starts, start) - 1, []
        while start < end:
            clear = self._part(part)
            begin, part = self._starts[part], part + 1
            parts.append(clear[start - begin : end - begin])
            start = self._starts[part]
        return b"".join(parts)

    def verify(self) -> int:
        """Open every record, rebuild FRONT from the clusters and compare it, and return the number of frames. Raises `Tampered`."""
        cues: list[Cue] = []
        frames, picture = 0, None
        for part in range(1, self._clusters + 1):
            found = self._blocks(part)
            if self._codec == VP8 and not frames:
                picture = webm.vp8_size(found[0].data)
            if found[0].key:
                cues.append(Cue(found[0].time_ms, self._starts[part] - self._starts[1]))
            frames += len(found)
        if frames != self.frames:
            raise Tampered("END counts other frames")
        if self._part(0) != webm.front(self._codec, picture, self.duration_us, self.size - self._starts[1], cues):
            raise Tampered("FRONT belongs to other clusters")
        return frames

    def _blocks(self, part: int) -> list[webm.Block]:
        """The frames of a cluster, which lie within the interval that its record's head tells without a key."""
        head = place_at(self._file, self._positions[part - 1], self._file_size).head
        try:
            found = list(webm.blocks(self._part(part)))
        except ValueError as error:
            raise Tampered(f"a cluster cannot be read: {error}") from None
        if not found or (found[0].time_ms, found[-1].time_ms) != (head.start_us // 1000, head.end_us // 1000):
            raise Tampered("a cluster has other times than its record")
        return found

    @property
    def _clusters(self) -> int:
        return len(self._positions) - 2

    def _part(self, part: int) -> bytes:
        """What a part of the WebM holds: FRONT for 0, then cluster by cluster."""
        return self._opened(part - 1 if part else self._clusters)

    def _opened(self, number: int) -> bytes:
        """What the record holds that stands at this place in the file, which is also its counter. Verified anew whenever it is read."""
        place = place_at(self._file, self._positions[number], self._file_size)
        return self._sealed.open(self._file, place, self._sealed.binding(place, number - 1 if number else None))

    def _index(self) -> int:
        """Find and verify every head; returns the counter of END."""
        lengths, tail, before = array("Q"), len(self._sealed.head), CLUSTER
        for number, place in enumerate(walk(self._file, tail, self._file_size)):
            self._sealed.binding(place, number - 1 if number else None)
            if not place.whole:
                break
            if place.head.counter != number or place.head.type not in _FOLLOWS[before]:
                raise Tampered("records out of order")
            self._positions.append(tail)
            lengths.append(place.clear_length)
            tail, before = place.end, place.head.type
        if before != END:
            raise Unfinished("the file ends before its END: it was never finished, or it was cut off")
        if tail != self._file_size:
            raise Tampered("something follows END")
        for length in (lengths[-2], *lengths[:-2]):
            self._starts.append(self._starts[-1] + length)
        return len(lengths) - 1


_FOLLOWS: Final[dict[int, tuple[int, ...]]] = {CLUSTER: (CLUSTER, FRONT), FRONT: (END,), END: ()}
