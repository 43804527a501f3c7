"""Packets of one layer that wait for its copies, together where they can go out as one message."""

from __future__ import annotations

from ..srtp import LARGEST_CLEAR, TRAILER
from .history import Kept, LayerStream

MOST_PACKETS = 64  # of one message, as many as every kernel with UDP_SEGMENT cuts
MOST_OCTETS = 60_000  # of one message
MOST_BEFORE = 48  # octets that stand before a payload in a copy, at most: head, extension block with a mid of 16
LARGEST_PAYLOAD = LARGEST_CLEAR - MOST_BEFORE


class Run:
    """One packet, or several that are `usual`, whose numbers go up, none larger than the first and only the last smaller."""

    __slots__ = ("_octets", "kept", "sizes", "stream", "usual")

    def __init__(self, stream: LayerStream, kept: Kept) -> None:
        size = len(kept.packet.payload)
        self.stream, self.usual = stream, kept.usual and size <= LARGEST_PAYLOAD
        self.kept, self.sizes, self._octets = [kept], [size], size + MOST_BEFORE + TRAILER

    def takes(self, stream: LayerStream, kept: Kept) -> bool:
        """Put this packet behind the others, where it fits."""
        size, sizes = len(kept.packet.payload), self.sizes
        if not (self.usual and kept.usual and stream is self.stream and kept.number > self.kept[-1].number):
            return False
        if size > sizes[0] or sizes[-1] < sizes[0] or len(sizes) == MOST_PACKETS or self._octets + size + MOST_BEFORE + TRAILER > MOST_OCTETS:
            return False
        self.kept.append(kept)
        sizes.append(size)
        self._octets += size + MOST_BEFORE + TRAILER
        return True
