"""Acme's calls for tests: browsers on a meeting of Hana's, and media workers in this process or in their own."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from django.db import connections

from calls.consumers.base import in_thread, threads
from tests.calls import processes
from tests.calls.houses import House
from tests.calls.processes import Process
from tests.calls.sittings import Sitting
from tests.calls.sockets import PATIENCE, Media, Scene


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test does to a socket, no traceback reaches the log."""
    yield
    assert [record.getMessage() for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []


@pytest.fixture
def hung_up() -> Iterator[None]:
    """The signalling threads keep no connection to a test's database."""
    yield
    together = threading.Barrier(threads._max_workers + 1)

    def close() -> None:
        together.wait(PATIENCE)
        connections.close_all()

    closing = [threads.submit(close) for _ in range(threads._max_workers)]
    together.wait(PATIENCE)
    for done in closing:
        done.result(PATIENCE)


@pytest_asyncio.fixture
async def media(transactional_db: None) -> AsyncIterator[Media]:
    """A media worker in this process, which stops after the test as a drained one does."""
    running = await Media().start()
    yield running
    await running.stop()


@pytest_asyncio.fixture
async def scene(cast: Any) -> AsyncIterator[Scene]:
    """Whatever page is open after the test is closed."""
    made = await in_thread(Scene, cast)
    yield made
    for page in made.pages:
        if not page.socket.future.done():
            await page.socket.disconnect(timeout=PATIENCE)


@pytest.fixture
def sitting(cast: Any) -> Iterator[Sitting]:
    """A call whose thread, if the test started it, has stopped afterwards."""
    found = Sitting(cast)
    yield found
    if found.control.is_alive():
        found.control.stop(processes.PATIENCE)
    assert not found.control.is_alive()


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """Starts a media worker; whatever still runs after the test is killed."""
    started: list[Process] = []

    def start(**environment: str) -> Process:
        started.append(Process(**environment))
        return started[-1]

    yield start
    for one in started:
        one.end(signal.SIGKILL)


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    """One worker whose database the test is."""
    opened = await House().open()
    yield opened
    await opened.close()
