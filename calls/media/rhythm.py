"""Turns that come again and again, all on one grid of the loop's clock: what is due together costs the process one wake-up.

A wake-up of the loop costs as much as forwarding a dozen packets, and a worker carries many rooms.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


def next_turn(turn: Callable[[], None], every: float, offset: float = 0.0) -> asyncio.TimerHandle:
    """Call `turn` at the next moment of the grid `offset + n * every` (seconds) that is at least half of `every` away."""
    loop = asyncio.get_running_loop()
    return loop.call_at(math.ceil((loop.time() - offset) / every + 0.5) * every + offset, turn)
