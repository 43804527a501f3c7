"""Gail asks for what is hers: the recording that it is about, the job that answers, and the copy as it is downloaded."""

from __future__ import annotations

import io
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from asgiref.sync import async_to_sync
from django.test import Client
from django.utils import timezone

from compliance import log, queries
from compliance.dsr import desk
from compliance.models import Request
from tenants import scope
from tenants.permissions import Actor
from tests.recordings import stored
from tests.recordings.sittings import made as sat
from tests.recordings.stored import Stored, acting

MINE = "/my/requests/"
JSON = "application/json"


def recorded(cast: Any, data: Path, settings: Any) -> Stored:
    """Gail's voice and camera and Gus' voice, recorded and finished in this folder; Hana has looked at nothing."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": data})
    return stored.finished(sat(cast), ("gail", "mic"), ("gail", "cam"), ("gus", "mic"))


def worked(house: Stored, *, later: timedelta = timedelta()) -> list[Request]:
    """What the task does with every request of Acme whose time has come by then."""
    at = timezone.now() + later
    with acting(house.cast):
        return [desk.carry_out(request=queries.request_for(one), by=Actor.job("requests"), at=at) for one in queries.due_work(at)]


def only(house: Stored) -> Request:
    with scope.entered(house.cast.acme):
        found: Request = Request.objects.get()
        return found


def kinds(house: Stored) -> list[str]:
    with scope.entered(house.cast.acme):
        return [entry.kind for entry in log.about(house.cast.gail.pk)]


def ready(house: Stored, gail: Client) -> Request:
    assert gail.post(MINE).status_code == 303
    worked(house)
    return only(house)


def downloaded(gail: Client, request: Request) -> tuple[Any, zipfile.ZipFile]:
    answer = gail.post(f"{MINE}{request.pk}/download")
    assert answer.status_code == 200

    async def whole() -> bytes:
        return b"".join([piece async for piece in answer.streaming_content])

    return answer, zipfile.ZipFile(io.BytesIO(async_to_sync(whole)()))
