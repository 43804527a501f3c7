"""What the two sides of capture say to one another: plain values, like those of `calls.media.orders`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from calls.media.orders import Errand, Outcome

from ..sealing import Context


@dataclass(frozen=True)
class Wish:
    """That a call is to be captured. `age` and `refused` are seconds before the reading, by the database's clock alone.

    `refused`: person id -> source -> how long ago the person's standing no was decided.
    """

    recording_id: UUID
    tenant_id: UUID
    requested_at: datetime
    age: float
    refused: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class OpenEpoch(Errand):
    """Make the rows and the key of a stretch under this very decision. Its id is chosen here, so that asking twice makes no second one."""

    tenant_id: UUID
    recording_id: UUID
    participant_id: str
    person_id: str
    source: str
    decision_id: UUID
    epoch_id: UUID


@dataclass(frozen=True)
class CloseEpoch(Errand):
    """A stretch is over; its journal says how much it holds. Of what it holds, records that end after `kept_until_us` had to go and could not."""

    tenant_id: UUID
    epoch_id: UUID
    cut: str
    kept_until_us: int | None = None


@dataclass(frozen=True)
class EpochOpened(Outcome):
    """The stretch is open: the one copy of its data key, and the claim that its bytes are bound to."""

    epoch_id: UUID = UUID(int=0)
    object_name: str = ""
    context: Context | None = None
    data_key: bytes = field(default=b"", repr=False)
