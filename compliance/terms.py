"""How long each kind of thing is kept at most, and for how much less a tenant keeps it: dated rows, of which the newest in force counts (D24).

Asked by whatever ends or destroys something by its age. Media have their days from the notice that was agreed to.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from .models import RetentionRule

Kind = RetentionRule.Kind
# The baseline, in days. A tenant's row may say fewer; one that says more counts for nothing.
BASELINE: dict[str, int] = {Kind.PACKAGE: 7, Kind.INVITATION: 30, Kind.ACCOUNT: 365, Kind.EVIDENCE: 3 * 365}


def kept_for(kind: str, at: datetime) -> timedelta:
    """How long a thing of this kind is kept by the rule that is in force at this time. Raises ScopeError outside a tenant's scope."""
    newest = RetentionRule.objects.filter(kind=kind, in_force_from__lte=at).order_by("-in_force_from", "-pk").first()
    days = BASELINE[kind] if newest is None else min(newest.days, BASELINE[kind])
    return timedelta(days=days)
