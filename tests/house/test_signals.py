"""Two signals of our own, and everybody who listens to one, by name: whoever sends knows who hears."""

from __future__ import annotations

import ast

from django.dispatch import Signal

from consent.signals import decided
from tenants.signals import access_changed

from .source import modules

LISTENERS = {
    "decided": {"calls.receivers.on_decided"},
    "access_changed": {"calls.receivers.on_access_changed"},
}


def listeners(signal: Signal) -> set[str]:
    """Dotted names of the living receivers; Django keeps each behind a weak reference."""
    living = (kept[1]() for kept in signal.receivers)
    return {f"{receiver.__module__}.{receiver.__qualname__}" for receiver in living if receiver is not None}


def test_each_signal_is_heard_by_the_listed_and_by_nobody_else() -> None:
    assert {"decided": listeners(decided), "access_changed": listeners(access_changed)} == LISTENERS


def test_there_are_no_signals_but_these_two() -> None:
    made = [
        (path, target.id)
        for path, tree in modules().items()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "Signal"
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert sorted(made) == [("consent/signals.py", "decided"), ("tenants/signals.py", "access_changed")]
