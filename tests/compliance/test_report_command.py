"""`report dpo`: what it writes, which entries it leaves, and wrong uses, which leave none."""

from __future__ import annotations

import json
from errno import ENOSPC
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from compliance import log
from compliance.reports import document
from tenants import scope

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
OCTOBER = {"start": "2026-10-01", "end": "2026-10-31", "tenant": "acme"}


@pytest.fixture(autouse=True)
def a_store_of_its_own(cast: Any, tmp_path: Path, settings: Any) -> None:
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path / "data"})
    settings.CLEAC.data.mkdir()


def report(file: Path, said: StringIO, **changes: str) -> None:
    """Run it for October, with these changes; what it has against it is `said`."""
    asked = OCTOBER | changes
    options = ["--tenant", asked["tenant"], "--from", asked["start"], "--to", asked["end"], "-o", str(file)]
    options += ["--lang", asked["lang"]] if "lang" in asked else []
    call_command("report", "dpo", *options, stdout=StringIO(), stderr=said)


def test_it_proves_what_is_stored_and_writes_the_report(cast: Any, tmp_path: Path) -> None:
    report(tmp_path / "october.json", StringIO())

    told = json.loads((tmp_path / "october.json").read_bytes())
    assert (told["tenant"], told["first"], told["last"]) == ("acme", "2026-10-01", "2026-10-31")
    assert told["proof"]["clean"] is True
    with scope.entered(cast.acme):
        assert [(entry.kind, entry.by_kind) for entry in log.of_kinds(["store.proved", "report.made"])] == [
            ("store.proved", "operator"),
            ("report.made", "operator"),
        ]
        assert log.verify(cast.acme) == []


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("a.json", {"tenant": "nobody"}, "no tenant"),
        ("a.json", {"start": "2026-11-01"}, "is before"),
        ("a.json", {"start": "2026-02-30"}, "is no day"),
        ("a.json", {"lang": "fi"}, "no translation 'fi'"),
        ("a.xlsx", {}, "not built yet"),
        ("a.csv", {}, "not built yet"),
        ("a.doc", {}, "there are: .pdf, .json"),
        ("absent/a.json", {}, "cannot be written"),
    ],
)
def test_wrong_use_is_exit_2_and_one_line_and_leaves_no_file_and_no_entry(
    cast: Any, tmp_path: Path, name: str, changes: dict[str, str], words: str
) -> None:
    said = StringIO()

    with pytest.raises(SystemExit) as ended:
        report(tmp_path / name, said, **changes)

    assert ended.value.code == 2
    assert words in said.getvalue()
    assert said.getvalue().count("\n") == 1
    assert not (tmp_path / name).exists()
    with scope.entered(cast.acme):
        assert not log.of_kinds(["store.proved", "report.made"]).exists()


def test_a_report_that_cannot_be_made_leaves_the_one_before_it_as_it_was(cast: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, said = tmp_path / "october.json", StringIO()
    report(file, StringIO())
    before = file.read_bytes()

    def full(*_figures: Any, **_named: Any) -> bytes:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setitem(document.MAKERS, "json", full)
    with pytest.raises(SystemExit) as ended:
        report(file, said)

    assert ended.value.code == 1
    assert "could not be made" in said.getvalue()
    assert file.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"data", file.name}


def test_a_folder_is_no_file_for_a_report(cast: Any, tmp_path: Path) -> None:
    said = StringIO()
    (tmp_path / "folder.pdf").mkdir()

    with pytest.raises(SystemExit) as ended:
        report(tmp_path / "folder.pdf", said)

    assert ended.value.code == 2
    assert "cannot be written" in said.getvalue()
    with scope.entered(cast.acme):
        assert not log.of_kinds(["store.proved", "report.made"]).exists()
