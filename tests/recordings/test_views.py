"""Pages of recordings through the front door: staff, neighbours and strangers; and every form of a range."""

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

from compliance.models import LogEntry
from recordings import forgetting, queries, views
from recordings.models import Epoch, Viewing
from tests import make
from tests.calls import scenes
from tests.recordings import stored
from tests.recordings.browsing import LIST, MINE, addresses, media, opened, page, ranged, text
from tests.recordings.sittings import Sitting
from tests.recordings.stored import Stored, acting, guest, promised

pytestmark = pytest.mark.django_db(databases=["default", "keys"])
SIZE = 5 * 1024 * 1024
MOST = views.MOST


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
