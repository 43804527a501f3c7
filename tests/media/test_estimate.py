"""How much a listener can take, on links that a clock moved by hand drives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.media.estimate import FLOOR, MOST, START, Estimate
from calls.media.path import Estimated, Feedback, Lost

from .links import Link, Trip

LAYERS = (150_000, 500_000, 1_500_000)


def a_layer(estimate: int) -> float:
    """One picture of three layers: the best that the estimate allows, at least the lowest."""
    return max((rate for rate in LAYERS if rate <= estimate), default=LAYERS[0])


def as_much(estimate: int) -> float:
    return min(estimate, 2_500_000)


@pytest.mark.parametrize("capacity", [400_000, 1_000_000, 2_000_000])
def test_what_is_sent_settles_just_under_what_the_link_carries(capacity: int) -> None:
    trip = Trip(Link(capacity), as_much)

    trip.run(60)

    assert 0.6 * capacity < trip.least(10) <= trip.most(10) <= 1.1 * capacity


@pytest.mark.parametrize(("capacity", "layer"), [(300_000, 150_000), (800_000, 500_000), (3_000_000, 1_500_000)])
def test_of_three_layers_the_best_that_fits_flows_most_of_the_time(capacity: int, layer: int) -> None:
    trip = Trip(Link(capacity), a_layer)

    trip.run(90)

    assert sorted(trip.sent_rates)[len(trip.sent_rates) // 2] == layer
    assert trip.sent_rates[-1500:].count(layer) >= 1200, "of the last 30 s, trials of a better one take no more than a fifth"


def test_a_link_that_becomes_narrow_is_followed_within_seconds_and_taken_up_again_when_it_widens() -> None:
    trip = Trip(Link(5_000_000), a_layer)
    trip.run(20)
    assert trip.sent_rates[-1] == 1_500_000

    trip.link.capacity = 400_000
    trip.run(10)
    assert trip.most(5) < 600_000

    trip.link.capacity = 5_000_000
    trip.run(60)
    assert trip.sent_rates[-1] == 1_500_000


@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_a_little_random_loss_costs_no_layer(loss: float) -> None:
    trip = Trip(Link(5_000_000, loss=loss), a_layer)

    trip.run(60)

    assert set(trip.sent_rates) == {1_500_000}


def test_much_random_loss_costs_a_layer_but_not_the_picture_and_passes() -> None:
    trip = Trip(Link(5_000_000, loss=0.15), a_layer)

    trip.run(60)
    assert trip.sent_rates[-1] == 500_000

    trip.link.loss = 0.0
    trip.run(30)
    assert trip.sent_rates[-1] == 1_500_000


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("loss", [0.12, 0.15, 0.2])
def test_random_loss_that_lasts_does_not_take_more_and_more(loss: float, seed: int) -> None:
    trip = Trip(Link(5_000_000, loss=loss, seed=seed), a_layer)

    trip.run(180)

    assert min(trip.sent_rates) == 500_000
    assert trip.least(170) > 5 * FLOOR


def test_heavy_loss_takes_more_and_more() -> None:
    trip = Trip(Link(5_000_000, loss=0.5), a_layer)

    trip.run(60)

    assert trip.estimate.rate < 2 * FLOOR


def test_a_longer_way_is_no_queue() -> None:
    trip = Trip(Link(5_000_000), a_layer)
    trip.run(20)

    trip.link.way = 0.2
    trip.run(20)

    assert trip.sent_rates[-1] == 1_500_000


def test_where_nothing_is_told_of_what_is_sent_less_is_sent() -> None:
    trip = Trip(Link(5_000_000), a_layer)
    trip.run(10)
    before = trip.estimate.rate

    for step in range(200):
        trip.estimate.tick(trip.now + step * 0.1, 1_500_000, 3_000_000)

    assert FLOOR <= trip.estimate.rate < before / 4


def test_without_transport_cc_a_receivers_own_estimate_counts_only_below_what_it_is_sent() -> None:
    estimate = Estimate(0.0)

    estimate.heed(Estimated(600_000), 1.0)
    estimate.tick(1.0, sent=150_000, wanted=0)
    assert estimate.rate == START, "it is made of what was sent, and says nothing of what could be"

    estimate.heed(Estimated(600_000), 2.0)
    estimate.tick(2.0, sent=1_500_000, wanted=3_000_000)
    assert 400_000 < estimate.rate < 600_000


def test_without_transport_cc_receiver_reports_tell_of_loss() -> None:
    estimate = Estimate(0.0)

    for second in range(1, 30):
        estimate.heed(Lost(1, "gail", 64), float(second))

    assert FLOOR <= estimate.rate < START / 2


def test_beside_transport_cc_neither_is_asked() -> None:
    estimate = Estimate(0.0)
    for moment in range(1, 100):
        estimate.heed(Feedback(50, 0, 50_000, 200_000, 1_000), moment / 5)
        estimate.heed(Estimated(50_000), moment / 5)
        estimate.heed(Lost(1, "gail", 255), moment / 5)
        estimate.tick(moment / 5, sent=2_000_000, wanted=2_000_000)

    assert estimate.rate >= START


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(100_000, 10_000_000), st.floats(0, 0.3), st.floats(0.005, 0.3)), min_size=1, max_size=4),
    st.floats(0.02, 1.0),
    st.integers(0, 2**16),
)
def test_on_any_link_it_stays_within_its_bounds_and_recovers_when_the_link_is_good(
    weather: list[tuple[float, float, float]], queue: float, seed: int
) -> None:
    trip = Trip(Link(5_000_000, queue=queue, seed=seed), a_layer)
    for trip.link.capacity, trip.link.loss, trip.link.way in weather:
        trip.run(10)

    trip.link.capacity, trip.link.loss, trip.link.way = 10_000_000, 0.0, 0.03
    trip.run(120)

    assert all(FLOOR <= rate <= MOST for _, rate in trip.rates)
    assert trip.sent_rates[-1] == 1_500_000


octets = st.integers(0, 2**31)


@given(
    st.lists(
        st.builds(Feedback, octets, octets, octets, st.integers(-(2**31), 2**31), st.integers(-(2**31), 2**31))
        | st.builds(Estimated, st.integers(0, 2**64))
        | st.builds(Lost, st.just(1), st.just("gail"), st.integers(0, 255)),
        max_size=60,
    )
)
def test_whatever_a_listener_says_it_stays_within_its_bounds(events: list[Feedback | Estimated | Lost]) -> None:
    estimate = Estimate(0.0)
    for place, event in enumerate(events):
        estimate.heed(event, place / 3)
        estimate.tick(place / 3, sent=1_000_000, wanted=5_000_000)
        assert FLOOR <= estimate.rate <= MOST
