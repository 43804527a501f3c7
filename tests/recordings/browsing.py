"""A browser on the pages of one recording: their addresses, the player, ranges of its media, and the words that are shown."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client

from tests.recordings.stored import Stored

LIST = "/t/acme/recordings/"
MINE = "/my/recordings/"


def page(made: Stored, rest: str = "", *, start: str = LIST) -> str:
    return f"{start}{made.recording.pk}/{rest}"


def opened(browser: Client, made: Stored, start: str = LIST, purpose: str = "agreed") -> str:
    """The player's address."""
    answer = browser.post(page(made, "view", start=start), {"purpose": purpose})
    assert answer.status_code == 303
    return str(answer["Location"])


def media(player: str, made: Stored, *place: str) -> str:
    return f"{player}media/{made.files[place].pk}"


def ranged(browser: Client, address: str, asked: str = "bytes=0-") -> Any:
    return browser.get(address, headers={"Range": asked})


def text(answer: Any) -> str:
    """The words of a page."""
    main = answer.content.decode().partition("<main")[2].partition("</main>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub("</?time[^>]*>", "", main)))


def addresses(made: Stored, player: str, start: str = LIST) -> list[str]:
    """The pages of the recording and one piece of its media."""
    return [page(made, start=start), player, media(player, made, "gail", "mic")]
