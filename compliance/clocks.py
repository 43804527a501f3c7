"""Legal deadlines: how long the organisation may take, and when that time is over.

The arithmetic is that of Regulation (EEC, Euratom) No 1182/71, Article 3, by which periods in acts of the Union are counted. What a member
state calls a public holiday comes from the package `holidays`.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import holidays

COUNTRY = "FI"  # whose public holidays count; ISO 3166-1
ZONE = ZoneInfo("Europe/Helsinki")  # where the last hour of a day ends
LAST = time(23, 59, 59)
SATURDAY = 5


def due(asked: datetime, zone: ZoneInfo = ZONE, country: str = COUNTRY) -> datetime:
    """The last second in which a request that came at `asked` is answered in time: one calendar month (GDPR Art. 12(3)).

    The day on which it came is not counted (Art. 3(1)). The month ends on the same date of the next month, or on that month's last day where
    the date is missing (3(2)(c)); if that is a public holiday, a Saturday or a Sunday, on the next working day (3(4)). Raises ValueError for a
    time without an offset.
    """
    if asked.utcoffset() is None:
        raise ValueError("the time of a request needs its offset")
    day = a_month_after(asked.astimezone(zone).date())
    while not is_working_day(day, country):
        day += timedelta(days=1)
    return datetime.combine(day, LAST, zone)


def due_on(due_at: datetime, zone: ZoneInfo = ZONE) -> date:
    """The day on which a deadline ends, where it ends."""
    return due_at.astimezone(zone).date()


def a_month_after(day: date) -> date:
    """The same date of the next month, or that month's last day where there is no such date."""
    year, month = (day.year, day.month + 1) if day.month < 12 else (day.year + 1, 1)
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def is_working_day(day: date, country: str = COUNTRY) -> bool:
    """Neither a Saturday, nor a Sunday, nor a public holiday (Art. 2(2) of the Regulation)."""
    return day.weekday() < SATURDAY and day not in _public_holidays(country, day.year)


@cache
def _public_holidays(country: str, year: int) -> frozenset[date]:
    return frozenset(holidays.country_holidays(country, years=year))
