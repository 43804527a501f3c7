"""Why a person cannot enter a meeting, in the words of the API. Plain Python."""

from __future__ import annotations

from enum import StrEnum


class Door(StrEnum):
    """What the holder of a real link is told. `OPEN` lets in; everything else is a refusal of the same code."""

    OPEN = "open"
    TOO_EARLY = "too-early"
    ENDED = "ended"
    CANCELLED = "cancelled"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REMOVED = "removed"
    DENIED = "denied"
    FULL = "full"
