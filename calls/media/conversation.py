"""What a participant's page says over its pipe: each message to the method of the member that it asks for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from tenants.errors import Refused

from .carried import Pipe
from .room import Member

BURST, PER_SECOND = 60, 20  # frames of one pipe: at once, and on the long run


async def heed(member: Member, pipe: Pipe, counters: Counter[str]) -> None:
    """Do what the page asks for until its pipe is closed from there. What cannot be done is refused, and counted by its code."""
    credit, before = float(BURST), time.monotonic()
    async for message in pipe.connection.messages():
        now = time.monotonic()
        credit, before = min(BURST, credit + (now - before) * PER_SECOND) - 1, now
        if credit < 0:  # whoever floods waits, and nobody else
            await asyncio.sleep(-credit / PER_SECOND)
        try:
            act(member, message)
        except Refused as refused:
            counters[refused.code] += 1
            pipe.send({"kind": "refused", "code": refused.code, **refused.facts})


def act(member: Member, message: dict[str, Any]) -> None:
    """Do what one message asks for. Raises Refused."""
    match message.get("kind"):
        case "publish":
            member.publish(message)
        case "subscribed":
            member.subscribed(message)
        case "restart":
            member.restart()
        case "mute":
            member.mute(message)
        case "show":
            member.show(message)
        case _:
            raise Refused("unknown-message")
