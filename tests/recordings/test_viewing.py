"""What is kept of whom, who is let see it, and what a player is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compliance.models import LogEntry
from recordings import forgetting, viewing
from recordings import queries as recorded
from recordings.models import Artefact, Recording, Viewing
from tenants.errors import Refused
from tenants.models import Person
from tenants.permissions import Actor
from tests.calls import scenes
from tests.recordings import stored
from tests.recordings.sittings import Sitting
from tests.recordings.stored import JOB, Stored, acting

pytestmark = pytest.mark.django_db(databases=["default", "keys"])


def view(made: Stored, name: str, purpose: str = "agreed", *, whole: bool = True) -> Viewing:
    person = getattr(made.cast, name)
    return viewing.view(recording=made.recording, by=Actor.person(person), person=person, whole=whole, purpose=purpose, at=timezone.now())


def entries() -> list[dict[str, Any]]:
    return [entry.record for entry in LogEntry.objects.filter(kind="content.opened").order_by("index")]


def marks(found: list[viewing.Share]) -> dict[str, dict[str, str]]:
    return {share.name: {part.source: part.mark for part in share.parts} for share in found}


def refusal(made: Stored, name: str, purpose: str, *, whole: bool) -> tuple[str, int]:
    with pytest.raises(Refused) as refused:
        view(made, name, purpose, whole=whole)
    return refused.value.code, refused.value.status


def test_a_look_leaves_one_entry_for_each_person_in_it_with_its_purpose(made: Stored) -> None:
    with acting(made.cast):
        found = view(made, "hana", "dispute")
        assert found.expires_at - found.opened_at == timedelta(hours=2, seconds=10)  # it is ten seconds long
        assert {record["facts"]["person"] for record in entries()} == {str(made.cast.gail.pk), str(made.cast.gus.pk)}
        for record in entries():
            assert record["facts"]["purpose"] == "dispute"
            assert record["facts"]["viewing"] == str(found.pk)
            assert record["facts"]["recording"] == str(made.recording.pk)
            assert record["by"] == {"kind": "person", "id": str(made.cast.hana.pk)}


def test_a_look_at_the_own_part_is_about_oneself_alone(made: Stored) -> None:
    with acting(made.cast):
        found = view(made, "gail", "own", whole=False)
        assert [record["facts"]["person"] for record in entries()] == [str(made.cast.gail.pk)]
        assert {epoch.track.person_id for epoch in found.epochs.select_related("track")} == {made.cast.gail.pk}


@pytest.mark.parametrize(("purpose", "whole"), [("", True), ("curiosity", True), ("own", True), ("agreed", False)])
def test_without_a_purpose_of_its_kind_nothing_is_opened(made: Stored, purpose: str, whole: bool) -> None:
    with acting(made.cast):
        assert refusal(made, "hana", purpose, whole=whole) == ("purpose", 400)
        assert entries() == []
        assert not Viewing.objects.exists()


@pytest.mark.parametrize("state", ["REQUESTED", "CAPTURING", "PAUSED", "FINALISING"])
def test_what_is_not_finished_is_not_opened(made: Stored, state: str) -> None:
    made.recording.state = state
    with acting(made.cast):
        assert refusal(made, "hana", "agreed", whole=True) == ("not-ready", 409)


def test_whoever_has_nothing_kept_has_nothing_to_open(made: Stored) -> None:
    with acting(made.cast):
        assert refusal(made, "hana", "own", whole=False) == ("nothing-kept", 404)


def test_each_source_of_everybody_has_a_mark_of_what_became_of_it(made: Stored) -> None:
    with acting(made.cast):
        found = viewing.shares(made.recording)
        assert marks(found) == {
            "Hana": {"mic": "undecided", "cam": "undecided"},
            "Gail": {"mic": "captured", "cam": "captured"},
            "Gus": {"mic": "captured", "cam": "declined"},
        }
        until = recorded.day_of(made.recording.stopped_at) + timedelta(days=30)
        assert [share.until for share in found] == [None, until, until]
        assert [part.length for part in found[1].parts] == ["2 s", "2 s"]


def test_what_somebody_last_said_stands_although_new_words_were_published(made: Stored) -> None:
    """The mark is about the call that is over, not about the wording of today."""
    from consent import queries, services  # noqa: PLC0415 - reason: only this test publishes
    from consent.catalogue import Wording  # noqa: PLC0415 - reason: as above

    with acting(made.cast):
        words = {"en": Wording("Other words", "what", "why", "who", "keep", 20)}
        services.publish_notice(purpose="record-camera", wordings=words, by=JOB, at=timezone.now())
        assert queries.marks(made.sitting.call.pk)[str(made.cast.gus.pk)]["cam"] == "undecided"
        assert marks(viewing.shares(made.recording))["Gus"]["cam"] == "declined"
        assert viewing.shares(made.recording)[1].until == recorded.day_of(made.recording.stopped_at) + timedelta(days=30)


def test_a_restricted_part_is_being_erased_and_then_erased_and_keeps_its_place(made: Stored) -> None:
    gail = made.cast.gail
    with acting(made.cast):
        forgetting.restrict(person=gail, recording=made.recording, by=JOB, at=timezone.now())
        (share,) = viewing.shares(made.recording, only=gail)
        assert (marks([share])["Gail"], share.erasing, share.stored, share.erased) == ({"mic": "erasing", "cam": "erasing"}, True, False, False)
        assert refusal(made, "gail", "own", whole=False) == ("nothing-kept", 404)
    made.forget("gail")
    with acting(made.cast):
        (share,) = viewing.shares(made.recording, only=gail)
        assert (marks([share])["Gail"], share.erased, share.until) == ({"mic": "erased", "cam": "erased"}, True, None)
        assert share.erased_at == LogEntry.objects.get(kind="person.redacted").at


def test_what_is_not_finished_yet_says_so(sitting: Sitting) -> None:
    made = stored.captured(sitting, ("gail", "mic"))
    with acting(sitting.cast):
        gail = sitting.cast.gail
        assert marks(viewing.shares(made.recording, only=gail))["Gail"]["mic"] == "finishing"
        made.recording.state = Recording.State.FAILED
        assert marks(viewing.shares(made.recording, only=gail))["Gail"]["mic"] == "fault"


def test_a_player_is_told_of_everybody_and_where_there_is_media(made: Stored) -> None:
    with acting(made.cast):
        told = viewing.manifest(view(made, "hana"))
    assert (told["duration_ms"], told["incomplete"]) == (10_000, False)
    assert [(person["name"], person["you"]) for person in told["people"]] == [("Hana", True), ("Gail", False), ("Gus", False)]
    gail = {source["source"]: source for source in told["people"][1]["sources"]}
    assert gail["mic"] == {
        "source": "mic",
        "mark": "captured",
        "files": [{"id": str(made.files["gail", "mic"].pk), "mime": 'audio/webm; codecs="opus"', "spans_ms": [[1000, 3000]]}],
    }
    assert (gail["cam"]["files"][0]["mime"], gail["cam"]["files"][0]["spans_ms"]) == ('video/webm; codecs="vp8"', [[1000, 3000]])
    assert told["people"][2]["sources"][1] == {"source": "cam", "mark": "declined", "files": []}


def test_stretches_are_cut_inwards_to_whole_milliseconds(made: Stored) -> None:
    """Rounding must never show a moment that was not agreed to."""
    with acting(made.cast):
        Artefact.objects.filter(pk=made.files["gus", "mic"].pk).update(spans=[[1_000_001, 2_999_999], [3_000_100, 3_000_900]])
        told = viewing.manifest(view(made, "hana"))
    assert told["people"][2]["sources"][0]["files"][0]["spans_ms"] == [[1001, 2999]]


def test_a_guest_is_told_of_nobody_else(made: Stored) -> None:
    with acting(made.cast):
        told = viewing.manifest(view(made, "gus", "own", whole=False))
    assert [(person["name"], person["you"]) for person in told["people"]] == [("Gus", True)]


def test_what_is_erased_after_the_opening_leaves_no_file_and_says_so(made: Stored) -> None:
    with acting(made.cast):
        found = view(made, "hana")
    made.forget("gail")
    with acting(made.cast):
        told = viewing.manifest(found)
    assert [(source["mark"], source["files"]) for source in told["people"][1]["sources"]] == [("erased", []), ("erased", [])]
    assert told["people"][2]["sources"][0]["files"]


def test_what_is_finished_after_the_opening_is_not_in_that_viewing(sitting: Sitting) -> None:
    made = stored.captured(sitting, ("gail", "mic"), ("gus", "mic"))
    with acting(sitting.cast):
        made.finish("gus", "mic", stored.sound(stored.SECOND, 1))
        made.stop("FAILED")
        found = view(made, "hana")
        made.finish("gail", "mic", stored.sound(stored.SECOND, 1))
        told = {person["name"]: person["sources"][0] for person in viewing.manifest(found)["people"]}
    assert (told["Gail"]["mark"], told["Gail"]["files"]) == ("fault", [])
    assert len(told["Gus"]["files"]) == 1


def test_whoever_came_after_the_end_or_never_came_in_is_not_in_it(sitting: Sitting) -> None:

    made = stored.finished(sitting, ("gail", "mic"))
    with acting(sitting.cast):
        late = Person.objects.create(tenant=sitting.cast.acme, name="Lea")
        assert list(recorded.own_recordings(late)) == []
        assert [list(recorded.own_recordings(person)) for person in (sitting.cast.gail, sitting.cast.gus)] == [[made.recording], [made.recording]]
        other = scenes.meeting(sitting.cast)
        assert list(recorded.own_recordings(other.host)) == [made.recording]
        with pytest.raises(Refused):
            recorded.own_recording(late, made.recording.pk)


@pytest.mark.parametrize(
    ("length_ms", "words"), [(0, "1 s"), (900, "1 s"), (59_400, "59 s"), (61_000, "1 min 01 s"), (3_599_600, "1 h 00 min"), (7_260_000, "2 h 01 min")]
)
def test_a_length_in_words(length_ms: int, words: str) -> None:
    assert viewing.worded(length_ms) == words


def test_what_expired_is_erased_at_the_time_of_its_entry(made: Stored) -> None:
    gail, at = made.cast.gail, made.recording.stopped_at + timedelta(days=31)
    with acting(made.cast):
        assert forgetting.expire(person=gail, recording=made.recording, by=JOB, at=at).shredded == 2
        (share,) = viewing.shares(made.recording, only=gail)
        assert (share.erased, share.until) == (True, None)
        assert share.erased_at == LogEntry.objects.get(kind="recording.expired").at
