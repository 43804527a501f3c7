"""Every message of the two sockets between a page and the server: one frozen dataclass each, mirrored by static/calls/protocol.js.

A message is a JSON object (RFC 8259) of at most 48 KiB whose member `kind` names it. What a page sends is read without mercy:
no name twice, no unknown kind, no unknown or missing field, no value of another type or size, and above all no word of the page
on who it is. Identity, role and tenant come from the ticket; a page that claims them is refused by the claim's name (`IDENTITY`).
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from tenants.errors import Refused

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
    """All pictures that I show now, the most important first; no other is sent to me. Who never says it is sent all."""

    kind = "show"
    tiles: Annotated[list[Tile], Limit(0, MOST_TILES)]


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
class Applied(Message):
    """A decision has reached the packets of this source."""

    kind = "applied"
    source: str
    mark: str


@dataclass(frozen=True)
class Closed(Message):
    """The last message of a socket. In a call: ended, removed, signed-out, replaced, left or worker-lost; only after the last come back."""

    kind = "closed"
    reason: str


Table = Mapping[str, type[Message]]


def _table(*messages: type[Message]) -> Table:
    return types.MappingProxyType({message.kind: message for message in messages})


LOBBY_SENT = _table(Decide, Ready)
LOBBY_HEARD = _table(Lobby, Answered, Admitted, Denied, Moved, Closed)
CALL_SENT = _table(Publish, Subscribed, Restart, Mute, Show, Decide, Leave, Admit, Deny, Remove, End)
CALL_HEARD = _table(Welcome, Joined, Left, PersonChanged, Waiting, Published, Offer, State, Speaking, Recording, Applied, Closed)

TO_WORKER = frozenset({"publish", "subscribed", "restart", "mute", "show"})
FROM_WORKER = frozenset({"joined", "left", "person", "published", "offer", "state", "speaking", "recording", "applied", "refused", "closed"})


class Malformed(Refused):
    """What the page sent is no message of the protocol: it is told the code, and its socket is closed."""


def parse(text: str | bytes | None, table: Table) -> Message:
    """The message in one frame of a page. Raises Malformed with a code and, where it has one, the name of the field.

    Codes: `not-text`, `too-large`, `not-json`, `duplicate-key`, `not-an-object`, `unknown-kind`, `identity-claimed`,
    `unknown-field`, `missing-field`, `wrong-type`, `out-of-range`.
    """
    if not isinstance(text, str):
        raise Malformed("not-text")
    if len(text) > LARGEST or len(text.encode(errors="replace")) > LARGEST:
        raise Malformed("too-large", limit=LARGEST)
    try:
        content = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Malformed("not-json") from None
    if not isinstance(content, dict):
        raise Malformed("not-an-object")
    kind = content.pop("kind", None)
    message = table.get(kind) if isinstance(kind, str) else None
    if message is None:
        raise Malformed("unknown-kind")
    made = _made(message, content)
    assert isinstance(made, Message)
    return made


def written(message: Message) -> dict[str, Any]:
    """A message as the object that goes over the wire."""
    return {"kind": message.kind, **asdict(message)}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("duplicate-key")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # RFC 8259 section 6 knows no NaN and no Infinity


@cache
def _hints(made: type) -> dict[str, Any]:
    """Field -> type with its limits, in the order of the fields."""
    hints = get_type_hints(made, include_extras=True)
    return {field.name: hints[field.name] for field in fields(made)}


def _made(made: type, content: dict[str, Any]) -> Any:
    hints = _hints(made)
    for name in content:
        if name not in hints:
            # The name of an unknown field is the page's own text, so it is not repeated.
            raise Malformed("identity-claimed", field=name) if name in IDENTITY else Malformed("unknown-field")
    for name in hints:
        if name not in content:
            raise Malformed("missing-field", field=name)
    return made(**{name: _value(hint, content[name], name) for name, hint in hints.items()})


def _value(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type that a field asks for. A bool is no number, and no number is taken for another type."""
    if get_origin(hint) is Annotated:
        hint, limit = get_args(hint)
        checked = _value(hint, value, name)
        if not limit.least <= (checked if isinstance(checked, int) else len(checked)) <= limit.most:
            raise Malformed("out-of-range", field=name)
        return checked
    if get_origin(hint) is Literal:
        if isinstance(value, str) and value in get_args(hint):
            return value
        raise Malformed("out-of-range" if isinstance(value, str) else "wrong-type", field=name)
    if get_origin(hint) in (types.UnionType, Union):
        return None if value is None else _value(get_args(hint)[0], value, name)
    if get_origin(hint) is list and isinstance(value, list):
        return [_value(get_args(hint)[0], member, name) for member in value]
    if get_origin(hint) is dict and isinstance(value, dict):
        return {_value(str, key, name): _value(get_args(hint)[1], member, name) for key, member in value.items()}
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return _made(hint, value)
    if type(value) is not hint:
        raise Malformed("wrong-type", field=name)
    if hint is str and not _is_unicode(value):
        raise Malformed("wrong-type", field=name)
    return value


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
