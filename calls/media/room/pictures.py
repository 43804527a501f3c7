"""Which layer of each picture one member is sent: what its page shows, held against what its connection takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..allocation import HEADROOM, Wish, allocate, gently, in_order, last_speakers, wanted
from ..estimate import Estimate
from ..layers import Meter
from ..path import Event
from .publisher import Track

if TYPE_CHECKING:
    from .member import Member, Shown

CHOICE_SECONDS = 0.2  # between two looks at the estimate
RISE_SECONDS = 1.0  # between two pictures that become better: what one adds must show before the next


@dataclass(frozen=True, slots=True)
class Settled:
    """A choice with which nothing is left to wish for: every picture that is shown and arrives flows as good as makes sense for it.

    While it is about the same (`stands`) and there is room for it, choosing anew would choose the same. `flows`: of each picture that flows
    its meter, the layers that arrived then, those that make sense, and the one that flows.
    """

    tracks: Sequence[Track]
    shown: Shown | None
    speakers: frozenset[str] | None
    flows: tuple[tuple[Meter, tuple[bool, ...], Sequence[int], int], ...]

    def stands(self, tracks: Sequence[Track], shown: Shown | None, speakers: frozenset[str] | None) -> bool:
        """Are the same tracks received, the same pictures shown, and do they arrive in the same layers?"""
        if shown is not self.shown or tracks != self.tracks or speakers != self.speakers:
            return False
        return all(meter.pattern is pattern for meter, pattern, _, _ in self.flows)

    def rates(self) -> tuple[int, int]:
        """What flows, and what no step on the way there exceeds, in bit/s: nothing where there is a single step, which is always taken."""
        sent = most = steps = 0
        for meter, _, layers, flowing in self.flows:
            arriving, count = meter.arriving, len(layers)
            sent += arriving[flowing] or 0
            steps += count
            most += (arriving[flowing] or 0) if count < 2 else max([arriving[layer] or 0 for layer in layers])
        return sent, most if steps > 1 else 0


class Pictures:
    """The choice for one connection of one member; a new connection begins a new one.

    Acts on copies that the packet path has, never makes one: who may receive is settled before.
    """

    def __init__(self, member: Member) -> None:
        now = member.room.clock()
        self.member, self.estimate = member, Estimate(now)
        self._chosen: dict[int, int | None] = {}
        self._looked_at = now
        self._rose_at = float("-inf")
        self._settled: Settled | None = None

    def heed(self, event: Event) -> None:
        """What the listener's end said of its connection."""
        self.estimate.heed(event, self.member.room.clock())

    def forget(self, track: Track) -> None:
        """This track is not received any more."""
        self._chosen.pop(track.key, None)
        self._settled = None

    def is_due(self, now: float) -> bool:
        """Is it time for another look?"""
        return now - self._looked_at >= CHOICE_SECONDS

    def tick(self, tracks: Sequence[Track], now: float) -> None:
        """Five times a second: let the estimate follow, and choose by it. `tracks` is everything that is received, sound too."""
        if not self.is_due(now):
            return
        self._looked_at = now
        if all(track.kind == "audio" for track in tracks):
            return  # there is nothing to choose
        sound, settled = _sound(tracks), self._settled
        if settled is not None and settled.stands(tracks, self.member.shown, self._speakers()):
            sent, most = settled.rates()
            self.estimate.tick(now, sent, int(HEADROOM * sent) + sound)
            if most and most > self.estimate.rate - sound:
                self.choose(tracks, now)
            return
        wishes = self._wishes(tracks)
        sent = sum(wish.rates[wish.flowing] or 0 for wish in wishes if wish.flowing is not None)
        self.estimate.tick(now, sent, wanted(wishes) + sound)
        self._choose(tracks, wishes, sound, now)

    def choose(self, tracks: Sequence[Track], now: float) -> None:
        """Go over to what the estimate allows of what is shown now. Nothing is sent of a picture that is not shown."""
        self._choose(tracks, self._wishes(tracks), _sound(tracks), now)

    def _choose(self, tracks: Sequence[Track], wishes: Sequence[Wish], sound: int, now: float) -> None:
        chosen = allocate(self.estimate.rate, sound, wishes)
        for wish in wishes:
            if not wish.layers:
                chosen[wish.track] = 0  # nothing arrives: waiting for it costs nothing
            elif chosen[wish.track] is None and self.member.shown is None:
                chosen[wish.track] = wish.layers[0]  # a page that never said what it shows is sent all
        layers = gently(chosen, self._chosen, now - self._rose_at >= RISE_SECONDS)
        if any(_rises(self._chosen.get(track), layer) for track, layer in layers.items()):
            self._rose_at = now
        for track in tracks:
            if track.kind == "video":
                self._go_over(track, layers.get(track.key))
        self._settled = self._settle(tracks, wishes, layers)

    def _settle(self, tracks: Sequence[Track], wishes: Sequence[Wish], layers: Mapping[int, int | None]) -> Settled | None:
        """What was chosen, where it is all that was wished for."""
        flows, of = [], {track.key: track.meter for track in tracks}
        for wish in wishes:
            flowing = layers[wish.track]
            if flowing != (wish.layers[-1] if wish.layers else 0):
                return None
            flows.append((of[wish.track], of[wish.track].pattern, wish.layers, flowing))
        return Settled(tracks, self.member.shown, self._speakers(), tuple(flows))

    def _go_over(self, track: Track, layer: int | None) -> None:
        if track.key not in self._chosen or self._chosen[track.key] != layer:
            self._chosen[track.key] = layer
            self.member.room.path.choose(track.key, self.member.participant, layer)

    def _wishes(self, tracks: Sequence[Track]) -> list[Wish]:
        """The pictures that may flow, the most important first."""
        room, shown = self.member.room, self.member.shown
        speakers = self._speakers()
        pictures = {
            (track.participant, track.source): track
            for track in tracks
            if track.kind == "video" and (speakers is None or track.source == "screen" or track.participant in speakers)
        }
        order = in_order(pictures, None if shown is None else list(shown), room.speakers.recent)
        return [self._wish(pictures[picture], None if shown is None else shown[picture]) for picture in order]

    def _speakers(self) -> frozenset[str] | None:
        room = self.member.room
        return last_speakers(room.last_speakers, room.speakers.recent, self.member.participant, self.member.pinned)

    def _wish(self, track: Track, height: int | None) -> Wish:
        return Wish(track.key, track.meter.arriving, height, track.source == "screen", self._chosen.get(track.key))


def _sound(tracks: Sequence[Track]) -> int:
    return sum(rate or 0 for track in tracks if track.kind == "audio" for rate in track.meter.arriving)


def _rises(before: int | None, layer: int | None) -> bool:
    return before is not None and layer is not None and layer > before
