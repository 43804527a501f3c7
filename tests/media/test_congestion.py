"""transport-cc, as we tell it and as browsers tell it to us."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calls.media.congestion import Arrivals, statuses
from calls.media.path import Feedback

from .plain import PlainPath, rtp

# What Chromium 140 said of eight packets: it lets the deltas end at any octet, and fills up the word with padding.
OF_A_BROWSER = bytes.fromhex("afcd0007000000014fc90c07045f0008016da9bd20084e0001009f0200000002")


def padded(feedback: bytes, size: int) -> bytes:
    """The same, its last `size` octets declared as padding."""
    return bytes([feedback[0] | 0x20]) + feedback[1:-1] + bytes([size])


@given(st.sets(st.integers(0, 250), min_size=1), st.integers(0, 0xFFFF))
def test_what_arrived_is_told_and_read_back(arrived: set[int], first: int) -> None:
    arrivals = Arrivals()
    start = min(arrived)
    for number in sorted(arrived):
        arrivals.note((first + number) & 0xFFFF, 1_000_000 + number * 5_000)

    told = arrivals.due(1, 2, 3_000_000)

    assert told is not None
    found = statuses(told)
    assert [number for number, at in found if at is not None] == [(first + number) & 0xFFFF for number in sorted(arrived)]
    assert len(found) == max(arrived) - start + 1


def test_the_feedback_of_a_browser_is_read_to_its_end() -> None:
    found = statuses(OF_A_BROWSER)

    assert [number for number, _ in found] == list(range(1119, 1127))
    assert all(at is not None for _, at in found)


def test_feedback_counts_whether_or_not_it_is_padded() -> None:
    path = PlainPath()
    path.open()
    listener = path.listen(repairs=True)
    arrivals = Arrivals()
    for number in range(3):
        path.take(rtp(number, b"\x10\x00picture"))
        arrivals.note(number + 1, path.now + 1000)
    feedback = arrivals.due(9, 7000, path.now + 1_000_000)
    assert feedback is not None
    assert len(feedback) == 28, "a head of 20, a chunk of 2, three deltas, three octets that fill up the word"

    path.hear(listener, padded(feedback, 3))
    path.path.poll(path.now + 1_000_000)

    told = [event for event in listener.events if isinstance(event, Feedback)]
    assert [(event.received, event.lost) for event in told] == [(3, 0)]
    assert path.counters["rtcp-malformed"] == 0


def test_padding_that_does_not_fit_is_malformed() -> None:
    path = PlainPath()
    path.open()
    listener = path.listen(repairs=True)

    for size in (0, 21, 255):
        path.hear(listener, padded(OF_A_BROWSER, size))

    assert path.counters["rtcp-malformed"] == 3
