"""Which form of the packet path a worker uses: the one in C where it has been compiled and works, else the one in Python.

Asked for by name: `native`, `python`, or `auto`, which is the better of what is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .forward import PythonPath
from .forward.allowance import Rates
from .native.library import Unusable, load
from .native.path import NativePath
from .path import Address, MediaPath

NAMES = ("auto", "native", "python")

default = "auto"  # where nobody asks by name


def in_the_way() -> str:
    """Why the form in C cannot be used here; empty where it can."""
    try:
        load()
    except Unusable as fault:
        return str(fault)
    return ""


def chosen(name: str = "") -> str:
    """`native` or `python`, by what is asked for and what is there. Raises `native.library.Unusable` where `native` is asked for in vain."""
    name = name or default
    if name == "native":
        load()
    return name if name != "auto" else "python" if in_the_way() else "native"


def make(
    name: str,
    counters: Counter[str],
    send: Callable[[bytes, Address], bool],
    clock: Callable[[], float],
    wall_offset_us: int = 0,
    rates: Rates | None = None,
) -> MediaPath:
    """A path of the form `name`; the arguments are those of `forward.PythonPath`. Raises as `chosen`."""
    form = NativePath if chosen(name) == "native" else PythonPath
    return form(counters, send, clock, wall_offset_us, rates)
