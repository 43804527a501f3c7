"""The timetable of what is kept, as the hourly job runs it, at any moment."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.test import TestCase

from compliance import retention
from tests.recordings.stored import JOB


def expired(cast: Any, at: datetime) -> retention.Report:
    """Everything of Acme's that is due at this moment goes, and what the commit leaves to do is done."""
    with TestCase.captureOnCommitCallbacks(execute=True):
        return retention.run(tenant=cast.acme, by=JOB, at=at)
