"""Ends the children when their supervisor is gone without having said goodbye. Standard library only.

It reads `+pid` and `-pid` lines from its input; when the input ends, whoever is still listed is asked to stop, then killed. This works on
every system; where the kernel can do it too, `die_with_parent` asks it, so that even losing this process leaves nobody behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PATIENCE = 10.0  # seconds from SIGTERM to SIGKILL
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Called in a new child before it becomes its program: Linux sends it SIGTERM when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def tell(pid: int, number: int, *, group: bool = False) -> bool:
    """Send a signal to a child, or to the group it leads. Whether there was anybody to hear it."""
    try:
        (os.killpg if group else os.kill)(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS refuses a group that only holds ended processes
        return False
    return True


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    listed: set[int] = set()
    for line in sys.stdin:
        (listed.add if line[0] == "+" else listed.discard)(int(line[1:]))
    deadline = time.monotonic() + PATIENCE
    for pid in listed:
        tell(pid, signal.SIGTERM)
    while listed and time.monotonic() < deadline:
        listed = {pid for pid in listed if tell(pid, 0, group=True)}
        time.sleep(0.05)
    for pid in listed:
        tell(pid, signal.SIGKILL, group=True)


if __name__ == "__main__":
    main()
