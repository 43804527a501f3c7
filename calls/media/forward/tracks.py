"""One track: its layers, its copies, its taps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..path import Shape, TrackSeen
from ..sink import Packet, starts_key_frame
from .allowance import Allowance
from .copies import Outgoing, Tap
from .history import HISTORY, Ids, Kept, LayerStream
from .runs import Run


class Track:
    """What a publisher declared, as it arrives. `copies` are served in the order in which they were added."""

    def __init__(self, key: int, shape: Shape, allowance: Allowance) -> None:
        self.key, self.shape, self.ids, self.allowance = key, shape, Ids(shape), allowance
        self.streams = tuple(LayerStream(index, layer, shape.kind) for index, layer in enumerate(shape.layers))
        self.video, self.several = shape.kind == "video", len(self.streams) > 1
        self.waiting: list[Run] = []  # what the copies are given next
        self.copies: dict[str, Outgoing] = {}
        self.taps: dict[int, Tap] = {}
        self._mid = shape.mid.encode()
        self._level = self._levels = 0

    def declared(self) -> Iterator[tuple[int, Found]]:
        """Each SSRC that the offer named, and whether it is of repairs."""
        for stream in self.streams:
            if stream.ssrc is not None:
                yield stream.ssrc, (self, stream, False)
            if stream.repair_ssrc is not None:
                yield stream.repair_ssrc, (self, stream, True)

    def named_by(self, extensions: Mapping[int, bytes], payload_type: int) -> Found | None:
        """The layer without an SSRC that a packet with these extensions belongs to."""
        if self.ids.mid is None or extensions.get(self.ids.mid) != self._mid:
            return None
        rid = extensions.get(self.ids.rid) if self.ids.rid else None
        repaired = extensions.get(self.ids.repaired_rid) if self.ids.repaired_rid else None
        for stream in self.streams:
            name = stream.rid.encode()
            is_repair = repaired == name if name else payload_type == self.shape.repair_payload_type
            if is_repair and stream.repair_ssrc is None:
                return self, stream, True
            if not is_repair and stream.ssrc is None and (rid == name if name else True):
                return self, stream, False
        return None

    def repaired(self, ssrc: int, packet: Packet, raw: bytes) -> tuple[Packet, bytes]:
        """The packet that a repair carries, and as it would have come (RFC 4588 section 4)."""
        number, payload = int.from_bytes(packet.payload[:2]), packet.payload[2:]
        whole = replace(packet, payload_type=self.shape.payload_type, sequence_number=number, ssrc=ssrc, payload=payload)
        start = len(raw) - (raw[-1] if raw[0] & 0x20 else 0) - len(packet.payload)
        head = bytes([raw[0] & ~0x20, packet.marker << 7 | self.shape.payload_type]) + number.to_bytes(2) + raw[4:8] + ssrc.to_bytes(4)
        return whole, head + raw[12:start] + payload

    def keep(self, stream: LayerStream, number: int, packet: Packet, sent_at: int, now: int) -> Kept | None:
        """Count a packet and put it into the history; None when nothing is passed on of it."""
        numbering, payload = stream.numbering, packet.payload
        newest = numbering.highest is None or number > numbering.highest
        if newest:
            numbering.reached(number)
        stream.packets += 1
        stream.octets += len(payload)
        stream.last_us = now
        if self.ids.level in packet.extensions:
            self._hear(packet)
        if not payload:
            if newest:
                numbering.skip(number)
            if newest or numbering.skipped(number):
                return None
        ours = numbering.ours(number)
        before = stream.history[ours % HISTORY]
        if before is not None and before.number >= ours:
            return None
        first = self.video and payload != b"" and payload[0] & 0x10 != 0 and starts_key_frame(payload)
        usual = self.video and not first and payload != b"" and self.ids.orientation not in packet.extensions
        kept = stream.history[ours % HISTORY] = Kept(ours, packet, sent_at, first, now, usual)
        return kept

    def put(self, stream: LayerStream, kept: Kept) -> None:
        """Let it wait until the copies are given it."""
        if not self.waiting or not self.waiting[-1].takes(stream, kept):
            self.waiting.append(Run(stream, kept))

    def _hear(self, packet: Packet) -> None:
        level = packet.extensions.get(self.ids.level)
        if level:
            self._level += 127 - (level[0] & 0x7F)
            self._levels += 1

    def seen(self) -> TrackSeen:
        """How it arrives; the sound level starts again."""
        waiting = {copy.course.waiting_for for copy in self.copies.values()}
        waiting |= {tap.course.waiting_for for tap in self.taps.values() if tap.course is not None}
        found = TrackSeen(tuple(stream.seen(stream.index in waiting) for stream in self.streams), self._level, self._levels)
        self._level = self._levels = 0
        return found


Found = tuple[Track, LayerStream, bool]
