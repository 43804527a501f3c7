"""Pages and endpoints of meetings through the front door: hosts, guests, strangers, programs."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from calls import services
from calls.models import Invitation, Meeting, Participant, Ticket
from tenants.models import OutboxRow
from tenants.permissions import Actor
from tests import make
from tests.calls import scenes
from tests.calls.scenes import acme

JSON = "application/json"


@pytest.fixture
def hana(sign_in, cast):
    return sign_in(cast.hana_user)


@pytest.fixture
def planned(cast) -> Meeting:
    with acme(cast):
        return scenes.meeting(cast)


def test_meetings_of_one_title_without_a_date_are_told_apart_by_when_they_were_planned(cast, hana, planned) -> None:
    with acme(cast):
        other = scenes.meeting(cast)
        Meeting.objects.filter(pk=other.pk).update(created_at=planned.created_at - timedelta(days=1))
        other.refresh_from_db()
    browsers = ((hana, "/t/acme/meetings/"), (hana, "/t/acme/"), (guest(cast, planned, cast.gail), "/my/"))

    for browser, where in browsers:
        shown = re.sub("</?time[^>]*>", "", browser.get(where).content.decode())
        for one in (planned, other):
            assert f"No date, planned on {one.created_at:%a} {one.created_at.day} {one.created_at:%b %Y, %H:%M} (UTC)" in shown


def guest(cast, planned: Meeting, person) -> Client:
    """A browser in which the person's link was opened."""
    with acme(cast):
        secret = scenes.link(cast, planned, person)
    browser = Client()
    assert browser.post("/j/open", {"secret": secret}, content_type=JSON).status_code == 200
    return browser


def room_context(answer) -> dict[str, object]:
    found = re.search(rb'<script id="room-context" type="application/json">(.*?)</script>', answer.content, re.DOTALL)
    assert found
    return json.loads(found[1])


def url(planned: Meeting, rest: str = "") -> str:
    return f"/t/acme/meetings/{planned.pk}/{rest}"


# The link


def test_the_page_of_a_link_is_the_same_for_everybody_and_never_stored(client) -> None:
    answer = client.get("/j")

    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert "csrftoken" in answer.cookies


def test_a_real_link_leads_to_its_meeting_by_a_cookie_that_scripts_cannot_read(client, cast, planned) -> None:
    with acme(cast):
        secret = scenes.link(cast, planned, cast.gail)

    answer = client.post("/j/open", {"secret": secret}, content_type=JSON)

    assert answer.json() == {"next": f"/join/{planned.pk}/"}
    cookie = answer.cookies["cleac_guest"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert "no-store" in answer["Cache-Control"]
    assert client.get(f"/join/{planned.pk}/").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        '{"secret": "AAAAAAAAAAAAAAAAAAAAAA"}',
        '{"secret": ""}',
        '{"secret": 7}',
        '{"secret": "' + "A" * 2000 + '"}',
        '{"secret": "\\u00e4\\u0000"}',
        "{}",
        "[]",
        "",
        "\x00\xff",
        "[" * 900,
    ],
)
def test_every_other_secret_gets_one_plain_answer(client, cast, planned, body: str) -> None:
    answer = client.post("/j/open", body, content_type=JSON)

    assert (answer.status_code, answer.content) == (404, b'{"code": "unknown-link"}')
    assert "cleac_guest" not in answer.cookies


def test_a_link_reported_stolen_gets_the_same_plain_answer(client, cast, planned) -> None:
    with acme(cast):
        secret = scenes.link(cast, planned, cast.gail)
        invitation = Invitation.objects.get(person=cast.gail)
        services.revoke_invitation(invitation=invitation, stolen=True, by=Actor.person(cast.hana), at=timezone.now())

    answer = client.post("/j/open", {"secret": secret}, content_type=JSON)

    assert (answer.status_code, answer.content) == (404, b'{"code": "unknown-link"}')


def test_opening_a_link_needs_the_pages_own_token(cast, planned) -> None:
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/j/open", {"secret": "A" * 22}, content_type=JSON).status_code == 403

    token = strict.get("/j").cookies["csrftoken"].value
    assert strict.post("/j/open", {"secret": "A" * 22}, content_type=JSON, headers={"X-CSRFToken": token}).status_code == 404


# The way in


def test_a_guest_sees_who_invites_and_why_and_what_is_asked(cast, planned) -> None:
    answer = guest(cast, planned, cast.gail).get(f"/join/{planned.pk}/")
    context = room_context(answer)
    page = answer.content.decode()

    assert answer.status_code == 200
    for words in ("Hana", "Review", "To look at the offer", "Acme", "contact@acme.example"):
        assert words in page
    assert context["start"] == "lobby"
    assert [(card["purpose"], card["answer"]) for card in context["cards"]] == [(purpose, None) for purpose in scenes.PURPOSES]
    assert "hana@acme.example" not in page
    assert "gus@" not in page
    assert "nothing of your voice, picture or screen is kept" in page  # that somebody came is written down


def test_a_look_at_the_page_opens_no_sitting(cast, planned) -> None:
    guest(cast, planned, cast.gail).get(f"/join/{planned.pk}/")

    with acme(cast):
        assert not Participant.objects.exists()


def test_whoever_is_in_the_call_starts_there_after_a_reload(cast, planned) -> None:
    browser = guest(cast, planned, cast.gail)
    with acme(cast):
        scenes.admitted(planned, cast.gail)

    assert room_context(browser.get(f"/join/{planned.pk}/"))["start"] == "call"


@pytest.mark.parametrize(
    ("step", "state"),
    [("revoke", "revoked"), ("cancel", "cancelled"), ("end", "ended"), ("remove", "removed"), ("deny", "denied")],
)
def test_the_holder_of_a_real_link_is_told_why_it_is_closed(cast, planned, step: str, state: str) -> None:
    with acme(cast):
        secret = scenes.link(cast, planned, cast.gail)
        facts = {"by": Actor.person(cast.hana), "at": timezone.now()}
        if step == "revoke":
            services.revoke_invitation(invitation=Invitation.objects.get(person=cast.gail), **facts)
        elif step == "cancel":
            services.cancel(meeting=planned, **facts)
        elif step == "end":
            services.end(call=services.open_call(meeting=planned, **facts), **facts)
        else:
            {"remove": services.remove, "deny": services.deny}[step](participant=scenes.waiting(planned, cast.gail), **facts)
    browser = Client()
    browser.post("/j/open", {"secret": secret}, content_type=JSON)

    answer = browser.get(f"/join/{planned.pk}/")
    ticket = browser.post(f"/join/{planned.pk}/ticket", {"kind": "lobby"}, content_type=JSON)

    assert f'data-state="{state}"' in answer.content.decode()
    assert b"room-context" not in answer.content
    assert ticket.json() == {"code": state}
    assert 400 <= ticket.status_code < 500
    assert (b'href="/my/"' in answer.content) == (step in ("revoke", "end", "remove"))
    assert browser.get("/my/").status_code == 200


def test_too_early_is_told_with_the_start(cast) -> None:
    with acme(cast):
        planned = scenes.meeting(cast, starts_at=scenes.later(days=1))

    assert 'data-state="too-early"' in guest(cast, planned, cast.gail).get(f"/join/{planned.pk}/").content.decode()


def test_a_guest_gets_tickets_bound_to_the_own_browser(cast, planned) -> None:
    browser = guest(cast, planned, cast.gail)

    lobby = browser.post(f"/join/{planned.pk}/ticket", {"kind": "lobby"}, content_type=JSON)
    call = browser.post(f"/join/{planned.pk}/ticket", {"kind": "call"}, content_type=JSON)
    nonsense = browser.post(f"/join/{planned.pk}/ticket", {"kind": "both"}, content_type=JSON)

    assert lobby.json()["ticket"].startswith(cast.acme.pk.hex)
    assert (call.status_code, call.json()) == (409, {"code": "not-admitted"})
    assert (nonsense.status_code, nonsense.json()) == (400, {"code": "unknown-kind"})
    with acme(cast):
        ticket = Ticket.objects.get()
        assert (ticket.participant.person, len(ticket.session)) == (cast.gail, 64)
        assert ticket.participant.role == "guest"


def test_a_guest_reaches_no_meeting_but_the_own_and_no_staff_page(cast, planned) -> None:
    browser = guest(cast, planned, cast.gail)
    with acme(cast):
        other = scenes.meeting(cast, guests=("gus",))

    assert browser.get(f"/join/{other.pk}/").status_code == 404
    assert browser.get(f"/join/{uuid4()}/").status_code == 404
    assert browser.post(f"/join/{other.pk}/ticket", {"kind": "lobby"}, content_type=JSON).json() == {"code": "not-found"}
    assert browser.get(url(planned)).status_code == 302
    assert browser.get("/api/v1/meetings").status_code == 404


def test_a_stranger_gets_no_ticket(client, cast, planned) -> None:
    answer = client.post(f"/join/{planned.pk}/ticket", {"kind": "lobby"}, content_type=JSON)

    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")


def test_a_ticket_needs_the_pages_own_token(cast, planned) -> None:
    token = scenes.guest_token(cast, planned, cast.gail)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies["cleac_guest"] = token

    assert strict.post(f"/join/{planned.pk}/ticket", {"kind": "lobby"}, content_type=JSON).status_code == 403


def test_the_host_enters_as_host_and_a_colleague_who_is_not_invited_not_at_all(hana, cast, planned) -> None:
    answer = hana.get(url(planned, "room/"))
    ticket = hana.post(url(planned, "room/ticket"), {"kind": "lobby"}, content_type=JSON)

    assert room_context(answer)["ticket_url"] == url(planned, "room/ticket")
    assert ticket.status_code == 200
    with acme(cast):
        assert Participant.objects.get().role == "host"
    ada = Client()
    ada.force_login(cast.ada_user, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert ada.get(url(planned, "room/")).status_code == 404


# What a host plans


def test_a_host_plans_a_meeting_invites_and_sees_the_link_once(hana, cast) -> None:
    made = hana.post("/t/acme/meetings/", {"title": "Offer", "why": "Price", "purposes": ["record-voice"]})
    with acme(cast):
        planned = Meeting.objects.get()
    assert made["Location"] == url(planned)
    assert planned.purposes == ["record-voice"]

    invited = hana.post(url(planned, "invite"), {"name": "Greta"})
    link = re.search(r"http://[^\"]+/j#([A-Za-z0-9_-]{22})", invited.content.decode())
    assert link
    assert "no-store" in invited["Cache-Control"]
    assert link[1] not in hana.get(url(planned)).content.decode()
    assert Client().post("/j/open", {"secret": link[1]}, content_type=JSON).status_code == 200
    assert "Offer" in hana.get("/t/acme/meetings/").content.decode()


@pytest.mark.parametrize("address", ["gail@guest.example", "ada@acme.example", "new@guest.example"])
def test_nobody_but_the_reader_of_a_mail_sees_a_link_to_somebody_with_an_address(hana, cast, planned, address: str) -> None:
    """A host who had it could answer for a guest, look as the guest at other meetings, and act as the owner's own person."""
    invited = hana.post(url(planned, "invite"), {"name": "Somebody", "email": address}, follow=True)
    with acme(cast):
        invitation = Invitation.objects.get(person__email=address)
    again = hana.post(url(planned, f"invitations/{invitation.pk}/again"), follow=True)

    for page in (invited, again):
        assert f"A mail with a personal link is on its way to {address}." in page.content.decode()
        assert "/j#" not in page.content.decode()


def test_a_host_reads_whether_the_mail_is_on_its_way_or_was_given_up(hana, cast, planned) -> None:
    def told() -> list[bool]:
        page = hana.get(url(planned)).content.decode()
        return [words in page for words in ("Mail on its way", "The mail could not be sent", "Mailed ")]

    with acme(cast):
        row = OutboxRow.objects.get(arguments__invitation_id=str(Invitation.objects.get(person=cast.gail).pk))
        Invitation.objects.exclude(person=cast.gail).delete()
    assert told() == [True, False, False]

    OutboxRow.objects.filter(pk=row.pk).update(tries=5, parked_at=timezone.now())
    assert told() == [False, True, False]

    hana.post(url(planned, f"invitations/{row.arguments['invitation_id']}/again"))
    assert told() == [True, False, False]


def test_nothing_is_chosen_beforehand_in_the_form(hana) -> None:
    assert b" checked" not in hana.get("/t/acme/meetings/").content


@pytest.mark.parametrize("data", [{}, {"title": "x" * 121}, {"title": "x", "starts_at": "soon"}, {"title": "x", "purposes": ["read-minds"]}])
def test_a_form_with_a_fault_comes_back_and_makes_nothing(hana, cast, data) -> None:
    answer = hana.post("/t/acme/meetings/", data)

    assert answer.status_code == 422
    with acme(cast):
        assert not Meeting.objects.exists()


def test_the_buttons_of_a_meeting_do_what_they_say_and_say_so(hana, cast, planned) -> None:
    with acme(cast):
        invitation, _ = services.invite(meeting=planned, name="Greta", by=Actor.person(cast.hana), at=timezone.now())

    opened = hana.post(url(planned, "open"), follow=True)
    assert "The room is open." in opened.content.decode()
    assert hana.post(url(planned, f"invitations/{invitation.pk}/revoke"))["Location"] == url(planned)
    again = hana.post(url(planned, f"invitations/{invitation.pk}/again"))
    assert "/j#" in again.content.decode()
    hana.post(url(planned, "end"))
    with acme(cast):
        assert Meeting.objects.get().state == "ENDED"
    over = hana.post(url(planned, "end"), follow=True)
    assert "This meeting is over." in over.content.decode()


def test_ending_a_meeting_that_has_not_begun_cancels_it(hana, cast, planned) -> None:
    hana.post(url(planned, "end"))

    with acme(cast):
        assert Meeting.objects.get().state == "CANCELLED"


def test_a_host_sees_the_own_meetings_an_owner_all_and_a_member_none(cast, planned) -> None:
    with acme(cast):
        services.schedule(title="Adas own", host=cast.ada, by=Actor.person(cast.ada), at=timezone.now())

    def titles(user) -> tuple[int, set[str]]:
        browser = Client()
        browser.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
        page = browser.get("/t/acme/meetings/")
        return page.status_code, {title for title in ("Review", "Adas own") if title in page.content.decode()}

    assert titles(cast.hana_user) == (200, {"Review"})
    assert titles(cast.ada_user) == (200, {"Review", "Adas own"})
    assert titles(cast.dora_user) == (404, set())
    assert titles(cast.nils_user) == (404, set())


# The API


def ask(client, key: str, path: str, **body):
    headers = {"Authorization": f"Bearer {key}"}
    return client.post(path, body, content_type=JSON, headers=headers) if body else client.get(path, headers=headers)


def test_a_program_plans_and_invites(client, cast) -> None:
    key = make.api_key(cast.acme, "meetings:read", "meetings:write")

    made = ask(client, key, "/api/v1/meetings", title="By API", host=str(cast.hana.pk), purposes=["record-voice"])
    assert made.status_code == 201
    invited = ask(client, key, f"/api/v1/meetings/{made.json()['id']}/invitations", name="Gail", email="gail@guest.example")
    assert invited.status_code == 201
    assert invited.json()["person"] == str(cast.gail.pk)
    listed = ask(client, key, "/api/v1/meetings").json()

    assert [(found["title"], found["host"]) for found in listed["results"]] == [("By API", str(cast.hana.pk))]
    assert listed["next_offset"] is None


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"host": None}, "host-needed"), ({"host": "gail"}, "cannot-host"), ({"host": "dora"}, "cannot-host"), ({"purposes": ["x"]}, "unknown-purpose")],
)
def test_a_meeting_that_cannot_be_is_a_problem_with_a_code(client, cast, changed, code: str) -> None:
    key = make.api_key(cast.acme, "meetings:write")
    body = {"title": "By API", "host": "hana"} | changed
    body = {name: str(getattr(cast, value).pk) if name == "host" and value else value for name, value in body.items() if value is not None}

    answer = ask(client, key, "/api/v1/meetings", **body)

    assert (answer.status_code, answer["Content-Type"], answer.json()["code"]) == (400, "application/problem+json", code)


def test_a_key_needs_the_scope_and_sees_only_its_own_tenant(client, cast, planned) -> None:
    reader, foreign = make.api_key(cast.acme, "meetings:read"), make.api_key(cast.globex, "meetings:read", "meetings:write")

    assert ask(client, reader, "/api/v1/meetings", title="x").status_code == 403
    assert ask(client, foreign, "/api/v1/meetings").json()["results"] == []
    assert ask(client, foreign, f"/api/v1/meetings/{planned.pk}/invitations", name="Nils").status_code == 404
    assert ask(client, foreign, "/api/v1/meetings", title="x", host=str(cast.hana.pk)).json()["code"] == "cannot-host"


def test_the_description_names_both_endpoints(client) -> None:
    schema = client.get("/api/v1/schema?format=json").json()

    assert {"/api/v1/meetings", "/api/v1/meetings/{meeting}/invitations"} <= set(schema["paths"])
