"""One person in one call, by the same requests and messages as a page: link, cards, lobby, room, media, decisions in mid-call, leaving.

Nothing here is believed for a fixed time: every step waits until the server has said what it waits for, within a generous limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from ..peer import (
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    parse_rtcp,
)
from ..sink import Packet
from . import description, devices
from .connection import Connection
from .description import Sending
from .web import Browser, Socket, Unexpected

PATIENCE = 90.0  # seconds until what must happen counts as not happening
CONTEXT = re.compile(r'<script id="room-context" type="application/json">(.*?)</script>', re.DOTALL)
PROTOCOL = "cleac.1"
NTP_OFFSET = 2_208_988_800  # seconds from 1900 to 1970
REPORT_EVERY = 1.0  # seconds between two sender reports
COMES_BACK = frozenset({"worker-lost", "busy"})  # reasons for which a call closed and a page comes back
PAUSE = 0.5  # seconds before it tries again
MOST_LATE = 0.2  # seconds after which what was to be captured is left out instead of sent late
KEPT_FOR_RETRANSMISSION = 500  # packets of each source


class Participant:
    """A headless person. `number` (0 to 127) is burned into the picture and decides the pitch of the beeps.

    Raises, from every step: Unexpected for a refusal or an ended socket, TimeoutError for what never came.
    """

    def __init__(self, name: str, number: int, base: str) -> None:
        self.name, self.number = name, number
        self.browser = Browser(base)
        self.people: dict[str, dict[str, Any]] = {}  # participant -> person, as last told
        self.waiting: list[dict[str, str]] = []
        self.received: Counter[tuple[str, str]] = Counter()  # (participant, source) -> packets that arrived
        self.recording = "off"
        self.me = self.call = ""
        self.sending: dict[str, Sending] = {}
        self._room: dict[str, Any] = {}
        self._places: dict[str, tuple[str, str]] = {}
        self._states: set[str] = set()
        self._refused: list[str] = []
        self._socket: Socket | None = None
        self._over = ""
        self._rev = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pub = Connection(lambda clear: None, self._pub_control)
        self._sub = Connection(self._heard_media, lambda clear: None)

    # Waiting

    async def until(self, what: str, true: Callable[[], object]) -> None:
        """Return when `true()` holds; it is asked after everything that arrives. Raises TimeoutError and Unexpected with `what`."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            if self._over or self._refused:
                raise Unexpected(f"{self.name}: {what}", code=self._over or self._refused[0])
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.name}: {what} did not happen")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(left, 1.0))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A part of this person that ends by a fault ends the person: whoever waits is told."""
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._over = self._over or type(fault).__name__
        self._changed.set()

    # Into the room

    async def open_link(self, link: str) -> None:
        """As a guest: the personal link's secret for a session, then the page of the meeting."""
        await self.browser.get("/j")
        opened = await self.browser.post("/j/open", {"secret": urlsplit(link).fragment})
        await self._arrive(str(opened["next"]))

    async def sign_in(self, link: str, room: str) -> None:
        """As staff: an address that signs in, then the address of the room."""
        await self.browser.get(link)
        await self._arrive(room)

    async def _arrive(self, address: str) -> None:
        found = CONTEXT.search(await self.browser.get(address))
        if found is None:
            raise Unexpected(f"{self.name}: this meeting lets nobody in")
        self._room = json.loads(unescape(found[1]))

    async def answer(self, granted: Callable[[str], bool]) -> None:
        """The lobby: every card is answered by `granted(purpose)`, then wait to be let in."""
        socket = await self._enter("lobby", "lobby_url")
        cards: dict[str, bool] = {}
        while (message := await socket.receive()) is not None:
            if message["kind"] == "lobby":
                cards = {card["purpose"]: granted(card["purpose"]) for card in message["cards"]}
                for purpose, yes in cards.items():
                    socket.send({"kind": "decide", "purpose": purpose, "granted": yes})
            elif message["kind"] == "answered":
                cards.pop(message["purpose"], None)
            elif message["kind"] == "admitted":
                await socket.close()
                return
            elif message["kind"] == "refused":
                raise Unexpected(f"{self.name}: in the lobby", code=message["code"])
            if message["kind"] in ("lobby", "answered") and not cards:
                socket.send({"kind": "ready"})
        raise Unexpected(f"{self.name}: the lobby closed", socket.closed_with)

    async def join(self, *sources: str) -> None:
        """The room: publish these sources, and receive whatever there is. Returns when our media flows."""
        self._socket = await self._enter("call", "call_url")
        self._spawn(self._listen(self._socket))
        await self.until("the welcome", lambda: self.me)
        await self._pub.bind()
        self._rev += 1
        for source in sources:
            self.sending[source] = Sending(source, str(len(self.sending)), secrets.randbelow(2**32 - 1) + 1)
        tracks = [{"mid": one.mid, "source": one.source} for one in self.sending.values()]
        self._say("publish", rev=self._rev, sdp=description.offer(self._pub, self.sending.values()), tracks=tracks)
        await self.until("a connection for our media", lambda: self._pub.connected and "pub" in self._states)
        if "mic" in self.sending:
            self._spawn(self._speak(self.sending["mic"]))
        if "cam" in self.sending:
            self._spawn(self._show(self.sending["cam"]))

    async def come_back(self) -> None:
        """As a page does whose worker was lost: a new ticket and new connections until it is welcome, for the same sources as before.

        Raises Unexpected where the call ended otherwise.
        """
        sources, deadline = list(self.sending), time.monotonic() + PATIENCE
        await self._gone()
        while self._over in COMES_BACK and time.monotonic() < deadline:
            await self._start_over()
            try:
                await self.join(*sources)
            except Unexpected as refused:
                self._over = self._over or refused.code
                await asyncio.sleep(PAUSE)
            else:
                return
        raise Unexpected(f"{self.name}: coming back", code=self._over)

    async def _start_over(self) -> None:
        """Nothing of what was told or sent in the room counts any more."""
        await self.close()
        for told in (self.people, self.waiting, self.received, self.sending, self._places, self._states, self._refused):
            told.clear()
        self.me = self._over = ""
        self._socket = None
        self._pub = Connection(lambda clear: None, self._pub_control)
        self._sub = Connection(self._heard_media, lambda clear: None)

    async def _enter(self, kind: str, address: str) -> Socket:
        given = await self.browser.post(self._room["ticket_url"], {"kind": kind})
        self.call = str(given["call"])
        return await self.browser.socket(self._room[address], [PROTOCOL, f"ticket.{given['ticket']}"])

    # In the room

    def _say(self, kind: str, **fields: object) -> None:
        if self._socket is None:
            raise Unexpected(f"{self.name}: not in the room")
        self._socket.send({"kind": kind, **fields})

    async def admit(self, name: str) -> None:
        """As a host: let in who waits under this name, once somebody does."""
        await self.until(f"{name} waits", lambda: any(one["name"] == name for one in self.waiting))
        self._say("admit", participant=next(one["participant"] for one in self.waiting if one["name"] == name))

    async def decide(self, purpose: str, granted: bool) -> None:
        """Another answer in mid-call. Its effect is told by the marks."""
        self._say("decide", purpose=purpose, granted=granted)

    def marks_of(self, name: str) -> Mapping[str, str]:
        """The marks of somebody in the room, by source; none for who is not there."""
        return next((person["marks"] for person in self.people.values() if person["name"] == name), {})

    def hears(self, name: str, source: str) -> bool:
        """Has anything of this source arrived here?"""
        theirs = [participant for participant, person in self.people.items() if person["name"] == name]
        return any(self.received[participant, source] for participant in theirs)

    async def record(self) -> str:
        """As a host: ask for a recording of this call; returns its id."""
        where = self._room["recordings"]
        made = await self.browser.post(where["url"], {"call": self.call}, {"Cleac-Tenant": where["tenant"]})
        return str(made["id"])

    async def leave(self) -> None:
        self._say("leave")
        await self._gone()

    async def end(self) -> None:
        """As a host: end the call for everybody."""
        self._say("end")
        await self._gone()

    async def _gone(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._over:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: the call did not close")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 1.0)

    async def close(self) -> None:
        """Let everything go, whatever state it is in."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pub.close()
        await self._sub.close()
        if self._socket is not None:
            await self._socket.close()

    # Messages

    async def _listen(self, socket: Socket) -> None:
        while (message := await socket.receive()) is not None:
            await self._hear(message)
            self._changed.set()
        self._over = self._over or f"closed {socket.closed_with}"
        self._changed.set()

    async def _hear(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "welcome":
            self.me = message["me"]
            self.people |= {person["participant"]: person for person in message["people"]}
        elif kind in ("joined", "person"):
            self.people[message["person"]["participant"]] = message["person"]
        elif kind == "left":
            self.people.pop(message["participant"], None)
        elif kind == "waiting":
            self.waiting = message["people"]
        elif kind == "published":
            self._pub.learn(message["sdp"])
        elif kind == "offer":
            await self._subscribe(message)
        elif kind == "state":
            (self._states.add if message["state"] == "connected" else self._states.discard)(message["pc"])
        elif kind == "recording":
            self.recording = message["state"]
        elif kind == "refused":
            self._refused.append(message["code"])
        elif kind == "closed":
            self._over = message["reason"]

    async def _subscribe(self, offer: dict[str, Any]) -> None:
        if self._sub.transport is None:
            await self._sub.bind()
        self._sub.learn(offer["sdp"])
        self._places = {track["mid"]: (track["participant"], track["source"]) for track in offer["tracks"]}
        self._say("subscribed", rev=offer["rev"], sdp=description.answer(self._sub, offer["sdp"]))

    # Media

    def _heard_media(self, clear: bytes) -> None:
        packet = Packet.parse(clear)
        place = self._places.get(packet.extensions.get(1, b"").decode("ascii", "replace"))
        if place is not None:
            self.received[place] += 1
            if self.received[place] == 1:
                self._changed.set()

    def _pub_control(self, clear: bytes) -> None:
        ours = {one.ssrc: one for one in self.sending.values()}
        for packet in parse_rtcp(clear):
            if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_PLI and packet.media_ssrc in ours:
                ours[packet.media_ssrc].key_wanted = True
            elif isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK and packet.media_ssrc in ours:
                sent = ours[packet.media_ssrc].sent
                for lost in packet.lost:
                    if lost & 0xFFFF in sent:
                        self._pub.send(sent[lost & 0xFFFF])

    async def _speak(self, one: Sending) -> None:
        microphone = devices.Microphone(self.number)
        reports = _Every(REPORT_EVERY)
        async for moment in _moments(devices.SOUND_SAMPLES / devices.RATE):
            timestamp = round(moment * devices.RATE)
            for body in microphone.sound(round(moment * 1000)):
                self._send(one, body, timestamp, marker=False)
            self._report(one, moment, timestamp, reports)

    async def _show(self, one: Sending) -> None:
        camera = devices.Camera(self.number)
        reports = _Every(REPORT_EVERY)
        async for moment in _moments(devices.PICTURE_SECONDS):
            timestamp = round(moment * devices.CLOCK)
            key, one.key_wanted = one.key_wanted, False
            payloads = camera.picture(round(moment * 1000), key=key)
            for place, body in enumerate(payloads, 1):
                self._send(one, body, timestamp, marker=place == len(payloads))
            self._report(one, moment, timestamp, reports)

    def _send(self, one: Sending, body: bytes, timestamp: int, *, marker: bool) -> None:
        number, one.number = one.number, (one.number + 1) & 0xFFFF
        one.sent[number] = raw = one.packet(number, body, timestamp, marker=marker)
        if len(one.sent) > KEPT_FOR_RETRANSMISSION:
            del one.sent[next(iter(one.sent))]
        self._pub.send(raw)

    def _report(self, one: Sending, moment: float, timestamp: int, reports: _Every) -> None:
        """A sender report puts both sources on one clock (RFC 3550 section 6.4.1)."""
        if reports.due(moment):
            ntp = round((moment + NTP_OFFSET) * 2**32)
            self._pub.send(bytes(RtcpSrPacket(one.ssrc, RtcpSenderInfo(ntp, timestamp % 2**32, 1, 1))))


class _Every:
    """True once in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next = seconds, 0.0

    def due(self, moment: float) -> bool:
        if moment < self._next:
            return False
        self._next = moment + self._seconds
        return True


async def _moments(step: float) -> AsyncIterator[float]:
    """The capture time of each picture or sound, in seconds since 1970, when it has come; what is too late is left out."""
    moment = time.time()
    while True:
        yield moment
        moment += step
        late = time.time() - moment
        if late > MOST_LATE:
            moment += step * int(late / step)
        await asyncio.sleep(max(0.0, moment - time.time()))
