"""The clock by which leases end and knowledge grows old: it goes on while the machine sleeps, where the platform has such a clock.

The database's clock goes on too, so whoever slept must not believe the lease from before. A clock that stops meanwhile, as
`time.monotonic` does on Linux, would call it young.
"""

from __future__ import annotations

import time

_SLEEPLESS: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds since a fixed moment that nobody sets."""
    return time.monotonic() if _SLEEPLESS is None else time.clock_gettime(_SLEEPLESS)
