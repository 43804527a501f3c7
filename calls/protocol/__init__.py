"""Every message of the two sockets between a page and the server: one frozen dataclass each, mirrored by static/calls/protocol.js.

A message is a JSON object (RFC 8259) of at most 48 KiB whose member `kind` names it. `reading` makes one of what a page sends.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

VERSION = "cleac.1"  # the subprotocol that both sides name
TICKET = "ticket."  # prefix of the subprotocol that carries the ticket
LARGEST = 48 * 1024  # bytes of UTF-8
MOST_TILES = 100

# What only the server knows. A message may have such a field only where it names somebody else: a host's command, a tile.
IDENTITY = frozenset(
    {"me", "id", "user", "person", "person_id", "participant", "participant_id", "name", "email", "role", "roles", "tenant", "tenant_id"}
    | {"actor", "by", "sender", "session", "epoch", "call", "meeting", "host"}
)


@dataclass(frozen=True)
class Limit:
    """Least and most: of a number its value, of a text its characters, of a list its members."""

    least: int
    most: int


Revision = Annotated[int, Limit(0, 2**31 - 1)]
Sdp = Annotated[str, Limit(1, 32 * 1024)]
Id = Annotated[str, Limit(36, 36)]
Key = Annotated[str, Limit(1, 40)]
Source = Literal["mic", "cam", "screen", "screen-audio"]
Picture = Literal["cam", "screen"]
Height = Annotated[int, Limit(1, 8192)]
Mark = Literal["captured", "agreed", "declined", "undecided", "starting", "stopping", "paused", "fault"]


@dataclass(frozen=True)
class Message:
    """What every message has. `kind` is its name on the wire and belongs to the class."""

    kind: ClassVar[str] = ""


# Parts of messages


@dataclass(frozen=True)
class SentTrack:
    mid: Annotated[str, Limit(1, 16)]
    source: Source


@dataclass(frozen=True)
class HeardTrack:
    mid: str
    participant: str
    source: str


@dataclass(frozen=True)
class Tile:
    """A picture that stands on the page now; `height` in the pixels of the screen."""

    participant: Id
    source: Picture
    height: Height


@dataclass(frozen=True)
class Person:
    participant: str
    name: str
    role: str
    mic: bool
    cam: bool
    screen: bool
    marks: dict[str, str]


@dataclass(frozen=True)
class Waiter:
    participant: str
    name: str


@dataclass(frozen=True)
class Card:
    """One question: the frozen words of its notice, and what this person answered so far."""

    purpose: str
    notice: str
    title: str
    what: str
    why: str
    who_sees: str
    keep_text: str
    answer: bool | None


# From the page


@dataclass(frozen=True)
class Decide(Message):
    """Yes or no to one purpose."""

    kind = "decide"
    purpose: Key
    granted: bool


@dataclass(frozen=True)
class Ready(Message):
    """Answers given, devices checked: I wait to be let in."""

    kind = "ready"


@dataclass(frozen=True)
class Publish(Message):
    """An offer of what I send, with the source of each m-line."""

    kind = "publish"
    rev: Revision
    sdp: Sdp
    tracks: Annotated[list[SentTrack], Limit(0, 8)]


@dataclass(frozen=True)
class Subscribed(Message):
    """My answer to the server's offer of the same revision."""

    kind = "subscribed"
    rev: Revision
    sdp: Sdp


@dataclass(frozen=True)
class Restart(Message):
    """What I receive stopped arriving: start ICE anew."""

    kind = "restart"


@dataclass(frozen=True)
class Mute(Message):
    """A source of mine sends silence from now on, or no more silence."""

    kind = "mute"
    source: Source
    muted: bool


@dataclass(frozen=True)
class Show(Message):
    """All pictures that I show now, the most important first; no other is sent to me. Who never says it is sent all.

    `pinned`: whom I want to see, whoever speaks.
    """

    kind = "show"
    tiles: Annotated[list[Tile], Limit(0, MOST_TILES)]
    pinned: Id | None


@dataclass(frozen=True)
class Leave(Message):
    kind = "leave"


@dataclass(frozen=True)
class Admit(Message):
    kind = "admit"
    participant: Id


@dataclass(frozen=True)
class Deny(Message):
    kind = "deny"
    participant: Id


@dataclass(frozen=True)
class Remove(Message):
    kind = "remove"
    participant: Id


@dataclass(frozen=True)
class End(Message):
    """End the call for everybody."""

    kind = "end"


# To the page


@dataclass(frozen=True)
class Lobby(Message):
    """Where the person stands: their own state, and what they are asked. Nothing of anybody else but the host's name."""

    kind = "lobby"
    title: str
    host: str
    state: str
    waiting_position: int | None
    cards: list[Card]


@dataclass(frozen=True)
class Answered(Message):
    """A decision was written down."""

    kind = "answered"
    purpose: str
    granted: bool


@dataclass(frozen=True)
class Admitted(Message):
    kind = "admitted"


@dataclass(frozen=True)
class Denied(Message):
    kind = "denied"


@dataclass(frozen=True)
class Moved(Message):
    """The place in the queue, counted from 1."""

    kind = "moved"
    position: int


@dataclass(frozen=True)
class Welcome(Message):
    """First message in a call. `people` holds oneself; the others follow as `joined`, from the worker."""

    kind = "welcome"
    me: str
    title: str
    started_at: str
    people: list[Person]
    media: dict[str, list[dict[str, str]]]


@dataclass(frozen=True)
class Joined(Message):
    kind = "joined"
    person: Person


@dataclass(frozen=True)
class Left(Message):
    kind = "left"
    participant: str
    reason: str


@dataclass(frozen=True)
class PersonChanged(Message):
    """Something of this person changed: microphone, camera, screen or a mark."""

    kind = "person"
    person: Person


@dataclass(frozen=True)
class Waiting(Message):
    """Who waits to be let in; told to hosts only."""

    kind = "waiting"
    people: list[Waiter]


@dataclass(frozen=True)
class Published(Message):
    """The server's answer to `publish` of the same revision."""

    kind = "published"
    rev: int
    sdp: str


@dataclass(frozen=True)
class Offer(Message):
    """What there is to receive, the whole list each time."""

    kind = "offer"
    rev: int
    sdp: str
    tracks: list[HeardTrack]


@dataclass(frozen=True)
class State(Message):
    """State of one of the two peer connections, as the worker sees it."""

    kind = "state"
    pc: str
    state: str


@dataclass(frozen=True)
class Speaking(Message):
    """Who speaks now, the loudest first; said when it changes. Nobody who is muted."""

    kind = "speaking"
    participants: list[str]


@dataclass(frozen=True)
class Recording(Message):
    kind = "recording"
    state: str
    since: str


@dataclass(frozen=True)
class Hostless(Message):
    """Nobody may host this call any more, and it ends after so many seconds; null: somebody may again."""

    kind = "hostless"
    seconds: int | None


@dataclass(frozen=True)
class Applied(Message):
    """A decision has reached the packets of this source."""

    kind = "applied"
    source: str
    mark: str


@dataclass(frozen=True)
class Closed(Message):
    """The last message of a socket. In a call: ended, removed, signed-out, replaced, left, worker-lost or busy; only after the last two come back."""

    kind = "closed"
    reason: str


Table = Mapping[str, type[Message]]


def _table(*messages: type[Message]) -> Table:
    return types.MappingProxyType({message.kind: message for message in messages})


LOBBY_SENT = _table(Decide, Ready)
LOBBY_HEARD = _table(Lobby, Answered, Admitted, Denied, Moved, Closed)
CALL_SENT = _table(Publish, Subscribed, Restart, Mute, Show, Decide, Leave, Admit, Deny, Remove, End)
CALL_HEARD = _table(Welcome, Joined, Left, PersonChanged, Waiting, Hostless, Published, Offer, State, Speaking, Recording, Applied, Closed)

TO_WORKER = frozenset({"publish", "subscribed", "restart", "mute", "show"})
FROM_WORKER = frozenset({"joined", "left", "person", "published", "offer", "state", "speaking", "recording", "applied", "refused", "closed"})


def written(message: Message) -> dict[str, Any]:
    """A message as the object that goes over the wire."""
    return {"kind": message.kind, **asdict(message)}
