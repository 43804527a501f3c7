"""Which layer of which picture: arithmetic on what is shown and what fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calls.media.allocation import HEADROOM, Wish, allocate, gently, in_order, last_speakers, wanted

CAMERA = (150_000, 500_000, 1_500_000)
PLENTY = 50_000_000


def rate_of(wish: Wish, layer: int | None) -> int:
    return 0 if layer is None else wish.rates[layer] or 0


@st.composite
def rooms(draw: st.DrawFn) -> list[Wish]:
    wishes = []
    for track in range(draw(st.integers(0, 8))):
        rates = [draw(st.integers(50_000, 200_000) | st.none())]
        for _ in range(draw(st.integers(0, 2))):
            rates.append(draw(st.integers(300_000, 3_000_000) | st.none()))
        flowing = draw(st.none() | st.sampled_from(range(len(rates))))
        wishes.append(
            Wish(track, tuple(sorted(rates, key=lambda rate: rate or 0)), draw(st.none() | st.integers(1, 2000)), draw(st.booleans()), flowing)
        )
    return wishes


estimates, sounds = st.integers(0, 20_000_000), st.integers(0, 500_000)


@given(rooms(), estimates, sounds)
def test_all_that_is_sent_fits_under_the_estimate_but_for_the_lowest_layer_of_the_first_picture(
    wishes: list[Wish], estimate: int, sound: int
) -> None:
    chosen = allocate(estimate, sound, wishes)

    taken = [(wish, chosen[wish.track]) for wish in wishes if chosen[wish.track] is not None]
    first = next((wish for wish in sorted(wishes, key=lambda wish: not wish.screen) if wish.layers), None)
    if first is not None and taken == [(first, first.layers[0])]:
        return
    assert sum(rate_of(wish, layer) for wish, layer in taken) + sound <= estimate or not taken


@given(rooms(), estimates, sounds)
def test_nobody_is_without_a_picture_where_the_lowest_layers_of_all_fit(wishes: list[Wish], more: int, sound: int) -> None:
    lowest = [wish for wish in wishes if wish.layers]
    enough = int(HEADROOM * sum(rate_of(wish, wish.layers[0]) for wish in lowest)) + 1 + sound

    chosen = allocate(enough + more, sound, wishes)

    assert {wish.track for wish in lowest} == {track for track, layer in chosen.items() if layer is not None}


@given(rooms(), estimates, estimates)
def test_with_a_greater_estimate_no_step_before_the_first_that_differs_is_lost(wishes: list[Wish], one: int, other: int) -> None:
    """More room goes to what is more important first: at the first picture's layers it never takes away."""
    poor, rich = (allocate(estimate, 0, wishes) for estimate in sorted((one, other)))
    first = next((wish for wish in sorted(wishes, key=lambda wish: not wish.screen) if wish.layers), None)
    if first is None:
        return
    without = [wish for wish in wishes if wish is first]
    alone_poor, alone_rich = (allocate(estimate, 0, without)[first.track] for estimate in sorted((one, other)))
    assert (alone_poor or 0) <= (alone_rich or 0)
    assert sum(layer is not None for layer in poor.values()) == 0 or any(layer is not None for layer in rich.values())


@given(rooms(), estimates, sounds)
def test_what_was_chosen_is_chosen_again(wishes: list[Wish], estimate: int, sound: int) -> None:
    """Nothing flaps: with the same estimate the choice, once it flows, stands; a rate that sways by a seventh changes nothing new."""
    chosen = allocate(estimate, sound, wishes)
    for _ in range(4):  # room that a more important picture left may be filled; then it stands
        flowing = [Wish(wish.track, wish.rates, wish.height, wish.screen, chosen[wish.track]) for wish in wishes]
        before, chosen = chosen, allocate(estimate, sound, flowing)

    assert chosen == before


@given(rooms(), estimates)
def test_only_layers_that_arrive_are_chosen_and_none_that_is_taller_than_needed(wishes: list[Wish], estimate: int) -> None:
    for wish in wishes:
        layer = allocate(estimate, 0, wishes)[wish.track]
        assert layer is None or (wish.rates[layer] is not None and layer in wish.layers)


def test_a_small_tile_gets_a_low_layer_and_a_great_one_the_best_although_there_is_room_for_all() -> None:
    chosen = allocate(PLENTY, 0, [Wish(1, CAMERA, 720), Wish(2, CAMERA, 360), Wish(3, CAMERA, 150), Wish(4, CAMERA), Wish(5, CAMERA, 4000)])

    assert chosen == {1: 2, 2: 1, 3: 0, 4: 2, 5: 2}


def test_the_screen_goes_first_then_everybody_is_seen_then_the_first_picture_becomes_better() -> None:
    pictures = [Wish(1, CAMERA), Wish(2, CAMERA), Wish(9, (900_000,), screen=True)]

    assert allocate(100_000, 0, pictures) == {9: 0, 1: None, 2: None}
    assert allocate(1_400_000, 0, pictures) == {9: 0, 1: 0, 2: 0}
    assert allocate(2_200_000, 0, pictures) == {9: 0, 1: 1, 2: 1}
    assert allocate(3_400_000, 0, pictures) == {9: 0, 1: 2, 2: 1}


def test_voices_are_taken_off_before_pictures() -> None:
    pictures = [Wish(1, CAMERA), Wish(2, CAMERA)]

    assert allocate(400_000, 0, pictures) == {1: 0, 2: 0}
    assert allocate(400_000, 120_000, pictures) == {1: 0, 2: None}


def test_a_layer_that_flows_stays_where_a_new_one_would_not_begin() -> None:
    assert allocate(520_000, 0, [Wish(1, CAMERA)]) == {1: 0}
    assert allocate(520_000, 0, [Wish(1, CAMERA, flowing=1)]) == {1: 1}


def test_a_track_of_which_nothing_arrives_is_not_chosen_and_keeps_nobody_waiting() -> None:
    assert allocate(PLENTY, 0, [Wish(1, (None, None, None)), Wish(2, CAMERA, 100)]) == {1: None, 2: 0}


def test_what_falls_falls_at_once_and_of_what_rises_one_at_a_time() -> None:
    chosen, flowing = {1: 2, 2: 2, 3: 0, 4: None, 5: 0}, {1: 0, 2: 1, 3: 2, 4: 1, 5: None}

    assert gently(chosen, flowing, may_rise=True) == {1: 2, 2: 1, 3: 0, 4: None, 5: 0}
    assert gently(chosen, flowing, may_rise=False) == {1: 0, 2: 1, 3: 0, 4: None, 5: 0}


def test_wanted_is_what_the_best_of_everything_shown_would_take() -> None:
    assert wanted([Wish(1, CAMERA, 100), Wish(2, CAMERA, 720), Wish(3, (None,))]) == int(HEADROOM * 1_650_000)


def test_only_the_last_speakers_flow_where_a_number_is_set() -> None:
    recent = ["gail", "hana", "gus"]

    assert last_speakers(0, recent, "hana") is None
    assert last_speakers(2, recent, "hana") == {"gail", "gus"}


def test_pictures_stand_in_the_order_of_the_page_and_without_one_in_that_of_the_speakers() -> None:
    pictures = [("hana", "cam"), ("gail", "cam"), ("gus", "cam")]

    assert in_order(pictures, [("gus", "cam"), ("hana", "cam"), ("nobody", "cam")], ["gail"]) == [("gus", "cam"), ("hana", "cam")]
    assert in_order(pictures, None, ["gail", "gus"]) == [("gail", "cam"), ("gus", "cam"), ("hana", "cam")]
