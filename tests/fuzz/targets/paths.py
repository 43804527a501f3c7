"""Both forms of the packet path, given the same packets in clear; the one in C only where it can be used."""

from __future__ import annotations

from collections.abc import Iterable

from calls.media import forms
from calls.media.path import Layer
from tests.media.plain import PlainEnd, PlainPath

FORMS = ("python",) if forms.in_the_way() else ("python", "native")


def worlds() -> list[tuple[PlainPath, PlainEnd]]:
    """A track of one layer and one of two in each form, and a listener to both."""
    made = []
    for form in FORMS:
        path = PlainPath(form)
        path.open()
        path.open(layers=(Layer("q"), Layer("f")), track=2)
        listener = path.listen(repairs=True)
        path.listen(track=2)
        made.append((path, listener))
    return made


def agree(found: Iterable[tuple[PlainPath, PlainEnd]]) -> None:
    """Everything that left, and everything that was told and counted, is the same in both forms."""
    told = []
    for path, _ in found:
        path.clock.now += 1
        path.path.poll(path.now)
        ends = [path.publisher, *path.listeners]
        counted = {name: count for name, count in path.counters.items() if count}
        told.append((path.sent, path.told, [end.events for end in ends], counted))
    assert all(other == told[0] for other in told), "the forms of the path do not do the same"


def datagrams(data: bytes) -> list[bytes]:
    """Two octets of length before each."""
    found, at = [], 0
    while at + 2 <= len(data):
        length = int.from_bytes(data[at : at + 2]) % 1501
        found.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return found


def framed(*packets: bytes) -> bytes:
    return b"".join(len(packet).to_bytes(2) + packet for packet in packets)
