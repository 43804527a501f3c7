"""Everybody's first page: the person's own home, the tenant's overview, and the people it holds data of."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from calls import services as calls
from compliance import tasks
from compliance.models import LogEntry
from recordings import forgetting
from tenants import scope
from tenants.models import Membership
from tenants.permissions import Actor
from tests.recordings import stored
from tests.recordings.sittings import Sitting
from tests.recordings.sittings import made as sat
from tests.recordings.stored import Stored, acting, guest

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
SignIn = Callable[..., Client]


@pytest.fixture
def house(cast: Any, tmp_path: Path, settings: Any) -> Stored:
    """Hana's camera and Gail's voice were recorded; Gus said no."""
    settings.CLEAC = settings.CLEAC.model_copy(update={"data": tmp_path})
    sitting: Sitting = sat(cast)
    sitting.answer("gus", "record-voice", granted=False)
    return stored.finished(sitting, ("hana", "cam"), ("gail", "mic"))


def text(answer: Any) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode().partition("<main")[2].partition("</main>")[0]))


# The person's own home


def test_a_guest_reads_first_what_is_kept_now_then_everything_else(house: Stored) -> None:
    shown = text(guest(house.sitting, "gail").get("/my/"))

    assert "Kept of you: a part of 1 recording" in shown
    for words in (
        house.sitting.meeting.title,
        "Recording of your voice",
        "Yes",
        "Your part is kept until",
        "nobody has opened it",
        "A copy has everything that is held about you here.",
        "Ask for a copy or for erasure",
    ):
        assert words in shown
    assert "Hana" in shown  # the host
    assert "Gus" not in shown


def test_ones_own_recordings_are_named_and_lead_home(house: Stored) -> None:
    shown = guest(house.sitting, "gail").get("/my/recordings/").content.decode()

    assert "<h1>My recordings</h1>" in shown
    assert '<a class="crumb" href="/my/">' in shown


def test_who_said_no_reads_that_nothing_is_kept(house: Stored) -> None:
    shown = text(guest(house.sitting, "gus").get("/my/"))

    assert "Nothing is kept of your voice, picture or screen" in shown
    assert "Nothing of you is kept" in shown


def test_a_change_of_mind_stands_beside_the_answer_before_it(house: Stored) -> None:
    house.sitting.answer("gus", "record-voice", granted=True)

    shown = text(guest(house.sitting, "gus").get("/my/"))

    assert shown.index("Yes") < shown.index("changed since")


def test_staff_have_a_home_of_their_own_in_the_dashboard(house: Stored, sign_in: SignIn) -> None:
    hana = sign_in(house.cast.hana_user)
    shown = text(hana.get("/t/acme/my/"))

    assert "Kept of you: a part of 1 recording" in shown
    assert hana.get("/my/").status_code == 302
    assert sign_in(house.cast.nils_user).get("/t/acme/my/").status_code == 404


def test_signed_out_the_home_leads_to_the_sign_in(house: Stored) -> None:
    assert Client().get("/my/").status_code == 302
    assert Client().get("/t/acme/my/").status_code == 302


# The overview


def test_the_overview_shows_figures_the_plot_and_the_newest_rows(house: Stored, sign_in: SignIn) -> None:
    answer = sign_in(house.cast.ada_user).get("/t/acme/")
    shown = text(answer)

    assert re.search(r"People asked 3 ", shown)
    assert re.search(r"Recordings started 1 ", shown)
    assert house.sitting.meeting.title in shown
    assert b"<svg" in answer.content.partition(b"What people agree to")[2]
    assert "Recording of your voice" in shown


def test_a_recording_of_which_all_that_is_left_waits_for_erasure_is_not_ready_on_the_overview(house: Stored, sign_in: SignIn) -> None:
    ada = sign_in(house.cast.ada_user)
    before = text(ada.get("/t/acme/")).partition("Newest recordings")[2]
    until = timezone.now() + timedelta(hours=72)
    for name in ("hana", "gail"):
        with acting(house.cast):
            who = getattr(house.cast, name)
            forgetting.restrict(person=who, recording=None, by=Actor.person(house.cast.dora), at=timezone.now(), erase_from=until)
        if name == "hana":
            assert "Ready" in text(ada.get("/t/acme/")).partition("Newest recordings")[2]  # Gail's voice can be played still
    after = text(ada.get("/t/acme/")).partition("Newest recordings")[2]

    assert ("Ready" in before, "To be erased" in before) == (True, False)
    assert ("Ready" in after, "To be erased" in after) == (False, True)


@pytest.mark.parametrize(
    ("name", "overview", "people", "desk"),
    [("ada", True, 200, 200), ("hana", False, 200, 404), ("dora", True, 200, 200), ("otto", False, 404, 404), ("nils", None, 404, 404)],
)
def test_each_role_finds_the_doors_that_it_may_open_and_no_other(
    house: Stored, sign_in: SignIn, name: str, overview: bool | None, people: int, desk: int
) -> None:
    browser = sign_in(getattr(house.cast, f"{name}_user"))
    home = browser.get("/t/acme/")

    assert home.status_code == (404 if overview is None else 200)
    if overview is not None:
        assert ("What people agree to" in home.content.decode()) == overview
        assert ('href="/t/acme/people/"' in home.content.decode()) == (people == 200)
        assert ('href="/t/acme/requests/"' in home.content.decode()) == (desk == 200)
    assert browser.get("/t/acme/people/").status_code == people
    assert browser.get("/t/acme/requests/").status_code == browser.get("/t/acme/dpo/").status_code == desk


def test_a_new_tenant_is_told_what_to_do_next(cast: Any, sign_in: SignIn) -> None:
    shown = text(sign_in(cast.nils_user).get("/t/globex/"))

    assert "No meeting yet" in shown
    assert "Nobody was asked anything in this time." in shown


# People


def test_people_stand_with_their_last_answers_and_with_what_is_kept(house: Stored, sign_in: SignIn) -> None:
    shown = text(sign_in(house.cast.ada_user).get("/t/acme/people/"))

    for name in ("Ada", "Dora", "Gail", "Gus", "Hana", "Otto"):
        assert name in shown
    assert "Nils" not in shown
    gus = shown.partition("Gus")[2].partition("Hana")[0]
    assert "Recording of your voice: no" in gus
    assert "Nothing is kept" in gus
    assert "Something is kept" in shown.partition("Gail")[2].partition("Gus")[0]


def test_of_whom_everything_is_to_be_erased_the_list_says_that_and_not_that_nothing_is_kept(house: Stored, sign_in: SignIn) -> None:
    with acting(house.cast):
        until = timezone.now() + timedelta(hours=72)
        forgetting.restrict(person=house.cast.gail, recording=None, by=Actor.person(house.cast.dora), at=timezone.now(), erase_from=until)

    gail = text(sign_in(house.cast.ada_user).get("/t/acme/people/")).partition("Gail")[2].partition("Gus")[0]

    assert "A part is to be erased; nobody can play it." in gail
    assert "Nothing is kept" not in gail
    assert "Something is kept" not in gail


def test_a_host_sees_the_people_of_the_own_meetings_only(house: Stored, sign_in: SignIn) -> None:
    shown = text(sign_in(house.cast.hana_user).get("/t/acme/people/"))

    assert {name for name in ("Ada", "Dora", "Gail", "Gus", "Hana", "Otto") if name in shown} == {"Gail", "Gus", "Hana"}


def test_a_host_learns_nothing_of_what_people_answered_and_of_what_is_kept_in_meetings_of_others(house: Stored, sign_in: SignIn) -> None:
    """Whoever invites an address would otherwise read what its holder agreed to elsewhere, and how often they met."""
    cast = house.cast
    Membership.objects.filter(person=cast.otto).update(role="host")
    with acting(cast):
        facts = {"by": Actor.person(cast.otto), "at": timezone.now()}
        theirs = calls.schedule(title="Audit", host=cast.otto, purposes=[], **facts)
        calls.invite(meeting=theirs, name="Gail", email=cast.gail.email, **facts)

    gail = text(sign_in(cast.otto_user).get("/t/acme/people/")).partition("Gail")[2].partition("Otto")[0]

    assert "Not asked yet" in gail
    assert "Nothing is kept" in gail
    assert gail.split()[:3] == [cast.gail.email, "Guest", "1"]  # address, role, meetings
    everything = text(sign_in(cast.ada_user).get("/t/acme/people/")).partition("Gail")[2].partition("Gus")[0]
    assert "Recording of your voice: yes" in everything
    assert everything.split()[:3] == [cast.gail.email, "Guest", "2"]


@pytest.mark.parametrize(
    ("searched", "found"), [("gai", {"Gail"}), ("guest.example", {"Gail", "Gus"}), ("nobody", set()), ("\0", {"Gail", "Gus", "Ada"})]
)
def test_a_search_looks_at_names_and_addresses(house: Stored, sign_in: SignIn, searched: str, found: set[str]) -> None:
    answer = sign_in(house.cast.ada_user).get("/t/acme/people/", {"q": searched, "page": "no number"})

    shown = text(answer)
    assert {name for name in ("Gail", "Gus", "Ada") if f" {name} " in shown} == found


def test_the_nightly_proof_leaves_an_entry_for_the_desk(house: Stored, sign_in: SignIn) -> None:
    tasks.prove()

    with scope.entered(house.cast.acme):
        assert LogEntry.objects.filter(kind="store.proved").count() == 1
    assert "Not proven yet" not in text(sign_in(house.cast.dora_user).get("/t/acme/dpo/"))
