"""One track as WebM: the bytes, and nothing about sealing (RFC 8794 EBML, RFC 9559 Matroska, the WebM container guidelines). No Django.

A file is its front (everything up to the first cluster, cues included) and then clusters. The front is of one length for one list of
cues, so that it can be made last and still stand first. Times are microseconds of recording time; in the file milliseconds of the same
time, rounded down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

VP8, OPUS = "vp8", "opus"
CODECS: Final = {"cam": VP8, "screen": VP8, "mic": OPUS, "screen-audio": OPUS}
MIMES: Final = {VP8: 'video/webm; codecs="vp8"', OPUS: 'audio/webm; codecs="opus"'}

EBML, SEGMENT, SEEK_HEAD, INFO, TRACKS, CLUSTER, CUES = 0x1A45DFA3, 0x18538067, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B
TIMESTAMP, SIMPLE_BLOCK = 0xE7, 0xA3

_TRACK = 1
_PICTURE, _SOUND = 1, 2
_MILLISECOND_NS = 1_000_000
_SEEK_PRE_ROLL_NS = 80_000_000  # RFC 7845 section 4.6: what a decoder hears before it is right
_OPUS_RATE = 48_000
_BLOCK = Struct("!BhB")  # track, milliseconds after the cluster's, flags (RFC 9559 section 10.2)
_FLAG_KEY = 0x80
_OPUS_HEAD = Struct("<8sBBHLhB")  # RFC 7845 section 5.1
_FLOAT = Struct("!d")
_VP8_HEAD = Struct("<3s3sHH")  # frame tag, start code, width, height (RFC 6386 section 9.1)
_VP8_START = b"\x9d\x01\x2a"
_LONGEST_PACKET_US = 120_000  # RFC 6716 section 3.2.5


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture or one Opus packet at its time of capture. A picture is `key` when `vp8_size` reads it; an Opus packet always."""

    time_us: int
    key: bool
    data: bytes


class Cue(NamedTuple):
    """A place to seek to: a cluster's time, and where it begins after the front."""

    time_ms: int
    offset: int


def vp8_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a VP8 key frame says (RFC 6386 section 9.1); None for any other bytes, and for an empty picture."""
    if len(data) < _VP8_HEAD.size:
        return None
    tag, start, width, height = _VP8_HEAD.unpack_from(data)
    width, height = width & 0x3FFF, height & 0x3FFF  # the upper two bits ask for scaling
    return (width, height) if not tag[0] & 1 and start == _VP8_START and width and height else None


def opus_duration_us(data: bytes) -> int:
    """How long an Opus packet lasts (RFC 6716 sections 3.1 and 3.2); 0 for one that no decoder may take."""
    if not data:
        return 0
    number, code = data[0] >> 3, data[0] & 3
    if number < 12:
        frame = (10_000, 20_000, 40_000, 60_000)[number & 3]
    elif number < 16:
        frame = (10_000, 20_000)[number & 1]
    else:
        frame = (2_500, 5_000, 10_000, 20_000)[number & 3]
    count = (1, 2, 2, data[1] & 0x3F if len(data) > 1 else 0)[code]
    return frame * count if frame * count <= _LONGEST_PACKET_US else 0


SILENCE_US: Final = 20_000
SILENCE: Final = b"\xf8\xff\xfe"  # a packet of 20 ms in which nothing is coded (RFC 6716 section 3.1)


def without_holes(frames: Iterable[Frame], longest_us: int) -> Iterator[Frame]:
    """Opus packets with silence where packets are missing inside a stretch: a player plays them one after another, whatever their times say.

    A pause of more than `longest_us` is left: it ends a stretch, and a player seeks past it.
    """
    played_us, last_us = 0, -1
    for frame in frames:
        if last_us < 0 or frame.time_us - last_us > longest_us:
            played_us = frame.time_us
        while frame.time_us - played_us >= SILENCE_US:
            last_us = max(last_us + 1, played_us)
            yield Frame(last_us, True, SILENCE)
            played_us += SILENCE_US
        yield frame
        last_us = frame.time_us
        played_us += opus_duration_us(frame.data)


def _id(number: int) -> bytes:
    """An element's id: its own length is part of it."""
    return number.to_bytes((number.bit_length() + 7) // 8)


def _length(number: int, width: int | None = None) -> bytes:
    """A length of variable width (RFC 8794 section 4); all ones mean unknown, and are never written."""
    needed = 1
    while number >= (1 << (7 * needed)) - 1:
        needed += 1
    width = width or needed
    return (number | 1 << (7 * width)).to_bytes(width)


def _element(number: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return _id(number) + _length(len(body)) + body


def _whole(number: int, value: int, width: int | None = None) -> bytes:
    return _element(number, value.to_bytes(width or max(1, (value.bit_length() + 7) // 8)))


def _float(number: int, value: float) -> bytes:
    return _element(number, _FLOAT.pack(value))


def block_size(frame: Frame) -> int:
    """How many bytes a frame takes in a cluster."""
    content = _BLOCK.size + len(frame.data)
    return len(_id(SIMPLE_BLOCK)) + len(_length(content)) + content


class Cluster:
    """One cluster while it is filled. `size` is that of the whole element."""

    EMPTY = len(_id(CLUSTER)) + 8 + len(_whole(TIMESTAMP, 0, 8))

    def __init__(self, first: Frame) -> None:
        self.start_us, self.opens_with_key = first.time_us, first.key
        self.time_ms = first.time_us // 1000
        self._blocks: list[bytes] = []
        self.size = self.EMPTY
        self.add(first)

    def add(self, frame: Frame) -> None:
        """Append a frame, not before the one before it."""
        self.end_us = frame.time_us
        head = _BLOCK.pack(0x80 | _TRACK, frame.time_us // 1000 - self.time_ms, _FLAG_KEY if frame.key else 0)
        block = _element(SIMPLE_BLOCK, head, frame.data)
        self._blocks.append(block)
        self.size += len(block)

    def encoded(self) -> bytes:
        """The whole element."""
        body = self.size - self.EMPTY + len(_whole(TIMESTAMP, 0, 8))
        return b"".join((_id(CLUSTER), _length(body, 8), _whole(TIMESTAMP, self.time_ms, 8), *self._blocks))


def front(codec: str, picture: tuple[int, int] | None, duration_us: int, clusters_size: int, cues: Iterable[Cue]) -> bytes:
    """Everything before the first cluster: EBML, Segment with its size, SeekHead, Info, Tracks, Cues.

    `picture` is the width and height of the first key frame, None for sound; `clusters_size` the bytes of all clusters.
    """
    info = _info(duration_us)
    tracks = _element(TRACKS, _picture_track(*picture) if picture else _sound_track())
    wanted = list(cues)
    before = _SEEK_HEAD_SIZE + len(info) + len(tracks)
    # Positions have a fixed width, so the first pass tells how long the second one is.
    listed = _cues(wanted, before + len(_cues(wanted, 0)))
    found = _seek_head((INFO, _SEEK_HEAD_SIZE), (TRACKS, _SEEK_HEAD_SIZE + len(info)), (CUES, before))
    body = found + info + tracks + listed
    return _ebml() + _id(SEGMENT) + _length(len(body) + clusters_size, 8) + body


def _ebml() -> bytes:
    versions = _whole(0x4286, 1) + _whole(0x42F7, 1) + _whole(0x42F2, 4) + _whole(0x42F3, 8)
    # DocTypeVersion 4 for CodecDelay and SeekPreRoll; a reader of version 2 can read all that matters (RFC 9559 section 5.1).
    return _element(EBML, versions, _element(0x4282, b"webm"), _whole(0x4287, 4), _whole(0x4285, 2))


def _seek_head(*entries: tuple[int, int]) -> bytes:
    """Where the parts are, counted from the first byte in the Segment."""
    return _element(SEEK_HEAD, *(_element(0x4DBB, _element(0x53AB, _id(number)), _whole(0x53AC, position, 8)) for number, position in entries))


_SEEK_HEAD_SIZE = len(_seek_head((INFO, 0), (TRACKS, 0), (CUES, 0)))


def _info(duration_us: int) -> bytes:
    """No date, no title, no random id: nothing that says more than the media itself."""
    written_by = _element(0x4D80, b"Cleac") + _element(0x5741, b"Cleac")
    return _element(INFO, _whole(0x2AD7B1, _MILLISECOND_NS), _float(0x4489, duration_us / 1000), written_by)


def _track(kind: int, codec: bytes, *parts: bytes) -> bytes:
    return _element(0xAE, _whole(0xD7, _TRACK), _whole(0x73C5, _TRACK), _whole(0x83, kind), _whole(0x9C, 0), _element(0x86, codec), *parts)


def _picture_track(width: int, height: int) -> bytes:
    return _track(_PICTURE, b"V_VP8", _element(0xE0, _whole(0xB0, width), _whole(0xBA, height)))


def _sound_track() -> bytes:
    # Two channels, as RFC 7587 section 7 has it; a decoder turns a packet of one into two. Nothing is skipped at the start: these are
    # packets from the middle of a call, and a delay to subtract would move every sound away from its recording time.
    private = _OPUS_HEAD.pack(b"OpusHead", 1, 2, 0, _OPUS_RATE, 0, 0)
    delay = _whole(0x56AA, 0) + _whole(0x56BB, _SEEK_PRE_ROLL_NS)
    return _track(_SOUND, b"A_OPUS", delay, _element(0x63A2, private), _element(0xE1, _float(0xB5, _OPUS_RATE), _whole(0x9F, 2)))


def _cues(cues: Iterable[Cue], base: int) -> bytes:
    """`base` is where the first cluster begins, counted from the first byte in the Segment."""
    points = (_whole(0xB3, cue.time_ms) + _element(0xB7, _whole(0xF7, _TRACK), _whole(0xF1, base + cue.offset, 8)) for cue in cues)
    return _element(CUES, *(_element(0xBB, point) for point in points))


class Block(NamedTuple):
    """What a SimpleBlock holds. `time_ms` is recording time."""

    time_ms: int
    key: bool
    data: bytes


def blocks(cluster: bytes) -> Iterator[Block]:
    """What a cluster of ours holds, in order. Raises ValueError on any other bytes."""
    number, position, end = _opened(cluster, 0)
    if number != CLUSTER or end != len(cluster):
        raise ValueError("not one cluster")
    time_ms: int | None = None
    while position < end:
        number, start, position = _opened(cluster, position)
        if number == TIMESTAMP and time_ms is None:
            time_ms = int.from_bytes(cluster[start:position])
        elif number == SIMPLE_BLOCK and time_ms is not None and position - start >= _BLOCK.size:
            track, after, flags = _BLOCK.unpack_from(cluster, start)
            if track != 0x80 | _TRACK or flags & ~_FLAG_KEY:
                raise ValueError("a block of another kind")
            yield Block(time_ms + after, bool(flags), cluster[start + _BLOCK.size : position])
        else:
            raise ValueError("an element out of place")


def _opened(whole: bytes, position: int) -> tuple[int, int, int]:
    """Id of the element at `position`, and where its content begins and ends."""
    number, position = _variable(whole, position, 4, keep_marker=True)
    length, position = _variable(whole, position, 8, keep_marker=False)
    if position + length > len(whole):
        raise ValueError("an element does not fit")
    return number, position, position + length


def _variable(whole: bytes, position: int, widest: int, *, keep_marker: bool) -> tuple[int, int]:
    """A number of variable width (RFC 8794 section 4), and where it ends."""
    width = 9 - whole[position].bit_length() if position < len(whole) else widest + 1
    if width > widest or position + width > len(whole):
        raise ValueError("a number does not fit")
    number = int.from_bytes(whole[position : position + width])
    return (number if keep_marker else number & (1 << 7 * width) - 1), position + width
