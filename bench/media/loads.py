"""The loads: who publishes what to how many, as the figures name them."""

from __future__ import annotations

from dataclasses import dataclass, replace

VIDEO_SIZE, AUDIO_SIZE = 1200, 160  # octets of a packet in clear
PICTURE = 8  # packets at once: one picture
RIDS = ("q", "h", "f")  # of the layers of a picture, worst first


@dataclass(frozen=True)
class Pace:
    """How one stream is sent: packets a second, octets of each in clear, how many at once, and how many are one picture (0: sound)."""

    kind: str
    rate: int
    size: int
    burst: int
    frame: int


@dataclass(frozen=True)
class Load:
    """`publishers`, each heard by `listeners` of its own, or, in meetings of `meeting` people, by all others of theirs.

    Each publishes one stream, `rate` packets a second and `burst` at once, or all of `several`.

    `loss` is the share that gets lost each way, `feedback`: listeners ask again and report. `blocked`: the server's event loop stands still
    for 40 ms of every 240; `recorded`: everything is recorded too. Both concern only servers that have such a thing; `traffic` names the
    load whose traffic is the same without them.

    `layers`: the picture that each publishes comes in these encodings at once, worst first; a listener is sent one of them, another each second.
    """

    name: str
    publishers: int
    listeners: int
    rate: int
    size: int = VIDEO_SIZE
    burst: int = PICTURE
    kind: str = "video"
    meeting: int = 0
    loss: float = 0.0
    feedback: bool = False
    blocked: bool = False
    recorded: bool = False
    traffic: str = ""
    several: tuple[Pace, ...] = ()
    layers: tuple[Pace, ...] = ()

    @property
    def paces(self) -> tuple[Pace, ...]:
        """What each publisher sends."""
        return self.layers or self.several or (Pace(self.kind, self.rate, self.size, self.burst, PICTURE if self.kind == "video" else 0),)

    @property
    def tracks(self) -> int:
        """How many sources each publisher has."""
        return len(self.several) or 1

    def companions(self, number: int) -> list[int]:
        """Whom this publisher hears in its meeting."""
        first = number - number % self.meeting
        return [other for other in range(first, first + self.meeting) if other != number]

    @property
    def features(self) -> bool:
        """Is this load one of those that have everything on?"""
        return self.name.startswith("features-")

    @property
    def case(self) -> str:
        """The load as a case names it."""
        return self.name.removeprefix("features-")


_ONE, _FIVE, _TWENTY = Load("S1", 20, 1, 1000), Load("S2", 4, 5, 1000), Load("S3", 1, 20, 1000)
_LAYERS = (Pace("video", 125, VIDEO_SIZE, 1, 1), Pace("video", 375, VIDEO_SIZE, 3, 3), Pace("video", 1000, VIDEO_SIZE, PICTURE, PICTURE))
_SWITCHED = (replace(_FIVE, name="layers"), replace(_ONE, name="layers-S1"), replace(_TWENTY, name="layers-S3"))

LOADS = {
    load.name: load
    for load in (
        _ONE,
        _FIVE,
        _TWENTY,
        Load("S4", 20, 10, 50, AUDIO_SIZE, burst=1, kind="audio"),
        Load("S5", 4, 20, 2000),
        Load("S6", 10, 9, 200, meeting=10),
        replace(_FIVE, name="S7", loss=0.02, feedback=True),
        replace(_FIVE, name="S8", blocked=True, traffic="S2"),
        replace(_TWENTY, name="S9", recorded=True, traffic="S3"),
        replace(_FIVE, name="uniform", burst=1),
        *(replace(load, name=f"features-{load.name}", loss=0.02, feedback=True) for load in (_ONE, _FIVE, _TWENTY)),
        *(replace(load, name=f"features-{load.name}", loss=0.02, feedback=True, layers=_LAYERS) for load in _SWITCHED),
    )
}
