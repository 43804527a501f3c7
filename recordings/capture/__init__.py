"""The recording side of the media worker: `wish` and `HANDLERS` belong to the database's thread, `Capture` to the loop."""

from __future__ import annotations

from .loop import Capture
from .orders import CloseEpoch, EpochOpened, OpenEpoch, Wish
from .written import HANDLERS, wish

__all__ = ["HANDLERS", "Capture", "CloseEpoch", "EpochOpened", "OpenEpoch", "Wish", "wish"]
