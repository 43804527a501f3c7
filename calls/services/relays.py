"""Who may use the operator's TURN servers, and for how long."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.conf import settings

from ..media import turn
from ..models import Participant
from ..queries import IN_THE_CALL

TEST_LIFE = timedelta(minutes=2)
CREDENTIAL_LIFE = timedelta(hours=6)  # as long as a long call: allocations of a call are renewed with the same credentials


def relays_for(*, participant: Participant, at: datetime) -> list[dict[str, str]]:
    """The TURN servers as a page's connection takes them (RTCIceServer), with credentials of their own; empty where none are set or nobody is let in.

    Nothing is written down: the credentials name nobody and become void by themselves.
    """
    return _with_credentials(at + CREDENTIAL_LIFE) if participant.state in IN_THE_CALL else []


def relays_for_a_test(*, at: datetime) -> list[dict[str, str]]:
    """The same for the page on which people test their network: long enough for one test, too short for a call."""
    return _with_credentials(at + TEST_LIFE)


def _with_credentials(end: datetime) -> list[dict[str, str]]:
    urls = turn.servers(settings.CLEAC.turn_urls)
    if not urls:
        return []
    until = int(end.timestamp())
    username, credential = turn.credentials(settings.CLEAC.turn_secret.get_secret_value(), secrets.token_hex(8), until)
    return [{"urls": url, "username": username, "credential": credential} for url in urls]
