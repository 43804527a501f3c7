"""One member of a room: the messages it sends, and what the roster says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tenants.errors import Refused

from .. import sdp
from .publisher import Publisher
from .subscriber import Subscriber

if TYPE_CHECKING:
    from . import Room

Message = dict[str, Any]
Send = Callable[[Message], None]
Shown = Mapping[tuple[str, str], int]  # (participant, source) -> height in pixels, the most important first

MOST_TILES = 100
MOST_HEIGHT = 8192


class Member:
    """A registration in a room. Identity was proven before `Room.admit`; nothing a client sends can change it."""

    def __init__(self, room: Room, participant: str, person_id: str, name: str, role: str, send: Send) -> None:
        self.room, self.participant, self.person_id, self.name, self.role, self.send = room, participant, person_id, name, role, send
        self.marks: dict[str, str] = {}
        self.muted: set[str] = set()
        self.shown: Shown | None = None
        self.pinned: str | None = None
        self.publisher = Publisher(self)
        self.subscriber = Subscriber(self)

    def person(self) -> Message:
        """The protocol's Person."""
        live = {track.source for track in self.publisher.tracks.values()} - self.muted
        sources = {source: source in live for source in ("mic", "cam", "screen")}
        return {"participant": self.participant, "name": self.name, "role": self.role, **sources, "marks": dict(self.marks)}

    def publish(self, message: Mapping[str, Any]) -> None:
        """The client's offer for what it sends: {rev, sdp, tracks: [{mid, source}]}. Answers with `published`.

        A stale rev is ignored. Raises Refused (`malformed`, `sdp-...`); then nothing has changed.
        """
        self._require_membership()
        self.publisher.publish(_whole(message, "rev"), message.get("sdp"), _declared(message.get("tracks")))

    def subscribed(self, message: Mapping[str, Any]) -> None:
        """The client's answer to our newest offer: {rev, sdp}. Stale ones are ignored. Raises Refused."""
        self._require_membership()
        self.subscriber.subscribed(_whole(message, "rev"), message.get("sdp"))

    def restart(self) -> None:
        """The client lost its way to us: new ICE credentials for what it receives, or a new connection if that was closed."""
        self._require_membership()
        self.subscriber.restart()

    def mute(self, message: Mapping[str, Any]) -> None:
        """The client switched a source off or on: {source, muted}. Roster state; silence or nothing is sent meanwhile."""
        self._require_membership()
        source, muted = message.get("source"), message.get("muted")
        if not isinstance(source, str) or source not in sdp.KINDS or not isinstance(muted, bool):
            raise Refused("malformed")
        if muted != (source in self.muted):
            (self.muted.add if muted else self.muted.discard)(source)
            self.room.tell_person(self)

    def show(self, message: Mapping[str, Any]) -> None:
        """The pictures that the client's page shows now: {tiles: [{participant, source, height}], pinned}, the most important first.

        They stand in `shown`, which is None until then, the participant who is pinned in `pinned`. Raises Refused("malformed"); then nothing
        has changed.
        """
        self._require_membership()
        tiles, pinned = _tiles(message.get("tiles")), message.get("pinned")
        if not isinstance(pinned, str | None):
            raise Refused("malformed")
        self.shown, self.pinned = tiles, pinned
        self.subscriber.show()

    def leave(self, reason: str) -> None:
        """Stop everything at once; `wait_closed` waits for the goodbyes."""
        self.publisher.close(reason)
        self.subscriber.close()

    async def wait_closed(self) -> None:
        """Return when both connections are closed."""
        for link in (*self.publisher.closing, *self.subscriber.closing):
            await link.wait_closed()

    def _require_membership(self) -> None:
        if not self.room.is_member(self):
            raise Refused("not-a-member", 403)


def _whole(message: Mapping[str, Any], name: str) -> int:
    value = message.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise Refused("malformed")
    return value


def _tiles(tiles: object) -> Shown:
    """Each picture once; where one stands twice on a page, its greater height counts."""
    if not isinstance(tiles, list) or len(tiles) > MOST_TILES:
        raise Refused("malformed")
    found: dict[tuple[str, str], int] = {}
    for tile in tiles:
        who, source, height = (tile.get(name) for name in ("participant", "source", "height")) if isinstance(tile, dict) else (None, None, None)
        if not isinstance(who, str) or not isinstance(source, str) or sdp.KINDS.get(source) != "video":
            raise Refused("malformed")
        if not isinstance(height, int) or isinstance(height, bool) or not 1 <= height <= MOST_HEIGHT:
            raise Refused("malformed")
        found[who, source] = max(height, found.get((who, source), 0))
    return found


def _declared(tracks: object) -> dict[str, str]:
    """mid -> source; each once, no more than an offer may have sections."""
    if not isinstance(tracks, list) or len(tracks) > sdp.MOST_SECTIONS:
        raise Refused("malformed")
    found: dict[str, str] = {}
    for track in tracks:
        mid, source = (track.get("mid"), track.get("source")) if isinstance(track, dict) else (None, None)
        if not isinstance(mid, str) or not isinstance(source, str):
            raise Refused("malformed")
        if source not in sdp.KINDS or source in found.values() or mid in found:
            raise Refused("sdp-track-unknown")
        found[mid] = source
    return found
