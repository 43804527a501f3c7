"""Who speaks: from loudness to names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calls.media.speakers import Speakers

QUIET, NOISY, VOICE, LOUD = 10.0, 78.0, 95.0, 110.0


class Hall:
    """A room whose clock runs in tenths of a second."""

    def __init__(self) -> None:
        self.speakers, self.now = Speakers(), 100.0
        self.told: list[list[str]] = []

    def hear(self, seconds: float, silent: frozenset[str] = frozenset(), **loudness: float) -> None:
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.speakers.note({who: of for who, of in loudness.items() if who not in silent}, loudness, self.now)
            news = self.speakers.news(self.now)
            if news is not None:
                self.told.append(news)


def test_whoever_begins_to_speak_is_told_and_when_it_is_over_that_too() -> None:
    hall = Hall()

    hall.hear(2, hana=QUIET, gail=QUIET)
    hall.hear(2, hana=QUIET, gail=VOICE)
    hall.hear(3, hana=QUIET, gail=QUIET)

    assert hall.told == [["gail"], []]


def test_the_loudest_stands_first() -> None:
    hall = Hall()

    hall.hear(0.2, hana=QUIET, gail=QUIET)
    hall.hear(3, hana=VOICE, gail=QUIET)
    hall.hear(3, hana=VOICE, gail=LOUD)

    assert [hall.told[0], hall.told[-1]] == [["hana"], ["gail", "hana"]]


def test_two_equally_loud_do_not_change_places_all_the_time() -> None:
    hall = Hall()
    hall.hear(2, hana=VOICE, gail=VOICE)
    before = len(hall.told)

    for step in range(40):
        hall.hear(0.2, hana=VOICE + step % 3, gail=VOICE + (step + 1) % 3)

    assert len(hall.told) == before


def test_pauses_between_words_are_no_end() -> None:
    hall = Hall()

    for _ in range(6):
        hall.hear(1, gail=VOICE)
        hall.hear(0.5, gail=QUIET)

    assert hall.told == [["gail"]]


def test_a_noisy_room_is_no_voice_but_somebody_in_it_is() -> None:
    hall = Hall()
    hall.hear(1, gail=QUIET)
    hall.speakers = Speakers()

    hall.hear(5, gail=NOISY)
    assert hall.told == []

    hall.hear(1, gail=LOUD)
    assert hall.told == [["gail"]]


def test_who_is_declared_muted_never_appears_whatever_arrives() -> None:
    hall = Hall()

    hall.hear(3, frozenset({"gail"}), gail=LOUD, hana=QUIET)
    assert hall.told == []

    hall.hear(1, gail=LOUD, hana=QUIET)
    hall.hear(0.1, frozenset({"gail"}), gail=LOUD, hana=QUIET)
    assert hall.told == [["gail"], []]


def test_who_spoke_last_stands_first_among_all() -> None:
    hall = Hall()

    hall.hear(2, gail=VOICE, hana=QUIET, gus=QUIET)
    hall.hear(2, gail=QUIET, hana=QUIET, gus=VOICE)
    hall.hear(3, gail=QUIET, hana=QUIET, gus=QUIET)

    assert hall.speakers.recent == ["gus", "gail", "hana"]


@given(st.lists(st.dictionaries(st.sampled_from(["hana", "gail", "gus"]), st.floats(0, 127), max_size=3), max_size=50), st.sets(st.just("gus")))
def test_only_people_with_an_open_microphone_are_ever_named_and_each_once(moments: list[dict[str, float]], silent: set[str]) -> None:
    speakers = Speakers()
    for step, loudness in enumerate(moments):
        speakers.note({who: of for who, of in loudness.items() if who not in silent}, loudness, step / 10)
        assert set(speakers.active) <= set(loudness) - silent
        assert sorted(speakers.recent) == sorted(loudness)
        assert len(set(speakers.active)) == len(speakers.active)
