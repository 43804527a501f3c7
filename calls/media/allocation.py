"""Which layer of each picture one listener is sent: a pure function of the estimate, of what the page shows and of what arrives.

Every step from nothing to the lowest layer, and from each layer to the next, has a place in one order of worth: first the lowest layer
of each picture, then better ones of what stands first, then better ones of the others in turns. A step is taken when the sum of all
that was taken before, and its own cost, stays under the estimate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

HEADROOM = 1.15  # a step that is not taken yet must leave this much room, so that a rate that sways a little switches nothing
BLUR = 0.75  # a layer may be as small as this beside its tile
TALLEST = 720  # lines of the best of several layers; each other has half of the next


@dataclass(frozen=True, slots=True)
class Wish:
    """One picture that may be sent. `rates`: bit/s by layer, worst first, None where it does not arrive now.

    `height`: of its tile in pixels, None where the page said nothing. `screen`: a shared screen. `flowing`: the layer that is sent now.
    `layers`: those that make sense for it.
    """

    track: int
    rates: tuple[int | None, ...]
    height: int | None = None
    screen: bool = False
    flowing: int | None = None
    layers: list[int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """The layers that make sense for it, worst first: those that arrive, up to the first that fills its tile."""
        found: list[int] = []
        for layer, rate in enumerate(self.rates):
            if rate is None:
                continue
            found.append(layer)
            if self.height is not None and self.height * BLUR <= TALLEST >> (len(self.rates) - 1 - layer):
                break
        object.__setattr__(self, "layers", found)


@dataclass(frozen=True, slots=True)
class _Step:
    wish: Wish
    layer: int
    before: int | None
    cost: int

    @property
    def is_taken(self) -> bool:
        return self.wish.flowing is not None and self.wish.flowing >= self.layer


def allocate(estimate: int, sound: int, wishes: Sequence[Wish]) -> dict[int, int | None]:
    """Track -> layer or None. `wishes` in order of importance; `sound` is what voices take, and is taken off first.

    The rates of what is chosen stay together under `estimate - sound`, with one exception: the lowest layer of the most
    important picture is always sent, because a picture that comes badly is worth more than none.
    """
    chosen: dict[int, int | None] = {wish.track: None for wish in wishes}
    room, spent, first = estimate - sound, 0, True
    for step in _steps(wishes):
        if chosen[step.wish.track] != step.before:
            continue  # the step before it was not taken
        total = spent + step.cost
        if first or total * (1 if step.is_taken else HEADROOM) <= room:
            chosen[step.wish.track], spent = step.layer, total
        first = False
    return chosen


def wanted(wishes: Sequence[Wish]) -> int:
    """The rate of the best that could be shown, with the room that its last step needs."""
    return int(HEADROOM * sum(wish.rates[wish.layers[-1]] or 0 for wish in wishes if wish.layers))


def _steps(wishes: Sequence[Wish]) -> Iterator[_Step]:
    ordered = sorted((wish for wish in wishes if wish.layers), key=lambda wish: not wish.screen)
    ladders = [_ladder(wish) for wish in ordered]
    yield from (ladder[0] for ladder in ladders)
    for ladder in ladders[:1]:
        yield from ladder[1:]
    for rung in range(1, max((len(ladder) for ladder in ladders), default=0)):
        yield from (ladder[rung] for ladder in ladders[1:] if rung < len(ladder))


def _ladder(wish: Wish) -> list[_Step]:
    steps, before, paid = list[_Step](), None, 0
    for layer in wish.layers:
        rate = wish.rates[layer] or 0
        steps.append(_Step(wish, layer, before, rate - paid))
        before, paid = layer, rate
    return steps


def gently(chosen: Mapping[int, int | None], flowing: Mapping[int, int | None], may_rise: bool) -> dict[int, int | None]:
    """What to go over to now: everything that falls, ends or begins, but of the pictures that become better only one, the first."""
    now: dict[int, int | None] = {}
    for track, layer in chosen.items():
        before = flowing.get(track)
        rises = layer is not None and before is not None and layer > before
        now[track] = before if rises and not may_rise else layer
        may_rise = may_rise and not rises
    return now


def last_speakers(most: int, recent: Sequence[str], me: str, pinned: str | None = None) -> frozenset[str] | None:
    """Whose cameras flow to `me` where only those of `most` people do; None: everybody's. `recent`: the last speaker first.

    Whom `me` has `pinned` is one of them, whoever speaks.
    """
    if most == 0:
        return None
    ordered = [*([pinned] if pinned else []), *(participant for participant in recent if participant not in (me, pinned))]
    return frozenset(ordered[:most])


def in_order(pictures: Collection[tuple[str, str]], shown: Sequence[tuple[str, str]] | None, recent: Sequence[str]) -> list[tuple[str, str]]:
    """Pictures (participant, source) by importance: as the page lists them, else by who spoke last."""
    if shown is not None:
        places = {picture: place for place, picture in enumerate(shown)}
        return sorted((picture for picture in pictures if picture in places), key=places.__getitem__)
    if len(pictures) < 2:
        return list(pictures)
    places_of = {participant: place for place, participant in enumerate(recent)}
    return sorted(pictures, key=lambda picture: places_of.get(picture[0], len(places_of)))
