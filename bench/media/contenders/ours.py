"""Our own server in one form of its packet path, over the messages that a page sends."""

from __future__ import annotations

import subprocess
import sys

from calls.media import client, sdp

from ...site import ROOT
from ..load import Ear, Stream, extension_id
from ..loads import RIDS, Load
from ..people import FIRST_SSRC, Door, Person
from ..taping import Kept
from . import PATIENCE, Joined, few_at_once

SOURCES = {"video": "cam", "audio": "mic"}
SMALL = 90  # pixels of a tile that the worst layer fills: with that the choice by estimates rests, and layers are chosen at the path


class Ours:
    """One form. Its name in the figures is the form's."""

    def __init__(self, form: str) -> None:
        self.name = form
        self._door = Door()

    def missing(self) -> str:
        command = [sys.executable, "-m", "bench.media.relay", self.name]
        done = subprocess.run(command, cwd=ROOT, input=b"", capture_output=True, timeout=PATIENCE, check=False)
        return "" if b'"ready"' in done.stdout else "this build has no such form of the packet path"

    def carries(self, load: Load) -> bool:
        return True

    def lacks(self, load: Load) -> str:
        return ""

    async def start(self, load: Load) -> int:
        return await self._door.start(self.name, ["--blocked"] * load.blocked + ["--recorded"] * load.recorded)

    async def switch(self, listener: str, layer: int) -> None:
        self._door.say({"from": listener, "layer": layer})

    async def kept(self, load: Load) -> Kept | None:
        return await self._door.finish() if load.recorded else None

    async def stop(self) -> None:
        await self._door.stop()

    async def join(self, load: Load) -> Joined:
        publishers = [Person(self._door, f"p{number}") for number in range(load.publishers)]
        rooms = [f"room{number // load.meeting if load.meeting else number}" for number in range(load.publishers)]
        for person, room in zip(publishers, rooms, strict=True):
            await person.enter(room)
        published = await few_at_once(self._publish(person, load, number) for number, person in enumerate(publishers))
        if load.meeting:
            heard = [self._listen(person, load, len(load.companions(number))) for number, person in enumerate(publishers)]
            return Joined([stream for streams in published for stream in streams], await few_at_once(heard))
        heard = [
            self._enter_and_listen(f"p{number}l{place}", rooms[number], load, streams[0].ssrc)
            for number, streams in enumerate(published)
            for place in range(load.listeners)
        ]
        return Joined([stream for streams in published for stream in streams], await few_at_once(heard))

    async def _publish(self, person: Person, load: Load, number: int) -> list[Stream]:
        first = FIRST_SSRC + number * len(load.paces)
        if load.layers:
            return await self._publish_layers(person, load, first)
        sendings = [client.Sending(SOURCES[pace.kind], str(place), first + place) for place, pace in enumerate(load.paces)]
        await person.publish(sendings)
        sections = person.answered.split("\r\nm=")[1:]
        return [
            Stream(person.pub, pace, one.ssrc, one.payload_type, one.mid, *(extension_id(section, uri) for uri in (sdp.MID, sdp.TRANSPORT_CC)))
            for pace, one, section in zip(load.paces, sendings, sections, strict=True)
        ]

    async def _publish_layers(self, person: Person, load: Load, first: int) -> list[Stream]:
        sending = client.Sending(SOURCES[load.kind], "0", first, rids=RIDS)
        await person.publish([sending])
        mid_id, number_id, rid_id = (extension_id(person.answered, uri) for uri in (sdp.MID, sdp.TRANSPORT_CC, sdp.RID))
        return [
            Stream(person.pub, pace, first + place, sending.payload_type, sending.mid, mid_id, number_id, rid, rid_id)
            for place, (pace, rid) in enumerate(zip(load.layers, RIDS, strict=True))
        ]

    async def _enter_and_listen(self, name: str, room: str, load: Load, expected: int) -> Ear:
        person = Person(self._door, name)
        await person.enter(room)
        return await self._listen(person, load, 1, expected)

    async def _listen(self, person: Person, load: Load, people: int, expected: int = 0) -> Ear:
        await person.receive(people * load.tracks)
        if load.layers:
            tiles = [{"participant": track["participant"], "source": track["source"], "height": SMALL} for track in person.offer["tracks"]]
            person.say(kind="show", tiles=tiles, pinned=None)
        return Ear(person.sub, person.offer["sdp"], people, expected, person.name)
