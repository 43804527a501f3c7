"""What a person sees of the own part of a recording: who looked at it, how it is played and erased; guests, and staff who were captured."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from compliance.models import Hold, LogEntry
from recordings import forgetting, tasks
from tenants.permissions import Actor
from tests.calls import scenes
from tests.recordings import stored
from tests.recordings.browsing import LIST, MINE, addresses, media, opened, page, ranged, text
from tests.recordings.sittings import Sitting
from tests.recordings.stored import Stored, acting, guest, promised

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
OWN = "/t/acme/my/recordings/"


# The guest's own part


def test_a_guest_without_an_account_sees_and_plays_the_own_part_and_nobody_elses(made: Stored, gail: Client) -> None:
    assert "Your part is kept until" in text(gail.get(MINE))
    shown = text(gail.get(page(made, start=MINE)))
    assert "Kept: 2 s" in shown
    assert "Gus" not in shown

    player = opened(gail, made, MINE)
    answer = gail.get(player)

    assert [person["name"] for person in answer.context["manifest"]["people"]] == ["Gail"]
    assert "Gus" not in answer.content.decode()
    assert ranged(gail, media(player, made, "gail", "cam")).status_code == 206
    assert ranged(gail, media(player, made, "gus", "mic")).status_code == 404
    with acting(made.cast):
        assert [entry.record["facts"]["purpose"] for entry in LogEntry.objects.filter(kind="content.opened")] == ["own"]


def test_a_guest_reads_who_looked_in_which_role_and_why(made: Stored, hana: Client, gail: Client) -> None:
    opened(hana, made, purpose="dispute")
    shown = text(gail.get(page(made, start=MINE)))
    assert "Hana, Host" in shown
    assert "Settling a disagreement" in shown
    opened(gail, made, MINE)
    assert "Hana" in text(gail.get(page(made, start=MINE)))
    assert "Gail" not in text(guest(made.sitting, "gus").get(page(made, start=MINE)))


def test_a_guest_of_another_meeting_finds_nothing(made: Stored, gail: Client) -> None:
    player = opened(gail, made, MINE)
    with acting(made.cast):
        person = type(made.cast.gail).objects.create(tenant=made.cast.acme, name="Lea", email="lea@guest.example")
        other = scenes.meeting(made.cast, guests=("gus",))
    lea = Client()
    lea.cookies["cleac_guest"] = scenes.guest_token(made.cast, other, person)
    assert "Nothing is kept of you" in text(lea.get(MINE))
    for address in [*addresses(made, player, MINE), page(made, "erase", start=MINE)]:
        assert ranged(lea, address).status_code == 404
    assert [lea.post(page(made, name, start=MINE)).status_code for name in ("view", "erase")] == [404, 404]
    assert promised("recordings.redact") == []


def test_the_guest_next_to_you_in_the_call_gets_neither_your_viewing_nor_your_files(made: Stored, gail: Client) -> None:
    gus = guest(made.sitting, "gus")
    hers, his = opened(gail, made, MINE), opened(gus, made, MINE)
    assert gus.get(hers).status_code == 404
    assert ranged(gus, media(hers, made, "gail", "mic")).status_code == 404
    assert ranged(gus, media(his, made, "gail", "mic")).status_code == 404
    assert ranged(gus, media(his, made, "gus", "mic")).status_code == 206


def test_staff_have_no_way_in_through_the_guests_pages(made: Stored, hana: Client) -> None:
    assert [hana.get(address).status_code for address in (MINE, page(made, start=MINE), page(made, "erase", start=MINE))] == [404] * 3


# Erasing


def test_a_guest_has_the_own_part_erased_and_is_told_how_far_it_is(made: Stored, gail: Client, hana: Client) -> None:
    address = page(made, "erase", start=MINE)
    question = gail.get(address)
    for words in ("Erase your part?", "Microphone", "Camera", "It cannot be undone", "The parts of other people are not touched."):
        assert words in text(question)
    weights = re.findall(r'class="(button[^"]*)"[^>]*>(Erase my part|Keep my part)<', question.content.decode())
    assert {words for _css, words in weights} == {"Erase my part", "Keep my part"}
    assert len({css for css, _words in weights}) == 1
    assert promised("recordings.redact") == []
    player = opened(hana, made)

    answer = gail.post(address)

    assert (answer.status_code, answer["Location"]) == (303, address)
    assert "Being erased" in text(gail.get(address))
    now = "Being erased now, usually within a minute. Nobody can play it any more."
    for browser, where in ((gail, MINE), (gail, "/my/"), (hana, page(made))):
        assert now in text(browser.get(where))
    assert gail.post(page(made, "view", start=MINE)).status_code == 404
    assert ranged(hana, media(player, made, "gail", "mic")).status_code == 410
    (promise,) = promised("recordings.redact")
    assert gail.post(address).status_code == 303
    assert len(promised("recordings.redact")) == 1

    with acting(made.cast):
        tasks.redact(tenant_id=str(made.cast.acme.pk), row_id=str(promise.pk), **promise.arguments)

    assert set(made.objects()) == {("gus", "mic")}
    done = text(gail.get(address))
    assert "Erased on" in done
    assert "Erased on" in text(gail.get(page(made, start=MINE)))
    shown = text(hana.get(page(made)))
    assert "Erased" in shown
    assert ranged(hana, media(opened(hana, made), made, "gus", "mic")).status_code == 206


def test_a_part_under_a_hold_is_restricted_and_the_person_is_told(made: Stored, gail: Client) -> None:
    with acting(made.cast):
        Hold.objects.create(tenant=made.cast.acme, person_id=made.cast.gail.pk, reason="claim", placed_at=timezone.now())
    address = page(made, "erase", start=MINE)

    gail.post(address)
    (promise,) = promised("recordings.redact")
    with acting(made.cast):
        tasks.redact(tenant_id=str(made.cast.acme.pk), row_id=str(promise.pk), **promise.arguments)

    assert "Nobody can play your part. A legal hold forbids us to destroy it now; it will be erased when the hold ends." in text(gail.get(address))
    assert "kept under a legal hold" in text(gail.get(page(made, start=MINE)))
    assert gail.post(page(made, "view", start=MINE)).status_code == 404
    assert len(made.objects()) == 3


def test_a_part_that_waits_for_its_erasure_says_until_when_and_is_counted_as_kept_by_nobody(made: Stored, gail: Client, hana: Client) -> None:
    until = timezone.now() + timedelta(hours=72)
    with acting(made.cast):
        who = made.cast.gail
        forgetting.restrict(person=who, recording=None, by=Actor.person(made.cast.dora), at=timezone.now(), erase_from=until)
        alone = stored.finished(made.sitting, ("gail", "mic"))
        forgetting.restrict(person=who, recording=alone.recording, by=Actor.person(made.cast.dora), at=timezone.now(), erase_from=until)
    when = f"{until:%a} {until.day} {until:%b %Y, %H:%M} (UTC)"
    words = f"To be erased on {when}, unless the request is taken back before. Nobody can play it meanwhile."

    for browser, where in ((gail, MINE), (gail, "/my/"), (gail, page(made, "erase", start=MINE)), (hana, page(made))):
        assert words in text(browser.get(where))
    assert "it is erased on" in text(gail.get(page(made, start=MINE)))
    assert "Kept of 1 person" in text(hana.get(LIST))
    assert "To be erased, nobody can play it" in text(hana.get(LIST))
    assert "Nobody can play anything of you. Parts of 2 recordings are to be erased" in text(gail.get("/my/"))
    assert "Nothing is kept of your voice" not in text(gail.get("/my/"))
    assert re.search("[Kk]ept until [A-Z]", text(hana.get(page(alone)))) is None


def test_whoever_has_nothing_there_has_nothing_to_erase(sitting: Sitting) -> None:
    made = stored.finished(sitting, ("gail", "mic"))
    gus = guest(sitting, "gus")
    assert "There is nothing to erase" in text(gus.get(page(made, "erase", start=MINE)))
    assert gus.post(page(made, "erase", start=MINE)).status_code == 303
    assert promised("recordings.redact") == []
    assert set(made.objects()) == {("gail", "mic")}


# The own part of staff


@pytest.fixture
def both(sitting: Sitting) -> Stored:
    return stored.finished(sitting, ("hana", "cam"), ("gail", "mic"))


def test_staff_who_were_captured_see_play_and_erase_their_own_part_and_no_other(both: Stored, sign_in: Callable[[Any], Client]) -> None:
    hana = sign_in(both.cast.hana_user)
    assert "Your part is kept until" in text(hana.get(OWN))
    player = opened(hana, both, OWN)
    assert hana.get(player).status_code == 200
    assert ranged(hana, media(player, both, "hana", "cam")).status_code == 206
    assert ranged(hana, media(player, both, "gail", "mic")).status_code == 404

    assert hana.post(page(both, "erase", start=OWN)).status_code == 303
    before = both.objects()
    (promise,) = promised("recordings.redact")
    with acting(both.cast):
        tasks.redact(tenant_id=str(both.cast.acme.pk), row_id=str(promise.pk), **promise.arguments)

    assert "Erased on" in text(hana.get(page(both, start=OWN)))
    assert both.objects() == {("gail", "mic"): before["gail", "mic"]}


def test_staff_who_were_not_in_a_recording_find_nothing_of_it_among_their_own(both: Stored, sign_in: Callable[[Any], Client]) -> None:
    for user in (both.cast.ada_user, both.cast.nils_user):
        someone = sign_in(user)
        assert [someone.get(page(both, name, start=OWN)).status_code for name in ("", "erase")] == [404, 404]
        assert someone.post(page(both, "view", start=OWN)).status_code == 404
