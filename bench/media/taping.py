"""Recorders on every track of the measured server, as the worker's capture has them, and what their journals hold in the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from calls.media.clock import now
from calls.media.room import Room
from calls.media.room.publisher import Track
from calls.media.sink import Packet
from recordings.depacketise import frames
from recordings.journal import Reader
from recordings.recorder import Recorder
from recordings.sealing import Context, new_key

PICTURES = "cam"


@dataclass(frozen=True)
class _Tape:
    recorder: Recorder
    path: Path
    key: bytes
    context: Context


@dataclass
class Kept:
    """What the journals of one run hold: packets of pictures and of sound between the first and the last of each, how many of them are there, and
    how many pictures playback gives out.
    """

    picture_packets: int = 0
    picture_packets_kept: int = 0
    sounds: int = 0
    sounds_kept: int = 0
    shown: int = 0

    @property
    def picture_loss(self) -> float:
        """The share of the packets of pictures that no journal has."""
        return 1 - self.picture_packets_kept / self.picture_packets if self.picture_packets else 0.0

    @property
    def sound_loss(self) -> float:
        """Likewise, of sound."""
        return 1 - self.sounds_kept / self.sounds if self.sounds else 0.0


class Taping:
    """The recorders of one run, whose journals lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tapes: dict[int, _Tape] = {}

    def turn(self, rooms: Iterable[Room]) -> None:
        """A recorder on every track that has none; to be called again and again."""
        for room in rooms:
            for member in room.members.values():
                for track in member.publisher.tracks.values():
                    if track.key not in self._tapes:
                        self._tapes[track.key] = self._begin(room, track)
        for tape in self._tapes.values():
            tape.recorder.tick(now())

    def _begin(self, room: Room, track: Track) -> _Tape:
        context, key = Context(uuid4(), uuid4(), track.participant, track.source, uuid4(), bytes(32)), new_key()
        path = self._folder / f"{track.key}.journal"
        made = Recorder(path.open("w+b", buffering=0), key, context, started=now(), ask_for_key_frame=track.want_key_frame)
        room.tap(track.participant, track.source, made)
        return _Tape(made, path, key, context)

    def finish(self) -> Kept:
        """Stop all of them, and read their journals as playback does. Raises Tampered and Damaged as reading does."""
        kept = Kept()
        for tape in self._tapes.values():
            tape.recorder.stop("stopped", now())
            with tape.path.open("rb") as file:
                _count(Reader(file, tape.key, tape.context), tape.context.source, kept)
        return kept


def _count(journal: Reader, source: str, kept: Kept) -> None:
    items = list(journal.items())
    numbers = _unwrapped([Packet.parse(item.data).sequence_number for item in items if item.kind == b"P"])
    if not numbers:
        return
    wanted = max(numbers) - min(numbers) + 1
    if source == PICTURES:
        kept.picture_packets += wanted
        kept.picture_packets_kept += len(numbers)
        kept.shown += sum(1 for _ in frames(lambda: items, source, offset_us=None, within=(0, items[-1].arrival_us)))
    else:
        kept.sounds += wanted
        kept.sounds_kept += len(numbers)


def _unwrapped(numbers: list[int]) -> set[int]:
    """Sequence numbers in the order of their arrival, as numbers that do not wrap."""
    found, highest = set[int](), numbers[0] + 0x10000 if numbers else 0
    for number in numbers:
        long = highest + (number - highest + 0x8000) % 0x10000 - 0x8000
        highest = max(highest, long)
        found.add(long)
    return found
