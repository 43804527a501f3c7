"""What tests of recordings begin with: a call of Acme's, alone or with its worker, and one small playback file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from django.conf import settings
from django.test import Client

from recordings import storage
from recordings.models import Epoch, Recording
from tests.recordings import sittings, stored
from tests.recordings.finishes import captured, stopped
from tests.recordings.sittings import Sitting
from tests.recordings.stored import Stored, guest
from tests.recordings.studio import FaultyFile, FaultyStore, Studio, aside

from .clusters import picture
from .reel import write


@pytest.fixture
def sitting(cast: Any) -> Sitting:
    return sittings.made(cast)


@pytest.fixture
def small(tmp_path: Path) -> bytes:
    """Three clusters, FRONT and END."""
    write(tmp_path / "small", [picture(8_300_000, key=True), picture(8_333_000), picture(10_300_000), picture(10_400_000, key=True)])
    return (tmp_path / "small").read_bytes()


@pytest_asyncio.fixture
async def studio(transactional_db: None, cast: Any) -> AsyncIterator[Studio]:
    """The worker of one call, with all of its parts."""
    opened = await Studio(await aside(sittings.made, cast)).open()
    yield opened
    await opened.close()


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FaultyFile]]:
    """Journals are created on a disk that has faults when the test says so."""
    monkeypatch.setattr(storage, "store", lambda: FaultyStore(settings.CLEAC.data))
    yield FaultyFile
    FaultyFile.full = FaultyFile.stuck = False


@pytest.fixture
def recorded(sitting: Sitting) -> tuple[Recording, dict[str, Epoch]]:
    """Gail's voice and camera were captured, and the recording was stopped."""
    sitting.answer("gail", "record-voice", "record-camera")
    recording = sitting.start()
    epochs = {source: captured(sitting, recording, "gail", source) for source in ("mic", "cam")}
    stopped(sitting, recording)
    return recording, epochs


@pytest.fixture
def made(sitting: Sitting) -> Stored:
    return stored.as_answered(sitting)


@pytest.fixture
def hana(made: Stored, sign_in: Callable[[Any], Client]) -> Client:
    """Her browser, signed in."""
    return sign_in(made.cast.hana_user)


@pytest.fixture
def gail(made: Stored) -> Client:
    """Her browser, with the session of a guest."""
    return guest(made.sitting, "gail")
