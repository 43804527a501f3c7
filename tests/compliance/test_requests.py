"""Requests about one's own data, from the personal link to what is left: copies that open offline, and erasures that keep nothing back."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from django.utils import timezone

from compliance import log, queries, tasks
from compliance.dsr import desk, package
from compliance.models import Hold, Request
from recordings import forgetting, vault
from recordings import queries as recordings
from recordings.models import Artefact, Epoch
from tenants import jobs, scope
from tenants.models import Person
from tenants.permissions import Actor
from tests import make
from tests.recordings import stored
from tests.recordings.conftest import Sitting
from tests.recordings.conftest import made as sat
from tests.recordings.stored import Stored, acting, guest, promised

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
MINE = "/my/requests/"
JSON = "application/json"


@pytest.fixture
def house(cast: Any, tmp_path: Path, settings: Any) -> Stored:
    """Gail's voice and camera and Gus' voice, recorded and finished; Hana has looked at nothing."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    return stored.finished(sat(cast), ("gail", "mic"), ("gail", "cam"), ("gus", "mic"))


@pytest.fixture
def gail(house: Stored) -> Client:
    return guest(house.sitting, "gail")


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
        *("index.html", "style.css", "data.json", "decisions.json", "looks.json"),
        "checksums.txt",
    ]
    assert sorted(name.rpartition("-")[0].rpartition("-")[2] for name in names if name.startswith("media/")) == ["cam", "mic"]
    sums = dict(reversed(line.split("  ")) for line in copy.read("checksums.txt").decode().splitlines())
    assert sums == {name: sha256(copy.read(name)).hexdigest() for name in names if name != "checksums.txt"}
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


# Erasure


def test_an_erasure_takes_the_own_part_at_once_then_the_name_and_leaves_everybody_else(
    house: Stored, gail: Client, sign_in: Callable[..., Client]
) -> None:
    before = house.objects()
    assert "Erase everything" in gail.get(f"{MINE}erasure").content.decode()

    assert gail.post(f"{MINE}erasure").status_code == 303
    with scope.entered(house.cast.acme):
        assert all(epoch.restricted_at for epoch in Epoch.objects.filter(track__person=house.cast.gail))
    [done] = worked(house)

    assert (done.state, only(house).state) == ("DONE", "DONE")
    assert house.objects() == {("gus", "mic"): before["gus", "mic"]}
    page = gail.get(MINE).content.decode()
    assert "erased" in page
    assert "needed to establish, exercise or defend legal claims" in page
    worked(house, later=desk.REACHABLE + timedelta(seconds=1))
    with scope.entered(house.cast.acme):
        person = Person.objects.get(pk=house.cast.gail.pk)
        assert (person.name, person.email) == ("", "")
        assert log.verify(house.cast.acme) == []
    assert gail.get(MINE).status_code == 302
    told = sign_in(house.cast.dora_user).get("/t/acme/requests/").content.decode()
    assert "Somebody who was erased" in told
    assert {"request.opened", "request.carried_out", "request.closed", "person.restricted", "person.redacted"} <= set(kinds(house))


def test_the_answer_names_the_recordings_also_when_the_sweep_shredded_them_before_it(house: Stored, gail: Client) -> None:
    gail.post(f"{MINE}erasure")
    with scope.entered(house.cast.acme):
        forgetting.redact(person=house.cast.gail, recording=None, by=jobs.actor("sweep"), at=timezone.now())
    worked(house)

    [line] = [line for line in only(house).lines if line["model"] == "recordings.Artefact"]
    assert (line["outcome"], line["rows"] > 0) == ("done", True)
    assert "<dt>Recordings of you</dt>" in gail.get(MINE).content.decode()


def test_who_asks_for_erasure_in_a_call_takes_every_yes_back(cast: Any, tmp_path: Path, settings: Any) -> None:
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    sitting: Sitting = sat(cast)
    sitting.answer("gail", "record-voice")
    gail = guest(sitting, "gail")

    gail.post(f"{MINE}erasure")

    with scope.entered(cast.acme):
        assert [entry.kind for entry in log.about(cast.gail.pk) if entry.kind.startswith("consent.")][-1] == "consent.withdrawn"


def test_under_a_hold_nothing_is_destroyed_and_the_request_waits_for_its_end(house: Stored, gail: Client) -> None:
    before = house.objects()
    with scope.entered(house.cast.acme):
        hold = Hold.objects.create(tenant=house.cast.acme, person_id=house.cast.gail.pk, reason="claim", placed_at=timezone.now())
    gail.post(f"{MINE}erasure")

    worked(house)

    assert (only(house).state, house.objects()) == ("WORKING", before)
    assert "legal hold" in gail.get(MINE).content.decode()
    with scope.entered(house.cast.acme):
        hold.lifted_at = timezone.now()
        hold.save()
    worked(house, later=desk.HELD_AGAIN + timedelta(seconds=1))
    assert only(house).state == "DONE"
    assert set(house.objects()) == {("gus", "mic")}


def test_carrying_a_request_out_twice_changes_nothing(house: Stored, gail: Client) -> None:
    gail.post(f"{MINE}erasure")
    worked(house)
    told = kinds(house)

    assert worked(house) == []
    assert kinds(house) == told


def test_a_request_that_breaks_keeps_no_other_from_its_turn(house: Stored, gail: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    gail.post(f"{MINE}erasure")
    guest(house.sitting, "gus").post(f"{MINE}erasure")
    shred = vault.shred

    def broken(artefacts: list[Artefact]) -> None:
        if any(recordings.epoch_of(artefact).track.person_id == house.cast.gail.pk for artefact in artefacts):
            raise OSError("the key store went away")
        shred(artefacts)

    monkeypatch.setattr(vault, "shred", broken)
    tasks.sweep_requests()

    with scope.entered(house.cast.acme):
        states = dict(Request.objects.values_list("person__name", "state"))
    assert states == {"Gail": "OPEN", "Gus": "DONE"}
    monkeypatch.undo()
    tasks.sweep_requests()
    with scope.entered(house.cast.acme):
        assert set(Request.objects.values_list("state", flat=True)) == {"DONE"}


def test_a_tenant_whose_log_takes_no_entry_keeps_no_other_from_its_requests_and_its_proof(house: Stored, gail: Client) -> None:
    gail.post(MINE)
    with scope.entered(house.cast.globex):
        nils = {"person": house.cast.nils, "kind": "access", "channel": Request.Channel.ACCOUNT, "by": Actor.person(house.cast.nils)}
        theirs = desk.open_request(**nils, at=timezone.now())
    with scope.entered(house.cast.acme), connection.cursor() as cursor:
        cursor.execute("UPDATE compliance_loghead SET frontier = '[1]'")
        assert cursor.rowcount == 1

    tasks.sweep_requests()
    tasks.prove()

    assert only(house).state == "OPEN"
    with scope.entered(house.cast.globex):
        theirs.refresh_from_db()
        assert theirs.state == "READY"
        assert log.of_kinds(["store.proved"]).count() == 1


# Who may see what


def test_the_desk_is_for_who_answers_for_data_protection(house: Stored, gail: Client, sign_in: Callable[..., Client]) -> None:
    gail.post(MINE)
    seen = {
        name: sign_in(getattr(house.cast, f"{name}_user")).get("/t/acme/requests/").status_code for name in ("dora", "ada", "hana", "otto", "nils")
    }

    assert seen == {"dora": 200, "ada": 200, "hana": 404, "otto": 404, "nils": 404}


def test_somebody_elses_copy_is_not_there(house: Stored, gail: Client) -> None:
    request = ready(house, gail)

    assert guest(house.sitting, "gus").post(f"{MINE}{request.pk}/download").status_code == 404
    assert "Ready to download" not in guest(house.sitting, "gus").get(MINE).content.decode()
    assert Client().get(MINE).status_code == 302


def test_a_member_asks_from_the_dashboard_and_keeps_what_belongs_to_the_membership(house: Stored, sign_in: Callable[..., Client]) -> None:
    hana = sign_in(house.cast.hana_user)

    assert hana.post("/t/acme/my/requests/erasure").status_code == 303
    worked(house)
    worked(house, later=desk.REACHABLE + timedelta(seconds=1))

    request = only(house)
    assert (request.channel, request.state) == ("account", "DONE")
    assert {"member"} <= {line["ground"] for line in request.lines}
    with scope.entered(house.cast.acme):
        assert Person.objects.get(pk=house.cast.hana.pk).name == "Hana"


def test_a_program_opens_and_follows_a_request_of_its_own_tenant(house: Stored) -> None:
    acme = {"HTTP_AUTHORIZATION": f"Bearer {make.api_key(house.cast.acme, 'requests:read', 'requests:write')}"}
    globex = {"HTTP_AUTHORIZATION": f"Bearer {make.api_key(house.cast.globex, 'requests:read', 'requests:write')}"}
    asked = {"person": str(house.cast.gail.pk), "kind": "erasure"}

    opened = Client().post("/api/v1/requests", asked, content_type=JSON, **acme)
    worked(house)

    assert (opened.status_code, opened.json()["state"], opened.json()["channel"]) == (201, "OPEN", "api")
    one = f"/api/v1/requests/{opened.json()['id']}"
    assert Client().get(one, **acme).json()["state"] == "DONE"
    assert [found["id"] for found in Client().get("/api/v1/requests", **acme).json()["results"]] == [opened.json()["id"]]
    assert Client().get(one, **globex).status_code == 404
    assert Client().post("/api/v1/requests", asked, content_type=JSON, **globex).status_code == 404
