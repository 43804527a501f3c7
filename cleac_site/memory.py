"""What is in a process's memory stays there: media in clear, and the keys that open it."""

from __future__ import annotations

import resource


def keep_off_the_disk() -> None:
    """Should this process or a child of it fall, the system writes no image of its memory; nobody can switch that on again from outside."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
