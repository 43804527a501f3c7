"""`manage.py tenant`: a tenant made outside the demo can hold a meeting, and its owner can sign in."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.management import call_command
from django.test import Client

from calls import services as calls
from compliance import log
from compliance.models import LogEntry
from consent import queries as consent
from consent.catalogue import SOURCES
from tenants import jobs, queries, scope, tasks
from tenants.models import Membership, OutboxRow, Tenant, TenantKey
from tenants.permissions import Actor
from tests.site.test_run import manage

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
PASSWORD = "correct horse battery staple"
INITECH = ("create", "initech", "--name", "Initech", "--owner-email", "Tess@initech.example")


def tenant(*words: str) -> Any:
    """What the command printed, read as JSON."""
    out = io.StringIO()
    call_command("tenant", *words, "--json", stdout=out)
    return json.loads(out.getvalue())


def refused(*words: str) -> tuple[int, str]:
    """Exit code and the one line of a refusal."""
    err = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("tenant", *words, stderr=err)
    return int(ended.value.code or 0), err.getvalue()


def entries() -> int:
    """How many entries the logs of all tenants have together."""
    found = 0
    for one in Tenant.objects.all():
        with scope.entered(one):
            found += LogEntry.objects.count()
    return found


def test_a_new_tenant_has_its_key_its_notices_its_log_and_its_owner() -> None:
    made = tenant(*INITECH)

    initech = Tenant.objects.get(slug="initech")
    assert (made["slug"], made["id"], made["name"], made["owner"]) == ("initech", str(initech.pk), "Initech", "tess@initech.example")
    assert TenantKey.objects.filter(pk=initech.pk).count() == 1
    with scope.entered(initech):
        notices = consent.notices(SOURCES)
        assert {notice.purpose.key for notice in notices} == set(SOURCES)
        assert {notice.controller for notice in notices} == {"Initech"}
        kinds = list(LogEntry.objects.order_by("index").values_list("kind", flat=True))
        assert log.verify(initech) == []
        owner = Membership.objects.select_related("person").get(tenant=initech)
    assert kinds[0] == "tenant.created"
    assert kinds[-3:] == ["person.added", "membership.added", "membership.invited"]
    assert (owner.role, owner.person.name, owner.person.email) == ("owner", "tess", "tess@initech.example")


def test_the_owner_follows_the_link_sets_a_password_and_plans_a_meeting(client: Client) -> None:
    """From the operator's terminal to the meeting's page, with nothing but what the command and the mail gave."""
    tenant(*INITECH)
    (promise,) = OutboxRow.objects.filter(task="tenants.send_owner_mail")
    tasks.send_owner_mail(**promise.arguments, tenant_id=str(promise.tenant_id), row_id=str(promise.pk))
    (sent,) = mail.outbox
    assert (sent.to, "Initech" in sent.subject) == (["tess@initech.example"], True)
    link = next(line for line in sent.body.splitlines() if "/password/reset/key/" in line)
    form = client.get("/" + link.split("/", 3)[3], follow=True)

    client.post(form.request["PATH_INFO"], {"password1": PASSWORD, "password2": PASSWORD})
    client.post("/account/login/", {"login": "tess@initech.example", "password": PASSWORD})
    answer = client.post("/t/initech/meetings/", {"title": "First", "purposes": list(SOURCES)}, follow=True)

    assert answer.status_code == 200
    assert "First" in answer.content.decode()
    spent = Client().get("/" + link.split("/", 3)[3], follow=True)
    assert "This link no longer works" in spent.content.decode()


def test_a_guest_of_the_new_tenant_is_asked_by_its_own_notices(client: Client) -> None:
    tenant(*INITECH)
    initech = Tenant.objects.get(slug="initech")
    with scope.entered(initech):
        tess = Membership.objects.select_related("person").get(tenant=initech).person
        facts = {"by": Actor.person(tess), "at": initech.created_at}
        meeting = calls.schedule(title="First", host=tess, purposes=list(SOURCES), **facts)
        _, url = calls.invite(meeting=meeting, name="Greta", email="", **facts)

    client.post("/j/open", {"secret": url.partition("#")[2]}, content_type="application/json")
    page = client.get(f"/join/{meeting.pk}/").content.decode()

    assert "Initech" in page
    assert "tess@initech.example" in page


def test_somebody_with_an_account_is_told_to_sign_in_with_it(cast: Any) -> None:
    """Nils of Globex also gets Initech; his password is not touched, and no link that sets one is made."""
    cast.nils_user.set_password(PASSWORD)
    cast.nils_user.save()

    made = tenant("create", "initech", "--name", "Initech", "--owner-email", "nils@globex.example", "--owner-name", "Nils")

    assert made["sign_in"].endswith("/account/login/")
    assert [one.tenant.slug for one in queries.memberships_of_user(cast.nils_user.pk)] == ["globex", "initech"]


def test_the_list_shows_every_tenant_and_no_address(cast: Any) -> None:
    tenant(*INITECH)

    listed = tenant("list")

    assert [(one["slug"], one["members"]) for one in listed] == [("acme", 4), ("globex", 1), ("initech", 1)]
    assert "@" not in json.dumps(listed)
    out = io.StringIO()
    call_command("tenant", "list", stdout=out)
    assert "Initech" in out.getvalue()


def test_a_taken_slug_is_refused_and_nothing_is_made(cast: Any) -> None:
    before = entries()

    code, line = refused("create", "acme", "--name", "Other", "--owner-email", "eve@acme.example")

    assert (code, line.count("\n"), "SLUG" in line) == (1, 1, True)
    assert queries.user_by_address("eve@acme.example") is None
    assert entries() == before > 0


@pytest.mark.parametrize("slug", ["Acme", "a b", "-a", "a-", "a_b", "x" * 41, "å"])
def test_a_slug_that_cannot_stand_in_an_address_is_wrong_use(slug: str) -> None:
    code, line = refused("create", f"--name={slug}", "--owner-email", "a@b.example", "--", slug)

    assert (code, line.count("\n"), "SLUG" in line) == (2, 1, True)
    assert not Tenant.objects.exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["erase", "acme"],
        ["export", "acme"],
        ["create"],
        ["create", "initech", "--name", "Initech"],
        ["create", "initech", "--name", "Initech", "--owner-email", "nobody"],
        ["list", "--colour"],
    ],
)
def test_wrong_use_is_one_line_and_exit_2(words: list[str], tmp_path: Path) -> None:
    done = manage("tenant", *words, CLEAC_DATA=str(tmp_path))

    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")


def test_a_folder_without_tables_is_a_fault_told_in_one_line(tmp_path: Path) -> None:
    done = manage("tenant", "list", CLEAC_DATA=str(tmp_path))

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "manage.py migrate" in done.stderr


def test_a_mail_for_a_membership_that_is_gone_is_not_sent(cast: Any) -> None:
    with scope.entered(cast.acme):
        row = jobs.later("tenants.send_owner_mail", membership_id=cast.acme.pk)

    tasks.send_owner_mail(**row.arguments, tenant_id=str(row.tenant_id), row_id=str(row.pk))

    assert mail.outbox == []


def test_an_operator_makes_a_key_that_opens_what_was_asked_for(client: Client) -> None:
    tenant(*INITECH)

    key = tenant("key", "--tenant", "initech", "--name", "Booking", "--scope", "tenant:read", "--scope", "meetings:read")

    assert (key["tenant"], key["name"], key["scopes"]) == ("initech", "Booking", ["tenant:read", "meetings:read"])
    bearer = {"Authorization": f"Bearer {key['api_key']}"}
    assert client.get("/api/v1/tenant", headers=bearer).json()["slug"] == "initech"
    with scope.entered(Tenant.objects.get(slug="initech")):
        entry = LogEntry.objects.get(kind="api_key.issued")
        assert (entry.record["by"]["kind"], entry.on_id) == ("operator", key["id"])


def test_a_key_of_an_operator_ends_after_a_year_unless_told_otherwise(time_machine: Any) -> None:
    time_machine.move_to("2030-05-09T10:00:00Z", tick=False)
    tenant(*INITECH)
    make = ("key", "--tenant", "initech", "--name", "Booking", "--scope", "tenant:read")

    made = [tenant(*make, *words) for words in ([], ["--last-day", "2030-05-09"], ["--no-end"])]

    assert [key["last_day"] for key in made] == ["2031-05-09", "2030-05-09", None]
    kept = [Tenant.objects.get(slug="initech").api_keys.get(pk=key["id"]).last_day for key in made]
    assert kept == [date(2031, 5, 9), date(2030, 5, 9), None]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--tenant", "nobody", "--name", "Booking", "--scope", "tenant:read"), 1),
        (("--tenant", "initech", "--name", " ", "--scope", "tenant:read"), 2),
        (("--tenant", "initech", "--name", "Booking", "--scope", "everything"), 2),
        (("--tenant", "initech", "--name", "Booking"), 2),
        (("--tenant", "initech", "--name", "Booking", "--scope", "tenant:read", "--last-day", "soon"), 2),
        (("--tenant", "initech", "--name", "Booking", "--scope", "tenant:read", "--last-day", "2020-01-01"), 2),
        (("--tenant", "initech", "--name", "Booking", "--scope", "tenant:read", "--last-day", "2031-05-09", "--no-end"), 2),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_in_one_line(words: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    tenant(*INITECH)

    ended, said = refused("key", *words)

    said += capsys.readouterr().err
    assert (ended, len(said.strip().splitlines())) == (code, 1)
    assert not Tenant.objects.get(slug="initech").api_keys.exists()
