"""Who is sent which layer when: every listener of a picture in layers goes over to the next one each second, each at a moment of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from .load import Ear
from .loads import Load

EVERY = 1.0  # seconds between two layers of one listener


class Server(Protocol):
    """Whoever can be told."""

    async def switch(self, listener: str, layer: int) -> None:
        """Send this listener, by its name, another layer from now on."""


class Switching:
    """Tells a server, listener after listener, so that at each moment as many are on one layer as on another."""

    def __init__(self, server: Server, load: Load, ears: Sequence[Ear]) -> None:
        self._server, self._layers, self._ears = server, len(load.layers), ears
        self._turn = 0

    async def during(self, seconds: float) -> int:
        """For so long; returns how often it told. Does nothing where there are no layers."""
        loop, told = asyncio.get_running_loop(), 0
        began = loop.time()
        while self._layers and loop.time() - began < seconds:
            round_, place = divmod(self._turn, len(self._ears))
            await self._server.switch(self._ears[place].name, (round_ + place) % self._layers)
            self._turn, told = self._turn + 1, told + 1
            await asyncio.sleep(began + told * EVERY / len(self._ears) - loop.time())
        return told
