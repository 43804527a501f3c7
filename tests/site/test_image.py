"""Image and composition, read as an engine would read them, and held against the settings and the roles. No engine runs here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from calls.media.native import build
from cleac_site import roles
from cleac_site.settings import ADDRESSES, SECRETS, Environment

ROOT = Path(__file__).resolve().parent.parent.parent
PACKET_PATH = "calls/media/native"
OURS = ("migrate", "web", "worker", "timetable", "media")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def of(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def variables() -> dict[str, str]:
    """Environment variable -> field of the settings class."""
    fields = Environment.model_fields
    return {str(field.validation_alias or f"CLEAC_{name.upper()}"): name for name, field in fields.items()}


def test_the_image_runs_as_nobody_in_particular_and_ends_on_a_role() -> None:
    assert of("USER") == ["10001:10001"]
    assert instructions()[-2:] == [("ENTRYPOINT", '["python", "-m", "cleac_site.roles"]'), ("CMD", '["web"]')]
    last_copy = max(place for place, (name, _rest) in enumerate(instructions()) if name == "COPY")
    assert [name for name, _rest in instructions()].index("USER") > last_copy
    assert not [rest for rest in of("COPY") if "--chown" in rest]


def test_the_image_holds_locked_packages_and_the_six_rooms_and_nothing_else() -> None:
    [install] = [rest for rest in of("RUN") if "pip install" in rest]
    assert "--require-hashes" in install
    assert "requirements.lock" in install
    copied = {rest.split()[0] for rest in of("COPY") if not rest.startswith("--from")} - {PACKET_PATH}
    assert copied == {
        "requirements.lock",
        "manage.py",
        *(f"{app}" for app in ("cleac_site", "tenants", "consent", "calls", "recordings", "compliance")),
    }
    assert all((ROOT / name).exists() for name in copied)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == copied
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "*"


def test_the_builder_compiles_the_packet_path_for_the_environment_that_the_image_takes_over(tmp_path: Path) -> None:
    found = instructions()
    builder = found[: [place for place, (name, _rest) in enumerate(found) if name == "FROM"][1]]
    assert builder[-2:] == [("COPY", f"{PACKET_PATH} /build/native"), ("RUN", "/venv/bin/python /build/native/build.py")]

    shutil.copytree(ROOT / PACKET_PATH, tmp_path / "native")
    done = subprocess.run([sys.executable, tmp_path / "native" / "build.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if build.compiler() else 1)
    assert build.library().exists() == (done.returncode == 0)


def test_the_image_finds_its_own_code_compiled_though_it_may_write_none(tmp_path: Path) -> None:
    [compiled] = [place for place, (_name, rest) in enumerate(instructions()) if "compileall" in rest]
    last_copy = max(place for place, (name, _rest) in enumerate(instructions()) if name == "COPY")
    assert compiled > last_copy
    shutil.copytree(ROOT / "consent", tmp_path / "consent", ignore=shutil.ignore_patterns("__pycache__"))

    _python, *rest = shlex.split(instructions()[compiled][1])
    subprocess.run([sys.executable, *rest], cwd=tmp_path, env={}, check=True, timeout=300)

    sources = set(tmp_path.rglob("*.py"))
    assert sources == {made.parent.parent / f"{made.name.partition('.')[0]}.py" for made in tmp_path.rglob("*.pyc")} != set()


def test_every_base_is_named_by_its_version() -> None:
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]*( AS builder)?", rest) for rest in of("FROM"))


def test_the_values_of_the_image_are_settings_and_none_is_a_secret() -> None:
    [environment] = of("ENV")
    named = {pair.partition("=")[0] for pair in shlex.split(environment)}
    assert {name for name in named if name.startswith("CLEAC_")} - variables().keys() == {"CLEAC_NO_BOOTSTRAP"}
    assert not named & {*SECRETS.values(), *ADDRESSES.values()}
    assert not of("ARG")


def test_static_files_are_collected_with_what_production_demands(tmp_path: Path) -> None:
    """The image's own command, but for the folder that it may not write here: production starts with these values."""
    [collect] = [rest for rest in of("RUN") if "collectstatic" in rest]
    words = shlex.split(collect)
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    assert words[len(given) :][:3] == ["python", "manage.py", "collectstatic"]

    environment = {"PATH": os.environ["PATH"], **given, "CLEAC_ENV": "production", "CLEAC_NO_BOOTSTRAP": "1", "CLEAC_DATA": str(tmp_path)}
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--dry-run", "--verbosity", "0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_every_role_of_the_image_is_a_service_and_the_other_way_round(composed: dict[str, Any]) -> None:
    ours = {name: service for name, service in composed["services"].items() if service["image"] == "cleac"}
    assert set(ours) == set(OURS) == set(roles.ROLES)
    assert all(service["command"] == [name] for name, service in ours.items())


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_is_given_all_that_production_demands_and_only_settings(composed: dict[str, Any], name: str) -> None:
    service = composed["services"][name]
    given = set(service["environment"])
    secrets = {*SECRETS.values(), *ADDRESSES.values(), "CLEAC_TURN_SECRET"}

    plain = {variable for variable in given if not variable.endswith("_FILE")}
    files = {variable.removesuffix("_FILE") for variable in given if variable.endswith("_FILE")}
    assert plain <= variables().keys()
    assert files == secrets
    assert not plain & secrets
    assert {path.rpartition("/")[2] for variable, path in service["environment"].items() if variable.endswith("_FILE")} == set(service["secrets"])
    assert set(service["secrets"]) <= set(composed["secrets"])


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_has_no_rights_and_writes_nowhere_but_to_its_volume(composed: dict[str, Any], name: str) -> None:
    service = composed["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["data:/data"]
    assert "user" not in service
    assert of("VOLUME") == ["/data"]


def test_only_the_web_and_media_are_reached_from_outside_and_where_the_image_listens(composed: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in composed["services"].items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:8000:8000/tcp"], "media": ["40000:40000/udp", "40000:40000/tcp"]}
    assert of("EXPOSE") == ["8000/tcp 40000/udp 40000/tcp"]
    assert str(roles.PORT) in roles.WEB
    assert composed["services"]["media"]["environment"]["CLEAC_MEDIA_UDP_PORT"] == "40000"
    assert composed["networks"]["inside"] == {"internal": True}
    assert {name for name, service in composed["services"].items() if "outside" in service["networks"]} == {"web", "worker", "media"}


def test_no_secret_is_written_down(composed: dict[str, Any]) -> None:
    assert all(set(secret) == {"file"} and secret["file"].startswith("./secrets/") for secret in composed["secrets"].values())
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    used = {name for service in composed["services"].values() for name in service.get("secrets", [])}
    assert used == set(composed["secrets"])


def test_the_secrets_that_the_documentation_makes_are_those_of_the_composition_and_its_processes_can_read_them(
    composed: dict[str, Any], tmp_path: Path
) -> None:
    """The page's own lines, run. The engine binds each file as it is, and no process of the composition runs as whoever made it."""
    [lines] = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    subprocess.run(["sh", "-euc", lines], cwd=tmp_path, check=True)
    folder = tmp_path / "secrets"

    assert {path.name for path in folder.iterdir()} == set(composed["secrets"])
    assert folder.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert refused_by(production(composed, folder, tmp_path)) == ""
    with_turn = production(composed, folder, tmp_path) | {"CLEAC_TURN_URLS": "turn:turn.example.org:3478"}
    assert "CLEAC_TURN_SECRET" in refused_by(with_turn)
    (folder / "turn_secret").write_text("shared\n")
    assert refused_by(with_turn) == ""
    (folder / "turn_secret").write_text("")
    (folder / "master_key").write_text("short")
    assert "CLEAC_MASTER_KEY" in refused_by(production(composed, folder, tmp_path))
    value = {path.name: path.read_text().strip() for path in folder.iterdir()}
    for name, password in {"database_url": "cleac", "keys_database_url": "cleac", "redis_url": "redis"}.items():
        address = urlsplit(value[name])
        assert address.password == value[f"{password}_password"]
        assert address.hostname in composed["services"]
    databases = {urlsplit(value[name]).path.strip("/") for name in ("database_url", "keys_database_url")}
    assert databases == set(re.findall(r"CREATE DATABASE (\w+)", composed["configs"]["database_role"]["content"]))


def production(composed: dict[str, Any], folder: Path, data: Path) -> dict[str, str]:
    """The environment of `web` as the composition gives it, its secrets read from this folder."""
    given = {name: value.replace("/run/secrets", str(folder)) for name, value in composed["services"]["web"]["environment"].items()}
    asked = {"CLEAC_PUBLIC_URL": "https://cleac.example", "CLEAC_CONTACT_EMAIL": "a@cleac.example", "CLEAC_MAIL_FROM": "b@cleac.example"}
    offered = {"CLEAC_TURN_URLS": ""}  # what the composition asks for with a value of its own
    return {"PATH": os.environ["PATH"], **given, **asked, **offered, "CLEAC_ENV": "production", "CLEAC_DATA": str(data)}


def refused_by(environment: dict[str, str]) -> str:
    """What the settings have against it."""
    done = subprocess.run(
        [sys.executable, "-c", "import cleac_site.settings"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.stderr


def test_the_database_role_is_one_that_row_security_holds_for(composed: dict[str, Any]) -> None:
    script = composed["configs"]["database_role"]["content"]
    assert "CREATE ROLE cleac LOGIN NOSUPERUSER NOBYPASSRLS" in script
    assert {"CREATE DATABASE cleac OWNER cleac;", "CREATE DATABASE cleac_keys OWNER cleac;"} <= {line.strip() for line in script.splitlines()}
    shell = subprocess.run(["sh", "-n"], input=script.replace("$$", "$"), text=True, capture_output=True, check=False)
    assert (shell.returncode, shell.stderr) == (0, "")


def test_everybody_who_is_waited_for_tells_that_it_is_ready(composed: dict[str, Any]) -> None:
    services = composed["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
            else:
                assert (name, condition["condition"]) == ("migrate", "service_completed_successfully")


@pytest.mark.parametrize("role", OURS)
def test_each_command_of_a_role_can_be_started(role: str) -> None:
    for command in roles.ROLES[role]:
        assert command[0] == sys.executable
        words = {"-m": lambda rest: [*rest[:2], "--help"], "manage.py": lambda rest: ["manage.py", rest[1], "--help"]}
        if command[2:3] == ("cleac_site.mediaworker",):  # it takes no options: that it is there is enough
            assert (ROOT / "cleac_site" / "mediaworker.py").exists()
            continue
        asked = [sys.executable, *words[command[1]](list(command[1:]))]
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_role_that_migrates_makes_every_table_under_the_settings_of_production(tmp_path: Path) -> None:
    databases = {name: f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("DATABASE_URL", "CLEAC_KEYS_DATABASE_URL")}
    secrets = dict.fromkeys(SECRETS.values(), "s" * 40)
    given = {
        "CLEAC_ENV": "production",
        "CLEAC_PUBLIC_URL": "https://cleac.example",
        "REDIS_URL": "redis://127.0.0.1:1",
        "EMAIL_URL": "smtp://127.0.0.1:1",
    }
    environment = {"PATH": os.environ["PATH"], "CLEAC_NO_BOOTSTRAP": "1", "CLEAC_DATA": str(tmp_path), **databases, **secrets, **given}

    done = subprocess.run(
        [sys.executable, "-m", "cleac_site.roles", "migrate"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(tmp_path / "DATABASE_URL.sqlite3")) as found:
        assert found.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('calls_call', 'recordings_artefact')").fetchone() == (2,)
    with closing(sqlite3.connect(tmp_path / "CLEAC_KEYS_DATABASE_URL.sqlite3")) as found:
        assert found.execute("SELECT count(*) FROM sqlite_master WHERE name = 'tenants_sealedkey'").fetchone() == (1,)


def test_an_unknown_role_is_wrong_use() -> None:
    done = subprocess.run([sys.executable, "-m", "cleac_site.roles", "everything"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "everything" in done.stderr


def test_health_is_1_where_nothing_answers() -> None:
    environment = {**os.environ, "CLEAC_PUBLIC_URL": "https://cleac.example"}
    done = subprocess.run(
        [sys.executable, "-c", "from cleac_site import roles; roles.PORT = 1; raise SystemExit(roles.health())"],
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.returncode == 1


@pytest.mark.parametrize("variable", ["DATABASE_URL", "CLEAC_KEYS_DATABASE_URL", "REDIS_URL", "EMAIL_URL", "CLEAC_MASTER_KEY"])
def test_a_secret_is_read_from_the_file_that_its_variable_names(tmp_path: Path, variable: str) -> None:
    value = {"REDIS_URL": "redis://of-the-file.invalid", "EMAIL_URL": "smtp://of-the-file.invalid"}.get(
        variable, "postgresql://of-the-file.invalid/x"
    )
    (tmp_path / "value").write_text(f"{value}\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEAC_") and name not in ADDRESSES.values()}
    environment = {**kept, "CLEAC_DATA": str(tmp_path), f"{variable}_FILE": str(tmp_path / "value")}
    name = variables()[variable]
    code = f"from cleac_site.settings import Environment; v = Environment().{name}; print(getattr(v, 'get_secret_value', lambda: v)())"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.stdout.strip().splitlines()[-1:] == [value], done.stderr
