"""Values that cross between Python and the C side, in the form that each has."""

from __future__ import annotations

from .. import sdp
from ..path import Estimated, Event, Feedback, Layer, Learnt, Lost, Shape
from . import library, post


def octets(text: str, most: int = library.LONGEST_NAME) -> bytes:
    """The C side has room for so many. Raises ValueError."""
    found = text.encode()
    if not 0 < len(found) <= most:
        raise ValueError(f"1 to {most} octets were expected")
    return found


def number(layer: int | None) -> int:
    """A layer, or that there is none."""
    return -1 if layer is None else layer


def shape(track: int, of: Shape) -> library.ShapeOf:
    """What a publisher declared, under the number of its track."""
    ids = of.extensions
    mid = of.mid.encode()
    return library.ShapeOf(
        track,
        of.kind == "video",
        of.payload_type,
        -1 if of.repair_payload_type is None else of.repair_payload_type,
        ids.get(sdp.MID, -1),
        *((ids.get(name) or -1) for name in (sdp.RID, sdp.REPAIRED_RID, sdp.ORIENTATION, sdp.AUDIO_LEVEL, sdp.TRANSPORT_CC)),
        len(mid),
        len(of.layers),
        mid,
    )


def declared(layer: Layer) -> library.Declared:
    """One layer as the offer named it."""
    rid = layer.rid.encode()
    return library.Declared(layer.ssrc is not None, layer.repair_ssrc is not None, len(rid), layer.ssrc or 0, layer.repair_ssrc or 0, rid)


def event(record: post.Record) -> Event:
    """The events that wait for `poll`."""
    body = record.body
    if record.kind == post.LEARNT:
        _, track, layer, ssrc, repair = post.LEARNT_OF.unpack(body)
        return Learnt(track, layer, ssrc, bool(repair))
    if record.kind == post.LOST:
        _, track, fraction = post.LOST_OF.unpack_from(body)
        return Lost(track, body[post.LOST_OF.size :].decode(), fraction)
    if record.kind == post.FEEDBACK:
        return Feedback(*post.FEEDBACK_OF.unpack(body)[1:])
    _, mantissa, exponent = post.ESTIMATED_OF.unpack(body)
    return Estimated(mantissa << exponent)
