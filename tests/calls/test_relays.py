"""The operator's TURN servers are for people in a call, with credentials that name nobody and end."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as site
from django.utils import timezone
from pydantic import SecretStr

from calls import services
from calls.services.relays import CREDENTIAL_LIFE
from tests.calls import scenes
from tests.calls.scenes import acme

URLS = "turn:turn.example.org:3478?transport=udp, turns:[2001:db8::7]:443?transport=tcp"


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.CLEAC, "turn_urls", URLS)
    monkeypatch.setattr(site.CLEAC, "turn_secret", SecretStr("shared"))


def test_who_was_let_in_gets_each_server_with_credentials_that_end_and_say_nothing(cast: Any, turn: None) -> None:
    with acme(cast):
        gail, at = scenes.admitted(scenes.meeting(cast), cast.gail), timezone.now()

        first, second = services.relays_for(participant=gail, at=at)

    assert [first["urls"], second["urls"]] == URLS.split(", ")
    until, name = first["username"].split(":")
    assert int(until) == int((at + CREDENTIAL_LIFE).timestamp())
    assert base64.b64decode(first["credential"]) == hmac.digest(b"shared", first["username"].encode(), hashlib.sha1)
    assert not {name, "shared"} & {str(gail.pk), str(gail.person_id)}
    assert "shared" not in json.dumps([first, second])


def test_who_was_not_let_in_gets_none_and_without_servers_nobody_does(cast: Any, turn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with acme(cast):
        gail = scenes.admitted(scenes.meeting(cast), cast.gail)
        gail.state = gail.State.REMOVED
        assert services.relays_for(participant=gail, at=timezone.now()) == []

        gail.state = gail.State.JOINED
        monkeypatch.setattr(site.CLEAC, "turn_urls", "")
        assert services.relays_for(participant=gail, at=timezone.now()) == []


def started(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from cleac_site.settings import CLEAC; print(CLEAC.turn_secret.get_secret_value())"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEAC_TURN")}
    return subprocess.run(
        [sys.executable, "-c", code], env={**kept, "CLEAC_DATA": str(tmp_path), **environment}, capture_output=True, text=True, check=False
    )


def test_the_shared_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "turn").write_text("from-a-file\n")

    done = started(tmp_path, CLEAC_TURN_URLS=URLS, CLEAC_TURN_SECRET_FILE=str(tmp_path / "turn"))

    assert done.stdout.strip() == "from-a-file"


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"CLEAC_TURN_URLS": "https://turn.example.org", "CLEAC_TURN_SECRET": "hush"}, "CLEAC_TURN_URLS"),
        ({"CLEAC_TURN_URLS": URLS}, "CLEAC_TURN_SECRET"),
        ({"CLEAC_TURN_SECRET": "hush"}, "CLEAC_TURN_URLS"),
        ({"CLEAC_MEDIA_PUBLIC_IP": "meet.example.org"}, "CLEAC_MEDIA_PUBLIC_IP"),
    ],
)
def test_settings_that_lead_nowhere_are_refused_by_name_and_the_secret_is_not_told(tmp_path: Path, environment: dict[str, str], named: str) -> None:
    done = started(tmp_path, **environment)

    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert named in last
    assert "hush" not in done.stderr
