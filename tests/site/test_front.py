"""The front page says to a stranger what this is, how to try it, how it is protected and whom to ask; security.txt says whom to tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from bench import readme
from bench.report import Report
from cleac_site.pages import measured
from cleac_site.pages.views import OF_LEGS


def test_a_stranger_reads_what_it_is_how_to_try_it_its_three_legs_and_whom_to_ask(client: Client, db: None) -> None:
    page = client.get("/").content.decode()

    assert "Video meetings where each person decides what is kept" in page
    assert 'href="#try"' in page
    assert [leg for leg in ("Signalling: who gets in", "Streaming: who hears you", "Storage: what stays") if f"<h3>{leg}</h3>" not in page] == []
    assert f'href="mailto:{settings.CLEAC.contact_email}"' in page
    assert 'href="/.well-known/security.txt"' in page


def test_the_demo_can_be_tried_from_the_front_page_with_one_click(client: Client, cast: object) -> None:
    page = client.get("/").content.decode()

    assert [name for name in ("Ada", "Hana", "Dora", "Otto", "Nils") if f"Sign in as {name}" not in page] == []


def test_security_txt_has_what_rfc_9116_asks_for(client: Client, db: None) -> None:
    answer = client.get("/.well-known/security.txt")
    fields = dict(line.split(": ", 1) for line in answer.content.decode().splitlines())

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert fields["Contact"] == f"mailto:{settings.CLEAC.contact_email}"
    assert fields["Canonical"] == f"{settings.CLEAC.public_url}/.well-known/security.txt"
    expires = parse_datetime(fields["Expires"])
    assert expires is not None
    assert timedelta(days=30) < expires - timezone.now() < timedelta(days=365)


def test_each_leg_says_what_was_measured_when_and_where_from_the_file_that_benches_write(client: Client, db: None) -> None:
    found = measured.read()
    page = client.get("/").content.decode()

    for leg, (bench, name) in OF_LEGS.items():
        one = measured.series(found, bench, name)
        assert one is not None, leg
        assert f'<strong class="figure-number">{measured.worded(one.median)}</strong>' in page
        where = f"measured on {one.measured_on:%-d %b %Y} on {one.cores} cores ({one.processor})"
        assert f"Median of {one.runs} runs, {where}." in page


def test_the_readme_has_the_same_figures_and_a_new_report_takes_the_place_of_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (readme.ROOT / "README.md").read_text()
    assert readme.replaced(text) == text
    for path in (measured.FILE, readme.ROOT / "README.md"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(measured, "FILE", tmp_path / measured.FILE.name)
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    report = Report("withdrawal")
    report.spread("tap to applied, as the page is told", [1234.0, 7.0, 7.0], "ms")

    readme.keep(report)

    one = measured.series(measured.read(), "withdrawal", "tap to applied, as the page is told")
    assert one is not None
    assert (one.median, one.p99, one.runs, one.measured_on) == (7.0, 1234.0, 3, datetime.now(UTC).date())
    assert "| 7 ms | 1.2 s | 3 |" in (tmp_path / "README.md").read_text()
    assert measured.series(measured.read(), "access", "removal to closed page") is not None
    assert measured.series({}, "access", "removal to closed page") is None


def test_what_is_no_figure_of_a_page_cannot_be_put_there() -> None:
    with pytest.raises(CommandError, match="--write is for"):
        call_command("bench", "room", "--write")
