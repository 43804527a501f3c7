"""Who speaks, from the loudness that microphones send along (RFC 6464). Nothing is decoded.

Loudness is 127 - dBov: 0 is silence, 127 the loudest. A voice is what stands clearly above both a fixed threshold and the noise of its
own room, which is the quietest that was heard of late. Times and thresholds differ for begin and end, so that nobody flickers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

RISE, FALL = 0.1, 0.4  # seconds over which loudness is smoothed upwards and downwards
LEAST = 72.0  # loudness of a voice
ABOVE_NOISE = 12.0
LOWER = 6.0  # how much quieter a voice may become before it is over
PAUSE = 0.8  # seconds of quiet between words
NOISE_RISE = 2.0  # per second that the noise of a room is believed to grow
LOUDER = 6.0  # by which somebody must exceed another to be put before them
EVERY = 0.3  # seconds between two messages


class Voice:
    """One microphone."""

    def __init__(self) -> None:
        self.loudness = 0.0
        self.speaks = False
        self._noise = 127.0
        self._heard_at = -math.inf

    def note(self, loudness: float, elapsed: float, now: float) -> None:
        """Its mean loudness over the last `elapsed` seconds."""
        smooth = RISE if loudness > self.loudness else FALL
        self.loudness += (loudness - self.loudness) * (1 - math.exp(-elapsed / smooth))
        self._noise = min(loudness, self._noise + NOISE_RISE * elapsed)
        threshold = max(LEAST, min(self._noise + ABOVE_NOISE, 100.0)) - (LOWER if self.speaks else 0.0)
        if self.loudness >= threshold:
            self._heard_at, self.speaks = now, True
        elif now - self._heard_at > PAUSE:
            self.speaks = False


class Speakers:
    """Everybody in a room. `active`: who speaks, the loudest first; `recent`: everybody, who spoke last first."""

    def __init__(self) -> None:
        self._voices: dict[str, Voice] = {}
        self.active: list[str] = []
        self.recent: list[str] = []
        self._told: list[str] = []
        self._told_at = self._at = -math.inf

    def knows(self, people: Collection[str]) -> bool:
        """Are these the people of the last time, none of whom had an open microphone then? Silence has nothing new to tell of them."""
        return not self._voices and not self._told and self._lists(people)

    def _lists(self, people: Collection[str]) -> bool:
        return len(self.recent) == len(people) and all(who in people for who in self.recent)

    def note(self, loudness: Mapping[str, float], people: Collection[str], now: float) -> None:
        """The loudness of every open microphone in the room since the last time, and everybody in it."""
        elapsed, self._at = max(0.0, min(1.0, now - self._at)), now
        if self._voices.keys() != loudness.keys():
            self._voices = {who: self._voices.get(who) or Voice() for who in loudness}
        for who, voice in self._voices.items():
            voice.note(loudness[who], elapsed, now)
        before, speaking = self.active, {who: voice.loudness for who, voice in self._voices.items() if voice.speaks}
        self.active = _ordered([who for who in before if who in speaking], speaking) if speaking else []
        if self.active != before or not self._lists(people):
            known = dict.fromkeys(who for who in self.recent if who in people) | dict.fromkeys(people)
            self.recent = self.active + [who for who in known if who not in speaking]

    def news(self, now: float) -> list[str] | None:
        """Who speaks, when it has changed since it was last told; at most every 0.3 s, but of a silence at once."""
        if self.active == self._told or (set(self._told) <= set(self.active) and now - self._told_at < EVERY):
            return None
        self._told, self._told_at = list(self.active), now
        return self._told


def _ordered(before: list[str], speaking: dict[str, float]) -> list[str]:
    """Newcomers at their place; of those from before, a pair changes places only where the second is clearly louder."""
    order = before + sorted((who for who in speaking if who not in before), key=lambda who: -speaking[who])
    for end in range(1, len(order)):
        at = end
        while at and speaking[order[at]] > speaking[order[at - 1]] + LOUDER:
            order[at - 1], order[at] = order[at], order[at - 1]
            at -= 1
    return order
