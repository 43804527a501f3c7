"""What the media loop and the database's thread say to one another: plain values through two queues.

`Order` goes from the loop (`calls.media.worker`) to the thread (`calls.control`), `Answer` comes back. All times of leases and
readings are of `clock.now`, which both share; times that history keeps are aware datetimes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


class Sourced(Protocol):
    """A permit as `consent.gate` gives it; opaque here, its source is the key it stands under."""

    @property
    def source(self) -> str: ...


@dataclass(frozen=True)
class Admitted:
    """Somebody who may be in the call now, under this epoch."""

    person_id: str
    name: str = field(repr=False)
    role: str
    epoch: int


@dataclass(frozen=True)
class CallView:
    """One call as the database had it: the whole truth at `read_at`, until `lease_until` (both of `clock.now`).

    That it is this worker's under `fence` was known at `held_as_of`, which may be earlier.

    `people` by participant id, `permits` and `marks` by person id and source; `left` are the participants
    who went by their own wish. `wish` is the recording side's own value.
    """

    call_id: str
    tenant_id: str
    fence: int
    read_at: float
    lease_until: float
    people: Mapping[str, Admitted]
    permits: Mapping[str, Mapping[str, Sourced]]
    marks: Mapping[str, Mapping[str, str]]
    left: frozenset[str] = frozenset()
    ended: bool = False
    wish: object | None = None
    held_as_of: float = 0.0


@dataclass(frozen=True)
class Lost:
    """This worker does not carry the call, or no longer."""

    call_id: str
    read_at: float


@dataclass(frozen=True)
class Renewed:
    """A heartbeat was taken: these calls are this worker's, each under its fence, and until `until` nobody else may take them.

    What was held before and is not among them is lost, as of `read_at`; both of `clock.now`, `read_at` from before the heartbeat.
    `drain_in`: seconds within which the calls are to be moved, None while nobody asks for it.
    """

    fences: Mapping[str, int]
    read_at: float
    until: float
    drain_in: float | None = None


@dataclass(frozen=True)
class Unconfirmed:
    """The database does not answer. What is known of the call was last confirmed at `since` (`clock.now`)."""

    call_id: str
    since: float
    read_at: float


@dataclass(frozen=True)
class Look:
    """Read this call now. A `fence` above the one that is known means: the placement has changed, read that too."""

    call_id: str
    fence: int = 0


@dataclass(frozen=True)
class Joined:
    """A participant's pipe is open."""

    call_id: str
    fence: int
    participant_id: str
    epoch: int
    at: datetime


@dataclass(frozen=True)
class Left:
    """A participant's pipe is gone."""

    call_id: str
    fence: int
    participant_id: str
    epoch: int
    at: datetime


@dataclass(frozen=True)
class Release:
    """Give the call back: nobody is in it."""

    call_id: str
    fence: int


@dataclass(frozen=True)
class Errand:
    """An order of a part that calls does not know: done in the database's thread, in order, by the handler of its own type."""

    call_id: str
    fence: int


@dataclass(frozen=True)
class Outcome:
    """The answer to an errand. `failed` is empty, or a code."""

    call_id: str
    errand: Errand
    failed: str = ""


Answer = CallView | Lost | Unconfirmed | Renewed | Outcome
Order = Look | Joined | Left | Release | Errand
