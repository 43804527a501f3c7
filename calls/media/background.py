"""What a worker does beside its loop's own turns: tasks that it can wait for, and faults that end where they happen."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from tenants.errors import Refused

from . import faults

log = logging.getLogger(__name__)


class Background:
    """The tasks of one worker. `counters` has `faults`, and one for each code by which something was refused."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do it in a task of its own, which lives until it is done or cancelled."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def done(self, name: str) -> None:
        """Wait until no task of this name is left."""
        while waiting := {task for task in self._tasks if task.get_name() == name}:
            await asyncio.wait(waiting)

    async def cancel(self) -> None:
        """End every task."""
        others = set(self._tasks)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    @contextmanager
    def faults(self, what: str = "connection closed") -> Iterator[None]:
        """The fault of one connection or call ends here: counted, and logged without its words, which may be a person's."""
        try:
            yield
        except Refused as refused:
            self.counters[refused.code] += 1
            log.warning("%s: %s", what, refused.code)
        except Exception as error:
            self.counters["faults"] += 1
            faults.record(error, what)
