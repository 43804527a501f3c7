"""Copies of one's own data, from the personal link on: zips that open offline, also where something of them is lost."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import av
import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from compliance import log
from compliance.dsr import desk, package
from compliance.reports import figures
from consent import queries as answers
from recordings import viewing
from tenants import scope
from tenants.errors import Refused
from tenants.keys import wrapping
from tenants.permissions import Actor
from tests.recordings.stored import Stored, acting, guest, promised

from .asking import MINE, downloaded, kinds, only, ready, recorded, worked

pytestmark = pytest.mark.django_db(databases=["default", "keys"])


@pytest.fixture
def house(cast: Any, tmp_path: Path, settings: Any) -> Stored:
    return recorded(cast, tmp_path, settings)


@pytest.fixture
def gail(house: Stored) -> Client:
    return guest(house.sitting, "gail")


# A copy


def test_who_asks_for_a_copy_is_told_the_deadline_and_asks_only_once(house: Stored, gail: Client) -> None:
    assert [gail.post(MINE).status_code for _again in range(2)] == [303, 303]

    request = only(house)
    page = gail.get(MINE).content.decode()
    assert (request.kind, request.state, request.channel, request.person_id) == ("access", "OPEN", "link", house.cast.gail.pk)
    assert request.due_at > request.asked_at + timedelta(days=27)
    assert f"{request.due_at.astimezone(timezone.get_default_timezone()):%b %Y}" in page
    assert [row.arguments for row in promised(desk.TASK)] == [{"request_id": str(request.pk)}]
    assert "request.opened" in kinds(house)


def test_a_copy_is_a_zip_that_opens_offline_and_holds_the_own_part_and_nobody_elses(house: Stored, gail: Client) -> None:
    answer, copy = downloaded(gail, ready(house, gail))

    assert answer["Content-Type"] == "application/zip"
    assert copy.testzip() is None
    names = copy.namelist()
    assert [name for name in names if not name.startswith("media/")] == [
        *("style.css", "data.json", "decisions.json", "looks.json"),
        *("index.html", "manifest.json", "checksums.txt"),
    ]
    assert sorted(name.rpartition("-")[0].rpartition("-")[2] for name in names if name.startswith("media/")) == ["cam", "mic"]
    sums = dict(reversed(line.split("  ")) for line in copy.read("checksums.txt").decode().splitlines())
    assert sums == {name: sha256(copy.read(name)).hexdigest() for name in names if name != "checksums.txt"}
    manifest = json.loads(copy.read("manifest.json"))
    assert {one["name"]: one["sha256"] for one in manifest["files"]} == {name: sums[name] for name in sums if name != "manifest.json"}
    assert manifest["left_out"] == []
    page = copy.read("index.html").decode()
    assert all(name in page for name in names if name.startswith("media/"))
    for name in ("index.html", "style.css"):
        assert b"://" not in copy.read(name)
        assert b"<script" not in copy.read(name)
    assert {one["granted"] for one in json.loads(copy.read("decisions.json"))} == {True}
    everything = copy.read("data.json").decode()
    assert "Gail" in everything
    assert "Gus" not in everything
    assert list(Path(package.__file__).parent.glob("*.zip")) == []


def test_the_first_page_of_a_copy_tells_answers_and_looks_in_words(house: Stored, gail: Client) -> None:
    """Gail said yes to voice and camera, and took the camera back; Hana has looked, to follow up."""
    hana = house.cast.hana
    with acting(house.cast):
        viewing.view(recording=house.recording, by=Actor.person(hana), person=hana, whole=True, purpose="follow-up", at=timezone.now())
    house.sitting.answer("gail", "record-camera", granted=False)
    _answer, copy = downloaded(gail, ready(house, gail))

    page = unescape(copy.read("index.html").decode())
    rows = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    with scope.entered(house.cast.acme):
        given = list(answers.every_decision(person=house.cast.gail.pk))
    said = [row for row in rows if len(row) == 5]
    assert [(row[0], row[1]) for row in said] == [
        (one.purpose.title, "No" if not one.granted else "Yes, changed since" if one.purpose.key == "record-camera" else "Yes") for one in given
    ]
    assert all(f"{one.decided_at:%b %Y}" in row[2] and "(UTC)" in row[2] for one, row in zip(given, said, strict=True))
    assert page.count("<time datetime=") == len(said) + 2  # each with its offset, for programs; and the copy's own, and Hana's look
    assert "All times are those of UTC." in page
    assert [row[4] for row in said] == [f"{one.notice.title} (version 1)" for one in given]
    assert [(row[1], row[2]) for row in rows if len(row) == 3] == [("Somebody of Acme", "Following up on the meeting")]
    assert not any(code in page for code in ("follow-up<", "record-camera", ">staff<", ">own<"))


def test_the_sound_of_a_copy_can_be_played_by_any_player(house: Stored, gail: Client) -> None:
    _answer, copy = downloaded(gail, ready(house, gail))
    [name] = [name for name in copy.namelist() if name.endswith("mic-1.webm")]

    with av.open(io.BytesIO(copy.read(name))) as film:
        assert [stream.codec_context.name for stream in film.streams] == ["opus"]
        assert sum(1 for packet in film.demux() if packet.size) >= 99


def test_a_download_leaves_its_entries_and_is_over_after_seven_days(house: Stored, gail: Client) -> None:
    request = ready(house, gail)
    downloaded(gail, request)
    assert {"request.ready", "package.downloaded", "content.opened"} <= set(kinds(house))

    worked(house, later=timedelta(days=7, seconds=1))

    assert only(house).state == "DONE"
    late = gail.post(f"{MINE}{request.pk}/download")
    assert late.status_code == 410
    assert "The time to download this copy is over" in late.content.decode()


def test_a_copy_that_is_not_ready_is_not_sent(house: Stored, gail: Client) -> None:
    gail.post(MINE)

    assert gail.post(f"{MINE}{only(house).pk}/download").status_code == 409


def test_a_file_that_is_shredded_while_it_is_sent_ends_the_zip_without_its_list(house: Stored, gail: Client) -> None:
    request = ready(house, gail)
    with scope.entered(house.cast.acme):
        made = package.collected(person=house.cast.gail, tenant=house.cast.acme, by=Actor.person(house.cast.gail), at=timezone.now())
    pieces = package.stream(made)
    first = next(pieces)
    house.forget("gail")

    with pytest.raises(Exception, match="restricted|not-found"):
        list(pieces)
    assert not zipfile.is_zipfile(io.BytesIO(first))
    assert request.state == "READY"


def test_a_copy_that_is_taken_slower_than_a_viewing_lasts_goes_on_under_another_one(house: Stored, gail: Client, time_machine: Any) -> None:
    """A day and no longer: then the session by which it was asked for is over too."""
    ready(house, gail)
    at = timezone.now()
    with scope.entered(house.cast.acme):
        made = package.collected(person=house.cast.gail, tenant=house.cast.acme, by=Actor.person(house.cast.gail), at=at)
        before = kinds(house).count("content.opened")
    pieces, sent = package.stream(made), []
    for hour, piece in enumerate(pieces):
        sent.append(piece)
        time_machine.move_to(at + timedelta(hours=3 * min(hour, 7)), tick=False)

    with zipfile.ZipFile(io.BytesIO(b"".join(sent))) as copy:
        assert copy.testzip() is None
        assert json.loads(copy.read("manifest.json"))["left_out"] == []
    assert kinds(house).count("content.opened") > before
    slow = package.stream(made)
    next(slow)
    time_machine.move_to(at + package.LONGEST + timedelta(hours=3), tick=False)
    with pytest.raises(Refused, match="viewing-over"):
        list(slow)


# A copy of which something is lost


def lose(house: Stored, *places: tuple[str, str]) -> dict[Path, bytes]:
    """These files are gone from the store behind its back; what they held."""
    paths = [settings.CLEAC.data / "objects" / house.files[place].object_name for place in places]
    held = {path: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
    return held


def damage(house: Stored, place: tuple[str, str]) -> None:
    """One byte in the middle of this file is another one."""
    path = settings.CLEAC.data / "objects" / house.files[place].object_name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def answered(house: Stored) -> tuple[int, int]:
    """How many requests the report counts as answered in time, and how many as waiting."""
    today = timezone.now().date()
    with scope.entered(house.cast.acme):
        found = figures.monthly(today - timedelta(days=1), today + timedelta(days=1), verify=False).requests
    return found.in_time, found.waiting


@pytest.mark.parametrize("when", ["before it is ready", "before it is sent"])
@pytest.mark.parametrize("how", [lose, damage])
def test_a_file_that_cannot_be_opened_is_left_out_and_the_copy_says_so(
    house: Stored, gail: Client, how: Callable[[Stored, tuple[str, str]], Any], when: str
) -> None:
    if when == "before it is sent":
        request = ready(house, gail)
    how(house, ("gail", "cam"))
    if when == "before it is ready":
        request = ready(house, gail)
        assert "lost or damaged" in gail.get(MINE).content.decode()
    assert only(house).state == "READY"

    _answer, copy = downloaded(gail, request)

    assert copy.testzip() is None
    media = [name for name in copy.namelist() if name.startswith("media/")]
    assert [name.rpartition("-")[0].rpartition("-")[2] for name in media] == ["mic"]
    page, [left_out] = copy.read("index.html").decode(), json.loads(copy.read("manifest.json"))["left_out"]
    assert "What is missing" in page
    assert left_out["title"] in page
    assert left_out["name"] not in copy.namelist()
    with scope.entered(house.cast.acme):
        [told] = [entry.record["facts"] for entry in log.of_kinds(["package.sent"])]
    assert (told["files"], told["lost"]) == (1, [str(house.files["gail", "cam"].pk)])


def test_a_copy_of_which_no_file_opens_is_no_answer_and_is_tried_again(house: Stored, gail: Client) -> None:
    held = lose(house, ("gail", "mic"), ("gail", "cam"))

    request = ready(house, gail)
    worked(house, later=desk.AGAIN + timedelta(seconds=1))

    assert (only(house).state, only(house).ready_at, answered(house)) == ("FAILED", None, (0, 1))
    assert gail.post(f"{MINE}{request.pk}/download").status_code == 409
    assert "tried again" in gail.get(MINE).content.decode()
    assert kinds(house).count("request.failed") == 1
    for path, content in held.items():
        path.write_bytes(content)
    worked(house, later=2 * desk.AGAIN + timedelta(seconds=2))
    assert (only(house).state, answered(house)) == ("READY", (1, 0))


def test_what_stays_lost_does_not_keep_the_rest_from_being_answered(house: Stored, gail: Client) -> None:
    lose(house, ("gail", "mic"), ("gail", "cam"))
    request = ready(house, gail)

    worked(house, later=desk.PATIENCE + timedelta(seconds=1))

    _answer, copy = downloaded(gail, request)
    assert (only(house).state, len(json.loads(copy.read("manifest.json"))["left_out"])) == ("READY", 2)


def test_a_copy_that_breaks_off_leaves_an_entry_and_is_made_ready_anew(house: Stored, gail: Client) -> None:
    request = ready(house, gail)
    assert answered(house) == (1, 0)
    sent = {"request": request, "tenant": house.cast.acme, "by": Actor.person(house.cast.gail), "at": timezone.now()}
    pieces = desk.sent(**sent)
    next(pieces)
    house.forget("gail")

    with pytest.raises(Exception, match="restricted|not-found"):
        list(pieces)

    assert (only(house).state, answered(house)) == ("FAILED", (0, 1))
    assert "package.broken_off" in kinds(house)
    assert "package.sent" not in kinds(house)
    worked(house)
    assert (only(house).state, answered(house)) == ("READY", (1, 0))
    assert [name for name in downloaded(gail, request)[1].namelist() if name.startswith("media/")] == []


def test_a_copy_while_the_key_store_is_away_is_not_called_lost(house: Stored, gail: Client) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(wrapping, "open_tenant_key", locked)
        ready(house, gail)
        assert (only(house).state, answered(house)) == ("FAILED", (0, 1))
    worked(house, later=desk.AGAIN + timedelta(seconds=1))
    assert (only(house).state, only(house).lines) == ("READY", [])


def locked(*_given: Any) -> bytes:
    raise wrapping.Unopened
