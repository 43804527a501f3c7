"""The erasers of the registry, in the order in which they may run: content before who it belongs to.

A crash in between must not leave media that nobody can ask about any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from calls import services as meetings
from compliance.registry import Data, Holding, Line, Outcome, Retention, holdings
from tenants.models import Person

CONTENT_FIRST = ("recordings", "calls", "consent", "tenants", "account", "sessions", "compliance")
WHO_IT_IS = frozenset({"tenants.Person", "tenants.LinkSecret", "tenants.GuestSession", "calls.Invitation"})
ACCOUNT = frozenset({Retention.ACCOUNT, Retention.INVITATION, Retention.SESSION})


def content() -> list[Holding]:
    """What an erasure takes first: everything but who it was, and how the person gets in to read what was done."""
    return [holding for holding in _in_order() if holding.model not in WHO_IT_IS]


def identity() -> list[Holding]:
    """Name, address, invitations, links and sessions."""
    return [holding for holding in _in_order() if holding.model in WHO_IT_IS]


def of_who_stays(person: Person, *, ground: str, asked_at: datetime, at: datetime) -> list[Line]:
    """Only what is older than the request of invitations, links and the sessions they opened: the person is still needed here, for this ground."""
    invitations, links = meetings.forget_invitations(person=person, made_before=asked_at, at=at)
    done = (("calls.Invitation", invitations), ("tenants.LinkSecret", links))
    return [Line("tenants.Person", Outcome.KEPT, 1, ground), *(Line(model, Outcome.DONE, rows) for model, rows in done)]


def of_the_account() -> list[Holding]:
    """What is kept for as long as the account is, by the declared retention of its fields."""
    return [holding for holding in _in_order() if any(one.retention in ACCOUNT and one.data is not Data.NONE for one in holding.fields.values())]


def erase(person: Person, some: Iterable[Holding], at: datetime) -> list[Line]:
    """Run these erasers; a line of each. Holds were asked before. In the caller's transaction."""
    return [holding.erase(person, at) for holding in some if holding.erase is not None]


def _in_order() -> list[Holding]:
    erasing = [holding for holding in holdings() if holding.erase is not None]
    return sorted(erasing, key=lambda holding: CONTENT_FIRST.index(holding.model.partition(".")[0]))
