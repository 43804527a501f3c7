"""`manage.py demo`, for real in a folder of its own: a start of `run` is interrupted in the middle of it, the command does the rest, twice.

What it tells is compared with the rows and files that are in the folder, and tried out on a service that runs on it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from calls.media.client import Participant
from cleac_site.bootstrap import ROOT
from tests.site.test_run import PATIENCE, Running, clean_environment, gone, landing, manage, until

MAKING = 300.0  # seconds until a demo counts as not being made
STRETCHES = """SELECT person.name, track.source, epoch.number, epoch.cut, epoch.complete, artefact.spans, artefact.object_name, artefact.sealed_key,
    epoch.opened_at, epoch.closed_at FROM recordings_epoch epoch JOIN recordings_track track ON track.id = epoch.track_id
    JOIN tenants_person person ON person.id = track.person_id JOIN recordings_artefact_epochs link ON link.epoch_id = epoch.id
    JOIN recordings_artefact artefact ON artefact.id = link.artefact_id
    WHERE artefact.kind = 'playback' AND artefact.state = 'READY' AND track.recording_id = ? ORDER BY 1, 2, 3"""
DECISIONS = """SELECT (julianday(decision.decided_at) - julianday(recording.requested_at)) * 86400, decision.granted
    FROM consent_decision decision JOIN consent_purpose purpose ON purpose.id = decision.purpose_id
    JOIN tenants_person person ON person.id = decision.person_id JOIN recordings_recording recording ON recording.call_id = decision.call_id
    WHERE recording.id = ? AND person.name = 'Gail' AND purpose.key = 'record-camera' ORDER BY 1"""


@dataclass
class Told:
    """What happened in the folder: the interrupted recording, what the first call told, what it left running, and what runs now."""

    data: Path
    interrupted: str
    exit_of_interrupted: int
    seen_while_running: list[str]
    first: dict[str, Any]
    left_running: list[str]
    running: Running
    second: dict[str, Any]

    @property
    def recording(self) -> str:
        (found,) = self.first["recordings"]
        return UUID(found["id"]).hex

    @property
    def open_meeting(self) -> dict[str, Any]:
        (found,) = [meeting for meeting in self.second["meetings"] if meeting["state"] == "open"]
        return dict(found)


def rows(data: Path, question: str, *values: str) -> list[Any]:
    with sqlite3.connect(f"file:{data / 'db.sqlite3'}?mode=ro", uri=True, timeout=PATIENCE) as database:
        return database.execute(question, values).fetchall()


def demo(data: Path) -> dict[str, Any]:
    """What one call prints: one JSON object, and nothing besides."""
    command = [sys.executable, "manage.py", "demo", "--json"]
    environment = clean_environment(CLEAC_DATA=str(data))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=MAKING, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def processes(data: Path) -> list[str]:
    """The command lines of everything that was started on this folder, by the environment that the system shows of each."""
    shown = subprocess.run(["ps", "axeww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    return [line[:200] for line in shown.splitlines() if f"CLEAC_DATA={data}" in line]


def interrupted_run(data: Path) -> tuple[str, int, list[str]]:
    """`run` is stopped while the demo's meeting is being recorded: that recording's id, the exit code, and what had been running."""
    run = Running(data)
    try:
        until(lambda: bool(rows(data, "SELECT id FROM recordings_recording WHERE state = 'CAPTURING'")), "the demo's recording captures")
        seen, family = processes(data), run.family()
        run.process.send_signal(signal.SIGINT)
        rest, _ = run.process.communicate(timeout=PATIENCE)
        assert gone(family), rest
    finally:
        run.process.kill()
        run.process.communicate(timeout=PATIENCE)
    ((recording,),) = rows(data, "SELECT id FROM recordings_recording")
    return recording, run.process.returncode, seen


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    data = tmp_path_factory.mktemp("demo") / "data"
    interrupted, code, seen = interrupted_run(data)
    first, left = demo(data), processes(data)
    running = Running(data)
    try:
        yield Told(data, interrupted, code, seen, first, left, running, demo(data))
    finally:
        running.process.terminate()
        running.process.communicate(timeout=PATIENCE)


def test_the_json_has_the_shape_that_others_rely_on(told: Told) -> None:
    assert set(told.first) == {"tenants", "people", "meetings", "recordings"}
    assert [tuple(one) for one in told.first["tenants"]] == [("slug", "api_key")] * 2
    assert [one["slug"] for one in told.first["tenants"]] == ["acme", "globex"]
    assert {tuple(one) for one in told.first["people"]} == {("name", "role", "tenant", "sign_in")}
    assert {(one["name"], one["role"], one["tenant"], one["sign_in"] is None) for one in told.first["people"]} == {
        ("Ada", "owner", "acme", False),
        ("Hana", "host", "acme", False),
        ("Dora", "dpo", "acme", False),
        ("Otto", "auditor", "acme", False),
        ("Gail", "guest", "acme", True),
        ("Gus", "guest", "acme", True),
        ("Nils", "owner", "globex", False),
    }
    assert {tuple(one) for one in told.first["meetings"]} == {("id", "tenant", "state", "links")}
    assert sorted((one["tenant"], one["state"]) for one in told.first["meetings"]) == [("acme", "ended"), ("acme", "open")]
    assert [set(one["links"]) for one in told.first["meetings"]] == [{"Hana", "Gail", "Gus"}] * 2
    assert [(set(one), one["tenant"], one["state"]) for one in told.first["recordings"]] == [({"id", "tenant", "state"}, "acme", "READY")]


def test_a_second_call_tells_the_same_meetings_recording_keys_and_links(told: Told) -> None:
    def without_the_site(told_once: dict[str, Any]) -> list[Any]:
        links = [{name: link.split("/", 3)[3] for name, link in meeting["links"].items()} for meeting in told_once["meetings"]]
        return [told_once["tenants"], [(one["id"], one["state"]) for one in told_once["meetings"]], links, told_once["recordings"]]

    assert without_the_site(told.second) == without_the_site(told.first)


def test_each_key_opens_the_api_for_its_tenant_and_a_changed_one_opens_nothing(told: Told) -> None:
    keys = {one["slug"]: one["api_key"] for one in told.second["tenants"]}

    def answer(key: str) -> tuple[int, set[str]]:
        request = urllib.request.Request(f"{told.running.url}/api/v1/meetings", headers={"Authorization": f"Bearer {key}"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as found:
                return found.status, {one["id"] for one in json.load(found)["results"]}
        except urllib.error.HTTPError as error:
            with error:
                return error.code, set()

    status, of_acme = answer(keys["acme"])
    assert status == 200
    assert {one["id"] for one in told.second["meetings"]} <= of_acme
    assert answer(keys["globex"]) == (200, set())
    last = keys["acme"][-1]
    assert answer(keys["acme"][:-1] + ("A" if last != "A" else "B"))[0] == 401


def test_the_links_of_people_and_guests_lead_where_they_say(told: Told) -> None:
    people = {one["name"]: one["sign_in"] for one in told.second["people"]}
    links = told.open_meeting["links"]
    assert landing(people["Hana"]).endswith("/t/acme/")
    assert landing(people["Nils"]).endswith("/t/globex/")

    async def arrive() -> None:
        for name, number in (("Gail", 2), ("Gus", 3)):
            guest = Participant(name, number, told.running.url)
            await guest.open_link(links[name])
            await guest.close()
        hana = Participant("Hana", 1, told.running.url)
        await hana.sign_in(people["Hana"], links["Hana"])
        await hana.close()

    asyncio.run(arrive())


def test_two_stretches_of_camera_and_one_of_voice_are_kept_of_gail_each_under_a_key_of_its_own(told: Told) -> None:
    found = rows(told.data, STRETCHES, told.recording)
    assert [(name, source, number, cut) for name, source, number, cut, *_ in found] == [
        ("Gail", "cam", 1, "withdrawn"),
        ("Gail", "cam", 2, "ended"),
        ("Gail", "mic", 1, "ended"),
        ("Hana", "cam", 1, "ended"),
        ("Hana", "mic", 1, "ended"),
    ]
    assert all(complete for *_, complete, _spans, _name, _key, _opened, _closed in found)
    keys = {row[7] for row in found}
    assert len(keys) == len(found)
    assert None not in keys


def test_no_camera_of_gail_is_stored_for_the_seconds_between_her_no_and_her_second_yes(told: Told) -> None:
    """The stretch ends before it was written down as closed, and nothing of the next one arrived before the decision that it stands under."""
    (_, _), (refused, no), (agreed, yes) = rows(told.data, DECISIONS, told.recording)
    assert (no, yes) == (0, 1)
    assert 8 <= refused < 12 <= agreed
    first, second = (json.loads(row[5]) for row in rows(told.data, STRETCHES, told.recording)[:2])
    voice = json.loads(rows(told.data, STRETCHES, told.recording)[2][5])
    assert first[-1][1] / 1e6 < 12
    assert first[-1][1] / 1e6 < second[0][0] / 1e6
    assert second[0][0] / 1e6 > agreed
    assert second[-1][1] / 1e6 > agreed + 1
    assert voice[0][0] / 1e6 < refused
    assert voice[-1][1] / 1e6 > agreed


def test_nothing_of_gus_was_ever_kept(told: Told) -> None:
    kept = "SELECT count(*) FROM recordings_track JOIN tenants_person person ON person.id = person_id WHERE person.name = ?"
    assert rows(told.data, kept, "Gus") == [(0,)]
    assert rows(told.data, kept, "Gail")[0][0] >= 2


def test_the_interrupted_recording_ended_in_order_and_is_erased_and_one_stands_in_its_place(told: Told) -> None:
    assert told.exit_of_interrupted == 0
    assert told.interrupted != told.recording
    assert {row[0] for row in rows(told.data, "SELECT id FROM recordings_recording")} == {told.interrupted, told.recording}
    of_it = """SELECT DISTINCT artefact.state, artefact.sealed_key FROM recordings_artefact artefact JOIN recordings_artefact_epochs link
        ON link.artefact_id = artefact.id JOIN recordings_epoch epoch ON epoch.id = link.epoch_id JOIN recordings_track track
        ON track.id = epoch.track_id WHERE track.recording_id = ?"""
    assert rows(told.data, of_it, told.interrupted) == [("SHREDDED", None)]


def test_what_is_stored_is_what_the_rows_name(told: Told) -> None:
    named = {name for (name,) in rows(told.data, "SELECT object_name FROM recordings_artefact WHERE state <> 'SHREDDED'")}
    stored = {path.name for folder in ("objects", "spool") for path in (told.data / folder).rglob("*") if path.is_file()}
    assert stored == named
    assert len(named) == 5


def test_the_proof_finds_no_second_of_the_demo_without_a_yes_and_every_log_sound(told: Told) -> None:
    proven = manage("prove", "--json", "--deep", CLEAC_DATA=str(told.data))
    assert proven.returncode == 0, proven.stdout + proven.stderr
    found = json.loads(proven.stdout)
    assert found["stored_seconds"] > 60
    assert (found["orphan_seconds"], found["orphan_objects"], found["undeclared_fields"], found["log_ok"]) == (0, 0, 0, True)
    assert len(found) == 5
    verified = manage("log", "verify", CLEAC_DATA=str(told.data))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_nothing_runs_on_the_folder_when_the_command_has_ended(told: Told) -> None:
    assert len(told.seen_while_running) >= 4
    assert any("demo_meetings" in line for line in told.seen_while_running)
    assert told.left_running == []


def test_nobody_else_may_read_what_the_demo_has_written(told: Told) -> None:
    written = [told.data, *told.data.rglob("*")]
    assert told.data / "secrets" / "demo.json" in written
    assert [path for path in written if path.stat().st_mode & 0o077] == []


def test_there_is_no_demo_in_production(tmp_path: Path) -> None:
    secrets = {f"CLEAC_{name}_KEY": "s" * 40 for name in ("SECRET", "PIPE", "MASTER")}
    servers = {name: f"sqlite:///{tmp_path / name}" for name in ("DATABASE_URL", "CLEAC_KEYS_DATABASE_URL")}
    servers |= {"REDIS_URL": "redis://127.0.0.1:1/0", "EMAIL_URL": "smtp://127.0.0.1:1"}
    site = {"CLEAC_ENV": "production", "CLEAC_PUBLIC_URL": "https://cleac.example", "CLEAC_DATA": str(tmp_path)}
    done = manage("demo", "--json", **secrets, **servers, **site)
    assert (done.returncode, done.stdout) == (2, "")
    assert "production" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"run.lock"}  # every command looks whether a service runs on its folder
