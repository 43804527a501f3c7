"""Requests about one's own data: erasures that keep nothing back, and who may see which request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from compliance import log, tasks
from compliance.dsr import desk
from compliance.models import Hold, Request
from compliance.registry import holdings
from compliance.views.requests import KINDS
from recordings import forgetting, vault
from recordings import queries as recordings
from recordings.models import Artefact, Epoch
from tenants import jobs, scope
from tenants.models import Person
from tenants.permissions import Actor
from tests import make
from tests.recordings.sittings import Sitting
from tests.recordings.sittings import made as sat
from tests.recordings.stored import Stored, guest

from .asking import JSON, MINE, kinds, only, ready, recorded, worked

pytestmark = pytest.mark.django_db(databases=["default", "keys"])


@pytest.fixture
def house(cast: Any, tmp_path: Path, settings: Any) -> Stored:
    return recorded(cast, tmp_path, settings)


@pytest.fixture
def gail(house: Stored) -> Client:
    return guest(house.sitting, "gail")


# Erasure


def test_an_erasure_takes_the_own_part_at_once_then_the_name_and_leaves_everybody_else(
    house: Stored, gail: Client, sign_in: Callable[..., Client]
) -> None:
    before = house.objects()
    assert "Erase everything" in gail.get(f"{MINE}erasure").content.decode()

    assert gail.post(f"{MINE}erasure").status_code == 303
    with scope.entered(house.cast.acme):
        assert all(epoch.restricted_at for epoch in Epoch.objects.filter(track__person=house.cast.gail))
    assert "Look again" in gail.get(MINE).content.decode()
    assert "Your part of" not in gail.get(f"{MINE}erasure").content.decode(), "nothing more can be played"
    [done] = worked(house)

    assert (done.state, only(house).state) == ("DONE", "DONE")
    assert house.objects() == {("gus", "mic"): before["gus", "mic"]}
    page = gail.get(MINE).content.decode()
    assert "erased" in page
    assert "Look again" not in page
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
    worked(house, later=desk.TAKE_BACK)

    assert (opened.status_code, opened.json()["state"], opened.json()["channel"]) == (201, "OPEN", "api")
    one = f"/api/v1/requests/{opened.json()['id']}"
    assert Client().get(one, **acme).json()["state"] == "DONE"
    assert [found["id"] for found in Client().get("/api/v1/requests", **acme).json()["results"]] == [opened.json()["id"]]
    assert Client().get(one, **globex).status_code == 404
    assert Client().post("/api/v1/requests", asked, content_type=JSON, **globex).status_code == 404


def test_every_kind_of_data_that_is_erased_has_a_name_that_people_understand() -> None:
    assert {holding.model for holding in holdings() if holding.erase is not None} <= set(KINDS)
