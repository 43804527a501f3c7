"""What a media worker says of its own load."""

from __future__ import annotations

from calls.placement import FULL_SHARE
from cleac_site.mediaworker import Processor


class Machine:
    """A processor whose use is planned."""

    def __init__(self) -> None:
        self.used = self.now = 0.0
        self.processor = Processor(lambda: self.used, lambda: self.now)

    def works(self, share: float, seconds: int) -> float:
        """This share of a core for so many seconds, told every second; what is said at the end."""
        said = 0.0
        for _ in range(seconds):
            self.now += 1
            self.used += share
            said = self.processor.share()
        return said


def test_the_work_of_a_start_is_no_load() -> None:
    assert Machine().works(1.0, 2) < FULL_SHARE


def test_work_that_goes_on_is_load_and_is_forgotten_when_it_is_over() -> None:
    machine = Machine()
    assert machine.works(1.0, 20) > 0.95
    assert machine.works(0.1, 20) < 0.15
