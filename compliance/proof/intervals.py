"""Stretches of time as pairs of start and end, in microseconds; the end is outside. No Django."""

from __future__ import annotations

from collections.abc import Iterable

Interval = tuple[int, int]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Merged and in order; what is empty is left out."""
    merged: list[Interval] = []
    for start, end in sorted(interval for interval in intervals if interval[1] > interval[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def minus(intervals: Iterable[Interval], taken: Iterable[Interval]) -> list[Interval]:
    """What of the first lies in none of the second."""
    left = union(intervals)
    for start, end in union(taken):
        left = [part for low, high in left for part in ((low, min(high, start)), (max(low, end), high)) if part[1] > part[0]]
    return left


def length(intervals: Iterable[Interval]) -> int:
    """Microseconds in intervals that do not overlap."""
    return sum(end - start for start, end in intervals)
