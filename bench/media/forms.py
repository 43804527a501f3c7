"""The forms of our packet path, and an edge with one of them."""

from __future__ import annotations

from calls.media.edge import Edge
from calls.media.forward.allowance import WITHOUT_LIMIT
from calls.media.native.library import Unusable

FORMS = ("native", "python")


class NoForm(Exception):
    """This build has no such form."""


async def edge_of(form: str) -> Edge:
    """Our edge on loopback. Raises NoForm."""
    try:
        return await Edge.bind(form=form, rates=WITHOUT_LIMIT)
    except Unusable as fault:
        raise NoForm(str(fault)) from None
