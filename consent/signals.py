"""What consent tells the apps above it."""

from __future__ import annotations

from django.dispatch import Signal

# Sent after the commit of every new decision, with call_id, person_id and tenant_id as UUIDs. It says "look again" and
# nothing of the answer: who needs that asks `consent.gate`. It may be lost, so nothing may depend on it alone.
decided = Signal()
