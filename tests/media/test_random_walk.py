"""Every signalling message in every state, in random order from a seed, held against a model of who is here and what they publish.

After each step: the roster is the model's, no copy flows that the model does not know, and nothing was heard that was not published when it
was sent. Every few steps the walk rests until all that should flow does: then the edges are the model's, no more and no less.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from calls.media import conversation, sdp
from calls.media.client import Sending
from calls.media.edge import Edge
from calls.media.room import Room
from calls.media.sink import Packet
from tenants.errors import Refused

from .peers import Connection, Peer

NAMES = ("hana", "gail", "gus", "dora")
SOURCES = tuple(sdp.KINDS)
STEPS, REST_EVERY = 150, 10
WRONG: tuple[dict[str, Any], ...] = (
    {},
    {"kind": None},
    {"kind": "fly"},
    {"kind": "publish"},
    {"kind": "publish", "rev": 10**6, "sdp": "v=0", "tracks": []},
    {"kind": "publish", "rev": -1, "sdp": "", "tracks": []},
    {"kind": "publish", "rev": 10**6, "sdp": 7, "tracks": [{"mid": "0", "source": "mic"}]},
    {"kind": "publish", "rev": True, "sdp": "v=0", "tracks": None},
    {"kind": "subscribed", "rev": "1", "sdp": "v=0"},
    {"kind": "subscribed"},
    {"kind": "mute", "source": "nose", "muted": True},
    {"kind": "mute", "source": ["mic"], "muted": True},
    {"kind": "mute", "source": "mic", "muted": None},
    {"kind": "show", "tiles": None},
    {"kind": "show", "tiles": [{"participant": "hana", "source": "mic", "height": 90}]},
    {"kind": "show", "tiles": [{"participant": "hana", "source": "cam", "height": 0}] * 101},
)
IGNORED: tuple[dict[str, Any], ...] = (
    {"kind": "publish", "rev": 0, "sdp": "v=0", "tracks": []},  # older than any that a peer sends
    {"kind": "subscribed", "rev": 10**6, "sdp": "v=0"},
)


class Walker(Peer):
    """A peer that remembers the serial numbers of what it heard, whoever they came from."""

    def __init__(self, room: Room, participant: str) -> None:
        self.heard: list[int] = []
        super().__init__(room, participant)

    async def answer(self, offer: dict[str, Any]) -> None:
        """Whoever has gone in the meantime is not listened to."""
        try:
            await super().answer(offer)
        except Refused:
            assert not self.room.is_member(self.member)

    def _sub_rtp(self, clear: bytes) -> None:
        packet = Packet.parse(clear)
        if packet.payload:
            self.heard.append(int.from_bytes(packet.payload[-4:]))
        self._note()

    def _pub_rtcp(self, clear: bytes) -> None:
        """Each picture is a key frame here, and nothing is lost: nobody need be answered."""


@dataclass
class Here:
    """The model of one member."""

    peer: Walker
    live: set[str] = field(default_factory=set)
    muted: set[str] = field(default_factory=set)

    def row(self) -> tuple[bool, ...]:
        return tuple(source in self.live - self.muted for source in ("mic", "cam", "screen"))


class Walk:
    def __init__(self, seed: int, edge: Edge) -> None:
        self.random, self.edge = random.Random(seed), edge
        self.room = Room("call", edge)
        self.here: dict[str, Here] = {}
        self.gone: list[Walker] = []
        self.sent: dict[int, tuple[str, str, bool]] = {}
        self.done: list[str] = []

    def act(self, peer: Peer, message: dict[str, Any]) -> None:
        conversation.act(peer.member, message)

    # Steps; each returns when the room has taken it.
    async def join(self, name: str) -> None:
        """Also in the place of oneself from before, who is told so."""
        before = self.here.get(name)
        self.here[name] = Here(Walker(self.room, name))
        if before is not None:
            assert before.peer.messages[-1] == {"kind": "closed", "reason": "replaced"}
            await self._went(before.peer)

    async def leave(self, name: str) -> None:
        if name in self.here:
            peer = self.here.pop(name).peer
            await self.room.remove(name, "left")
            await self._went(peer)

    async def _went(self, peer: Walker) -> None:
        self.gone.append(peer)
        await peer.close()

    async def publish(self, name: str) -> None:
        """Switch some sources on and off, in one offer."""
        if name not in self.here:
            return
        one = self.here[name]
        if one.peer.pub.transport is None:
            await one.peer.pub.bind()
        for source in self.random.sample(SOURCES, self.random.randint(1, 3)):
            if source not in one.peer.sending:
                place = len(one.peer.sending)
                one.peer.sending[source] = Sending(source, str(place), self.random.randrange(1, 2**32))
            one.peer.sending[source].live = source not in one.live
            one.live ^= {source}
        if one.peer.pub.transport is not None and name in self.here:
            self.act(one.peer, one.peer.offer_message())

    async def say(self, name: str) -> None:
        """What a page says besides its descriptions."""
        if name not in self.here:
            return
        one = self.here[name]
        source, muted = self.random.choice(SOURCES), self.random.random() < 0.5
        tiles = [{"participant": who, "source": "cam", "height": self.random.randint(1, 8192)} for who in self.random.sample(NAMES, 2)]
        match self.random.choice(("mute", "show", "restart")):
            case "mute":
                self.act(one.peer, {"kind": "mute", "source": source, "muted": muted})
                one.muted = one.muted | {source} if muted else one.muted - {source}
            case "show":
                self.act(one.peer, {"kind": "show", "tiles": tiles})
            case "restart":
                self.act(one.peer, {"kind": "restart"})

    async def wrong(self, name: str) -> None:
        """What is malformed is refused, what is stale ignored; either way nothing has changed."""
        if name not in self.here:
            return
        before = self.room.people(), self.room.edges()
        for message in self.random.sample(WRONG, 3):
            with pytest.raises(Refused):
                self.act(self.here[name].peer, message)
        for message in IGNORED if self.here[name].peer.rev else IGNORED[1:]:
            self.act(self.here[name].peer, message)
        assert (self.room.people(), self.room.edges()) == before

    async def haunt(self, name: str) -> None:
        """Whoever is gone says something: nobody listens."""
        for peer in self.gone[-3:]:
            for message in ({"kind": "restart"}, {"kind": "mute", "source": "mic", "muted": True}, {"kind": "show", "tiles": []}):
                with pytest.raises(Refused, match="not-a-member"):
                    self.act(peer, message)
            if peer.sending:
                with pytest.raises(Refused, match="not-a-member"):
                    self.act(peer, peer.offer_message())

    async def dawdle(self, name: str) -> None:
        """A page answers no offer for a while, or goes on with it."""
        if name in self.here:
            await self._answering(self.here[name].peer, not self.here[name].peer.answering)

    async def _answering(self, peer: Walker, answering: bool) -> None:
        was, peer.answering = peer.answering, answering
        if answering and not was and peer.said("offer"):
            await peer.answer(peer.said("offer")[-1])

    async def reload(self, name: str) -> None:
        """The page loses its publishing connection and has published nothing until it does so again."""
        if name not in self.here or self.here[name].peer.pub.dtls.state != "connected":
            return
        one = self.here[name]
        await one.peer.pub.close()
        await one.peer.until(lambda: one.peer.member.publisher.link is None)
        one.live.clear()
        for sending in one.peer.sending.values():
            sending.live = False
        one.peer.pub = Connection(one.peer.weather, lambda clear: None, one.peer._pub_rtcp)

    async def send(self, name: str) -> None:
        """One packet of everything, published now or not."""
        if name not in self.here or self.here[name].peer.pub.dtls.state != "connected":
            return
        one = self.here[name]
        refused = self.edge.counters["ssrc-undeclared"]
        for source in one.peer.sending:
            serial = len(self.sent)
            self.sent[serial] = (name, source, source in one.live)
            one.peer.send(source, serial, key=True)
        dead = len(set(one.peer.sending) - one.live)
        link = one.peer.member.publisher.link
        if link is not None and link.state == "connected":
            await one.peer.until(lambda: self.edge.counters["ssrc-undeclared"] >= refused + dead)

    # What holds.
    def expected(self) -> set[tuple[str, str, str]]:
        """Whoever is here receives everything that the others publish."""
        return {(who, source, to) for who, one in self.here.items() for source in one.live for to in self.here if to != who}

    def check(self) -> None:
        rows = {person["participant"]: tuple(person[source] for source in ("mic", "cam", "screen")) for person in self.room.people()}
        assert rows == {name: one.row() for name, one in self.here.items()}
        assert self.room.edges() <= self.expected()
        for name, one in self.here.items():
            assert all(self.sent[serial][0] != name and self.sent[serial][2] for serial in one.peer.heard)

    async def rest(self) -> None:
        """Everybody answers; then what flows is exactly what should, and what is said is heard."""
        for one in self.here.values():
            await self._answering(one.peer, True)
        for name, one in self.here.items():
            await one.peer.until(lambda: self.room.edges() == self.expected())
            if any(to == name for _, _, to in self.expected()):
                await one.peer.until(lambda one=one: one.peer.sub.dtls.state == "connected")  # type: ignore[misc]  # reason: bound per turn
        for name, one in self.here.items():
            if one.live:
                await one.peer.until(lambda one=one: one.peer.pub.dtls.state == "connected")  # type: ignore[misc]  # reason: bound per turn
                await self._said(name)

    async def _said(self, name: str) -> None:
        """One packet of everything; sound reaches everybody, pictures whoever shows them."""
        first = len(self.sent)
        await self.send(name)
        sounds = {serial for serial, (_, source, live) in self.sent.items() if serial >= first and live and sdp.KINDS[source] == "audio"}
        for other, one in self.here.items():
            if other != name:
                await one.peer.until(lambda one=one: sounds <= set(one.peer.heard))  # type: ignore[misc]  # reason: bound per turn

    async def run(self) -> None:
        steps = (
            self.join,
            self.join,
            self.publish,
            self.publish,
            self.publish,
            self.say,
            self.say,
            self.wrong,
            self.haunt,
            self.dawdle,
            self.send,
            self.send,
        )
        rarely = (self.leave, self.reload)
        for number in range(STEPS):
            step = self.random.choice(rarely if self.random.random() < 0.15 else steps)
            if step == self.join and len(self.here) == len(NAMES) and self.random.random() < 0.5:
                continue
            name = self.random.choice(NAMES)
            self.done.append(f"{step.__name__} {name}")
            await step(name)
            self.check()
            if number % REST_EVERY == REST_EVERY - 1:
                await self.rest()
                self.check()


@pytest.mark.parametrize("seed", range(1, 4))
async def test_through_any_messages_the_roster_is_who_is_here_and_what_flows_is_what_is_published(seed: int) -> None:
    edge = await Edge.bind("127.0.0.1")
    walk = Walk(seed, edge)

    try:
        await walk.run()
    except BaseException as error:
        error.add_note(f"seed {seed}: {', '.join(walk.done[-15:])}")
        raise

    everybody = [*walk.gone, *(one.peer for one in walk.here.values())]
    assert any(peer.heard for peer in everybody), "the walk came to where media flow"
    assert edge.counters["faults"] == 0
    for one in walk.here.values():
        await one.peer.close()
    await walk.room.close("ended")
    assert (walk.room.people(), walk.room.edges(), edge._links) == ([], set(), {})
    await edge.close()
