"""The VP8 payload descriptor (RFC 7741 section 4.2): where picture id and TL0PICIDX stand, and moving them."""

from __future__ import annotations

from dataclasses import dataclass

_EXTENDED, _PICTURE, _TL0 = 0x80, 0x80, 0x40


@dataclass(frozen=True, slots=True)
class Ids:
    """What counts pictures in one packet; None where the descriptor has it not. `wide`: the picture id has 15 bits, not 7."""

    picture: int | None = None
    wide: bool = False
    tl0: int | None = None
    tl0_at: int = 0


NONE = Ids()
_PICTURE_AT = 2


def ids_of(payload: bytes) -> Ids:
    """Read them; a descriptor that does not fit has none."""
    if len(payload) < 3 or not payload[0] & _EXTENDED:
        return NONE
    flags, at = payload[1], _PICTURE_AT
    picture, wide = None, False
    if flags & _PICTURE:
        wide = bool(payload[at] & 0x80)
        if wide and len(payload) < at + 2:
            return NONE
        picture = int.from_bytes(payload[at : at + 2]) & 0x7FFF if wide else payload[at]
        at += 2 if wide else 1
    if flags & _TL0 and len(payload) > at:
        return Ids(picture, wide, payload[at], at)
    return Ids(picture, wide)


def shifted(payload: bytes, picture_shift: int, tl0_shift: int) -> bytes:
    """The payload with its picture id and TL0PICIDX moved on, each in its own width."""
    ids = ids_of(payload)
    moved = bytearray(payload)
    if ids.picture is not None and ids.wide:
        moved[_PICTURE_AT : _PICTURE_AT + 2] = (0x8000 | (ids.picture + picture_shift & 0x7FFF)).to_bytes(2)
    elif ids.picture is not None:
        moved[_PICTURE_AT] = ids.picture + picture_shift & 0x7F
    if ids.tl0 is not None:
        moved[ids.tl0_at] = ids.tl0 + tl0_shift & 0xFF
    return bytes(moved)
