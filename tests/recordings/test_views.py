"""Pages of recordings through the front door: staff, guests, neighbours and strangers; and every form of a range."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from compliance.models import Hold, LogEntry
from recordings import forgetting, queries, tasks, views
from recordings.models import Epoch, Viewing
from tenants.permissions import Actor
from tests import make
from tests.calls import scenes
from tests.recordings import stored
from tests.recordings.sittings import Sitting
from tests.recordings.stored import Stored, acting, guest, promised

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
LIST = "/t/acme/recordings/"
MINE = "/my/recordings/"
OWN = "/t/acme/my/recordings/"
SIZE = 5 * 1024 * 1024
MOST = views.MOST


@pytest.fixture
def made(sitting: Sitting) -> Stored:
    sitting.answer("gus", "record-camera", granted=False)
    return stored.finished(sitting, ("gail", "mic"), ("gail", "cam"), ("gus", "mic"))


@pytest.fixture
def hana(made: Stored, sign_in: Callable[[Any], Client]) -> Client:
    return sign_in(made.cast.hana_user)


@pytest.fixture
def gail(made: Stored) -> Client:
    return guest(made.sitting, "gail")


def page(made: Stored, rest: str = "", *, start: str = LIST) -> str:
    return f"{start}{made.recording.pk}/{rest}"


def opened(browser: Client, made: Stored, start: str = LIST, purpose: str = "agreed") -> str:
    """The player's address."""
    answer = browser.post(page(made, "view", start=start), {"purpose": purpose})
    assert answer.status_code == 303
    return str(answer["Location"])


def media(player: str, made: Stored, *place: str) -> str:
    return f"{player}media/{made.files[place].pk}"


def ranged(browser: Client, address: str, asked: str = "bytes=0-") -> Any:
    return browser.get(address, headers={"Range": asked})


def text(answer: Any) -> str:
    """The words of a page."""
    main = answer.content.decode().partition("<main")[2].partition("</main>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub("</?time[^>]*>", "", main)))


# Ranges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=100-", (100, MOST)),
        (f"bytes={SIZE - 10}-", (SIZE - 10, 10)),
        (f"bytes={SIZE - 10}-{SIZE + 10}", (SIZE - 10, 10)),
        ("bytes=0-999999999", (0, MOST)),
        ("bytes=-1", (SIZE - 1, 1)),
        (f"bytes=-{SIZE * 2}", (0, MOST)),
        ("BYTES=5-6", (5, 2)),
    ],
)
def test_a_range_is_served_from_its_start_and_never_more_than_2_mib(header: str, expected: tuple[int, int]) -> None:
    assert views.asked_range(header, SIZE) == expected


@pytest.mark.parametrize(
    "header",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "bytes=--1", "bytes=-0", "bytes=5-4", "bytes 0-1", "items=0-1", "bytes=0-1,3-4"),
        *("bytes= 0-1", "bytes=0-1 ", "bytes=0-1\n", "bytes=+1-2", "bytes=1_0-20", "bytes=٠-١"),
        *("bytes=0x1-2", "bytes=" + "9" * 19 + "-", "bytes=-1-2"),
        *(f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 1}", "bytes=999999999999999999-"),
    ],
)
def test_what_is_no_range_or_not_there_is_not_served(header: str) -> None:
    assert views.asked_range(header, SIZE) is None


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 150))
def test_a_range_holds_exactly_the_bytes_that_it_names(first: int, last: int, size: int) -> None:
    whole = bytes(number % 251 for number in range(size))
    for header, wanted in ((f"bytes={first}-{last}", whole[first : last + 1]), (f"bytes={first}-", whole[first:])):
        found = views.asked_range(header, size)
        assert (whole[found[0] : found[0] + found[1]] if found else b"") == wanted
    found = views.asked_range(f"bytes=-{last}", size)
    assert (whole[found[0] : found[0] + found[1]] if found else b"") == (whole[-last:] if last else b"")


def test_media_comes_in_pieces_with_the_headers_that_a_player_and_a_proxy_need(made: Stored, hana: Client) -> None:
    address = media(opened(hana, made), made, "gail", "cam")

    answer = ranged(hana, address, "bytes=4-1003")

    size = int(answer["Content-Range"].rpartition("/")[2])
    assert (answer.status_code, answer["Content-Range"]) == (206, f"bytes 4-1003/{size}")
    assert (len(answer.content), answer["Accept-Ranges"]) == (1000, "bytes")
    assert answer["Cache-Control"] == "no-store, private"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Type"] == 'video/webm; codecs="vp8"'
    assert ranged(hana, media(opened(hana, made), made, "gus", "mic"))["Content-Type"] == 'audio/webm; codecs="opus"'


def test_the_pieces_make_the_whole_file_and_no_answer_holds_more_than_2_mib(sitting: Sitting, sign_in: Callable[[Any], Client]) -> None:
    made = stored.finished(sitting, ("gail", "cam"), size=150_000)
    hana = sign_in(sitting.cast.hana_user)
    address = media(opened(hana, made), made, "gail", "cam")
    whole, size = b"", 1
    while len(whole) < size:
        answer = ranged(hana, address, f"bytes={len(whole)}-")
        size = int(answer["Content-Range"].rpartition("/")[2])
        assert answer.status_code == 206
        assert len(answer.content) == min(MOST, size - len(whole))
        whole += answer.content
    assert len(whole) == size > MOST
    assert whole.startswith(b"\x1aE\xdf\xa3")


@pytest.mark.parametrize("header", [None, "bytes=0-1,2-3", "bytes=99999999-", "nonsense"])
def test_without_one_good_range_nothing_is_served(made: Stored, hana: Client, header: str | None) -> None:
    address = media(opened(hana, made), made, "gail", "mic")

    answer = hana.get(address, headers={"Range": header} if header else {})

    assert (answer.status_code, answer.content, answer["Accept-Ranges"]) == (416, b"", "bytes")
    assert re.fullmatch(r"bytes \*/\d+", answer["Content-Range"])


# Staff


def test_a_host_finds_the_recording_reads_what_is_kept_states_why_and_plays(made: Stored, hana: Client) -> None:
    assert "Review" in text(hana.get(LIST))
    shown = text(hana.get(page(made)))
    until = queries.day_of(made.recording.stopped_at) + timedelta(days=30)
    for words in ("Gail", "Gus", "Kept: 2 s", "Not kept: the answer was no", "Not kept: there was no answer", "Nobody has looked at it."):
        assert words in shown
    assert f"Kept until {until:%a} {until.day} {until:%b %Y}" in shown

    player = opened(hana, made, purpose="dispute")
    answer = hana.get(player)

    assert answer.status_code == 200
    urls = [file["url"] for person in answer.context["manifest"]["people"] for source in person["sources"] for file in source["files"]]
    assert sorted(urls) == sorted(media(player, made, *place) for place in made.files)
    assert [ranged(hana, url).status_code for url in urls] == [206, 206, 206]
    shown = text(hana.get(page(made)))
    assert "Settling a disagreement" in shown
    assert "You" in shown
    with acting(made.cast):
        assert LogEntry.objects.filter(kind="content.opened").count() == 2


def test_the_lists_count_the_days_to_the_first_end(made: Stored, hana: Client, gail: Client, time_machine: Any) -> None:
    until = queries.day_of(made.recording.stopped_at) + timedelta(days=30)
    worded = f"kept until {until:%a} {until.day} {until:%b %Y}"
    assert f"{worded}, 30 days left" in text(hana.get(LIST))
    assert "30 days left" in text(gail.get(MINE))
    time_machine.move_to(made.recording.stopped_at + timedelta(days=30), tick=True)
    browser = guest(made.sitting, "gail")
    assert "until the end of today" in text(browser.get(MINE))


def test_a_recording_of_which_everything_went_says_so_and_offers_nothing_to_play(made: Stored, hana: Client) -> None:
    at = made.recording.stopped_at + timedelta(days=31)
    with acting(made.cast):
        for person in (made.cast.gail, made.cast.gus):
            assert forgetting.expire(person=person, recording=made.recording, by=stored.JOB, at=at).shredded > 0
        assert forgetting.conclude(recording=made.recording, by=stored.JOB, at=at)
    shown = text(hana.get(LIST))
    assert "Everything in it was erased" in shown
    assert "Deleted" in shown
    detail = text(hana.get(page(made)))
    assert "because it had been kept for as long as they agreed" in detail
    assert "Open the recording" not in detail
    assert "Nothing of you is left in this recording." in text(guest(made.sitting, "gail").get(page(made, start=MINE)))


def test_no_reason_is_chosen_beforehand_and_without_one_nothing_opens(made: Stored, hana: Client) -> None:
    form = hana.get(page(made)).content.decode()
    assert form.count('type="radio"') == 3
    assert "checked" not in form
    # The last one reads well, and nobody was asked whether what is kept of them may serve it.
    for purpose in ({}, {"purpose": ""}, {"purpose": "curiosity"}, {"purpose": "own"}, {"purpose": "quality"}):
        answer = hana.post(page(made, "view"), purpose)
        assert (answer.status_code, "Choose one of the reasons." in text(answer)) == (422, True)
    with acting(made.cast):
        assert not Viewing.objects.exists()
        assert not LogEntry.objects.filter(kind="content.opened").exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("CAPTURING", "This recording is running."),
        ("FINALISING", "This recording is being finished."),
        ("FAILED", "A part of this recording could not be finished."),
    ],
)
def test_each_state_is_said_in_words(sitting: Sitting, sign_in: Callable[[Any], Client], state: str, words: str) -> None:
    made = stored.captured(sitting, ("gail", "mic"))
    with acting(sitting.cast):
        type(made.recording).objects.update(state=state, incomplete=True, retry_at=timezone.now())
    hana = sign_in(sitting.cast.hana_user)
    for shown in (text(hana.get(page(made))), text(guest(sitting, "gail").get(page(made, start=MINE)))):
        assert words in shown
        assert "A part of this recording was lost" in shown
        assert "Why do you open it?" not in shown
    answer = hana.post(page(made, "view"), {"purpose": "agreed"})
    expected = (404, "nothing left that can be played") if state == "FAILED" else (409, "still being finished")
    assert (answer.status_code, expected[1] in text(answer)) == (expected[0], True)


def test_a_recording_of_nobody_says_that_nothing_is_kept(sitting: Sitting, sign_in: Callable[[Any], Client]) -> None:
    made = stored.captured(sitting)
    with acting(sitting.cast):
        made.stop()
    assert "Nothing is kept of anybody." in text(sign_in(sitting.cast.hana_user).get(page(made)))
    assert "Nothing of you was kept in this recording." in text(guest(sitting, "gail").get(page(made, start=MINE)))


def test_the_player_says_until_when_in_a_form_that_the_page_turns_into_the_readers_zone(made: Stored, hana: Client, gail: Client) -> None:
    for browser, start in ((hana, LIST), (gail, MINE)):
        player = opened(browser, made, start)
        with acting(made.cast):
            ends = Viewing.objects.latest("opened_at").expires_at.isoformat(timespec="seconds")
        page = browser.get(player).content.decode()
        assert f'Can be played until <time datetime="{ends}" data-moment>' in page
        assert "moments.js" in page


def test_a_viewing_that_is_over_says_so_and_its_media_is_gone(made: Stored, hana: Client) -> None:
    player = opened(hana, made)
    with acting(made.cast):
        Viewing.objects.update(expires_at=timezone.now())
    answer, piece = hana.get(player), ranged(hana, media(player, made, "gail", "mic"))
    assert (answer.status_code, "This viewing is over" in text(answer)) == (410, True)
    assert (piece.status_code, piece.json()) == (410, {"code": "viewing-over"})


def test_an_owner_plays_meetings_of_others(made: Stored, sign_in: Callable[[Any], Client]) -> None:
    ada = sign_in(made.cast.ada_user)
    assert ranged(ada, media(opened(ada, made), made, "gail", "mic")).status_code == 206


# Who may not


def addresses(made: Stored, player: str, start: str = LIST) -> list[str]:
    return [page(made, start=start), player, media(player, made, "gail", "mic")]


@pytest.mark.parametrize("name", ["dora_user", "otto_user", "nils_user"])
def test_dpo_auditor_and_neighbours_find_nothing(made: Stored, hana: Client, name: str) -> None:
    player, other = opened(hana, made), Client()
    other.force_login(getattr(made.cast, name), backend="allauth.account.auth_backends.AuthenticationBackend")
    assert [ranged(other, address).status_code for address in [LIST, *addresses(made, player)]] == [404] * 4
    assert other.post(page(made, "view"), {"purpose": "agreed"}).status_code == 404
    assert other.get(f"/t/globex{player.removeprefix('/t/acme')}").status_code == 404


def test_a_host_of_another_meeting_finds_nothing(made: Stored, hana: Client) -> None:
    player = opened(hana, made)
    with acting(made.cast):
        type(made.sitting.meeting).objects.filter(pk=made.sitting.meeting.pk).update(host=made.cast.ada)
    assert [ranged(hana, address).status_code for address in addresses(made, player)] == [404] * 3
    assert hana.post(page(made, "view"), {"purpose": "agreed"}).status_code == 404
    assert "No recording yet" in text(hana.get(LIST))


def test_somebody_elses_viewing_is_not_there(made: Stored, hana: Client, gail: Client) -> None:
    player, ada = opened(hana, made), Client()
    ada.force_login(made.cast.ada_user, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert [ranged(ada, address).status_code for address in addresses(made, player)] == [200, 404, 404]
    mine = player.replace("/t/acme/recordings/", MINE)
    assert [ranged(gail, address).status_code for address in addresses(made, mine, MINE)] == [200, 404, 404]


def test_a_viewing_is_not_there_under_another_recording_and_a_file_not_in_another_viewing(made: Stored, hana: Client, sitting: Sitting) -> None:
    player = opened(hana, made)
    other = stored.finished(sitting, ("gus", "mic"))
    assert hana.get(player.replace(str(made.recording.pk), str(other.recording.pk))).status_code == 404
    assert ranged(hana, f"{player}media/{other.files['gus', 'mic'].pk}").status_code == 404
    assert ranged(hana, f"{player}media/{uuid4()}").status_code == 404
    with acting(made.cast):
        journal = made.journals["gail", "mic"].pk
    assert ranged(hana, f"{player}media/{journal}").status_code == 404


def test_a_stranger_is_sent_to_the_sign_in_page(made: Stored, hana: Client, gail: Client) -> None:
    players = [opened(hana, made), opened(gail, made, MINE)]
    for address in [LIST, MINE, *addresses(made, players[0]), *addresses(made, players[1], MINE), page(made, "erase", start=MINE)]:
        answer = Client().get(address)
        assert (answer.status_code, answer["Location"].startswith("/account/login/?next=")) == (302, True)
    for address in (page(made, "view"), page(made, "view", start=MINE), page(made, "erase", start=MINE)):
        assert Client().post(address, {"purpose": "agreed"}).status_code == 302


def test_an_api_key_opens_no_page_and_no_media(made: Stored, hana: Client) -> None:
    player = opened(hana, made)
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {make.api_key(made.cast.acme, 'recordings:read')}"}
    assert [Client().get(address, **bearer).status_code for address in addresses(made, player)] == [302] * 3


def test_forms_need_the_pages_own_token(made: Stored) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies["cleac_guest"] = scenes.guest_token(made.cast, made.sitting.meeting, made.cast.gail)
    assert [strict.post(page(made, name, start=MINE)).status_code for name in ("view", "erase")] == [403, 403]
    assert promised("recordings.redact") == []


# The next range after something changed


def test_a_restriction_stops_the_very_next_range_although_the_key_was_just_released(made: Stored, hana: Client) -> None:
    player = opened(hana, made)
    gails, guss = media(player, made, "gail", "mic"), media(player, made, "gus", "mic")
    assert [ranged(hana, address).status_code for address in (gails, guss)] == [206, 206]

    with acting(made.cast):
        Epoch.objects.filter(track__person=made.cast.gail).update(restricted_at=timezone.now())

    answer = ranged(hana, gails)
    assert (answer.status_code, answer.json()) == (410, {"code": "restricted"})
    assert ranged(hana, guss).status_code == 206


def test_what_was_erased_is_restricted_for_whoever_is_in_the_middle_of_playing(made: Stored, hana: Client) -> None:
    player = opened(hana, made)
    assert ranged(hana, media(player, made, "gail", "cam")).status_code == 206
    made.forget("gail")
    assert ranged(hana, media(player, made, "gail", "cam")).status_code == 410
    assert ranged(hana, media(player, made, "gus", "mic")).status_code == 206


def test_an_altered_file_is_not_served(made: Stored, hana: Client) -> None:
    player = opened(hana, made)
    path = settings.CLEAC.data / "objects" / made.files["gail", "mic"].object_name
    altered = bytearray(path.read_bytes())
    altered[len(altered) // 2] ^= 1
    path.write_bytes(altered)
    answer = ranged(hana, media(player, made, "gail", "mic"))
    assert (answer.status_code, answer.json()) == (409, {"code": "damaged"})


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
