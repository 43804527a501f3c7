"""`manage.py retention run`: says what is due, destroys it, and names what went wrong by its exit code."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase
from django.utils import timezone

from recordings import vault
from tests.recordings import stored
from tests.recordings.sittings import made as sitting
from tests.recordings.stored import Stored

pytestmark = pytest.mark.django_db(databases=["default", "keys"])


@pytest.fixture
def house(cast: Any, tmp_path: Path, settings: Any, time_machine: Any) -> Stored:
    """Gail's voice and Gus' camera, recorded 32 days ago, in a store of its own."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    made = stored.finished(sitting(cast), ("gail", "mic"), ("gus", "cam"))
    time_machine.move_to(timezone.now() + timedelta(days=32), tick=True)
    return made


def ran(*options: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    out = StringIO()
    with TestCase.captureOnCommitCallbacks(execute=True), pytest.raises(SystemExit) as ended:
        call_command("retention", "run", *options, stdout=out)
    return int(ended.value.code or 0), out.getvalue()


def test_it_tells_what_is_due_by_purpose_and_what_went(house: Stored) -> None:
    code, told = ran("--json", "--tenant", "acme")

    (acme,) = json.loads(told)["tenants"]
    assert (code, acme["tenant"], acme["due"]) == (0, "acme", {"record-camera": 1, "record-voice": 1})
    assert acme["purged"] == {"objects": 2, "invitations": 0, "meetings": 0, "people": 0, "recordings": 1, "evidence": 0, "closed": 0}
    assert house.objects() == {}


def test_a_dry_run_tells_the_same_and_destroys_nothing(house: Stored) -> None:
    before = house.objects()
    code, told = ran("--dry-run")
    assert code == 0
    assert "due record-camera: 1" in told
    assert "due record-voice: 1" in told
    assert "purged" not in told
    assert house.objects() == before


def test_of_another_tenant_nothing_is_due_and_nothing_goes(house: Stored) -> None:
    before = house.objects()
    assert ran("--tenant", "globex") == (0, "globex:\n  nothing is due\n")
    assert house.objects() == before


def test_what_failed_is_counted_and_the_exit_code_says_so(house: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_artefacts: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(vault, "shred", broken)
    code, told = ran("--tenant", "acme")
    assert code == 1
    assert "failed: 2" in told


def test_a_tenant_that_is_not_there_is_wrong_use() -> None:
    with pytest.raises(CommandError) as refused:
        call_command("retention", "run", "--tenant", "nobody")
    assert refused.value.returncode == 2
