"""Which layer of a picture each member of a call is sent, and who is told that somebody speaks."""

from __future__ import annotations

import asyncio

from calls.media.feedback import CEILINGS, LOWER_LAYERS
from calls.media.peer import RTCP_PSFB_APP, RtcpPsfbPacket, pack_remb_fci
from calls.media.sink import Packet

from .layered import Layered, layer_of
from .peers import Peer, Stage

LOWEST, BEST = 0, 2
HANA = ("hana", "cam")


def filming(stage: Stage, participant: str = "hana") -> Layered:
    """Somebody whose camera comes in three layers."""
    peer = Layered(stage.room, participant)
    stage.peers.append(peer)
    return peer


def shows(peer: Peer, *tiles: tuple[str, str, int]) -> None:
    peer.member.show({"tiles": [{"participant": who, "source": source, "height": height} for who, source, height in tiles]})


async def comes_in(peer: Peer, layer: int, place: tuple[str, str] = HANA) -> None:
    """Wait until the newest pictures of somebody are of this layer, without a gap."""

    def found() -> bool:
        got = peer.got.get(place, {})
        newest = max(got, default=-1)
        return all(serial in got and layer_of(got[serial].payload) == layer for serial in range(newest - 9, newest + 1))

    await peer.until(found)


def speaking(peer: Peer) -> list[list[str]]:
    return [message["participants"] for message in peer.said("speaking")]


async def speaks(stage: Stage, peer: Peer, listener: Peer, serial: int = 0) -> int:
    """Somebody speaks until it is told; returns the next serial number."""
    while not speaking(listener) or speaking(listener)[-1][:1] != [peer.member.participant]:
        serial = await stage.flowing(peer, "mic", listener, serial=serial)
    return serial


class Tape:
    """A recorder's sink that remembers from which layer each packet came."""

    def __init__(self) -> None:
        self.layers: list[int] = []

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        self.layers.append(layer_of(packet.payload))

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        """None is sent here."""

    def closed(self, reason: str) -> None:
        """Nothing to close."""


async def test_of_one_camera_a_small_tile_is_sent_the_lowest_layer_a_great_one_the_best_and_the_recorder_too(stage: Stage) -> None:
    hana, gail, gus, tape = filming(stage), stage.join("gail"), stage.join("gus"), Tape()
    shows(gail, (*HANA, 90))
    shows(gus, (*HANA, 720))
    await hana.publish("cam")
    async with hana.filming():
        stage.room.tap(*HANA, tape)

        await comes_in(gail, LOWEST)
        await comes_in(gus, BEST)
        await gus.until(lambda: tape.layers[-1:] == [BEST])

        shows(gail, (*HANA, 360))
        await comes_in(gail, 1)
        shows(gus)
        await comes_in(gail, 1)
        assert tape.layers[-1] == BEST


async def test_a_page_that_never_says_what_it_shows_is_sent_the_best(stage: Stage) -> None:
    hana, gail = filming(stage), stage.join("gail")
    await hana.publish("cam")

    async with hana.filming():
        await comes_in(gail, BEST)


async def test_nothing_is_sent_of_a_picture_that_nobody_shows_and_shown_again_it_begins_with_a_key_frame(stage: Stage) -> None:
    hana, gail, gus = filming(stage), stage.join("gail"), stage.join("gus")
    shows(gail)
    await hana.publish("cam")
    async with hana.filming():
        await comes_in(gus, BEST)
        assert HANA not in gail.got

        shows(gail, (*HANA, 90))
        await comes_in(gail, LOWEST)
        first = gail.got[HANA][gail.order[HANA][0]]
        assert first.payload[1] == 0, "the first packet begins a key frame"

        shows(gail, ("gus", "cam", 90))
        copy = gail.got[HANA]
        copy.clear()
        await gus.until(lambda: max(gus.got[HANA]) > hana.serial - 2)
        before = hana.serial
        await gus.until(lambda: max(gus.got[HANA]) > before + 20)
        assert [serial for serial in copy if serial > before] == []


async def test_a_narrow_connection_is_sent_a_lower_layer_and_the_others_keep_the_best(stage: Stage) -> None:
    hana, gail, gus = filming(stage), stage.join("gail"), stage.join("gus")
    await hana.publish("cam")
    async with hana.filming():
        await comes_in(gail, BEST)
        await comes_in(gus, BEST)

        for _ in range(10):
            gail.sub.send(bytes(RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, pack_remb_fci(200_000, []))))
            await asyncio.sleep(0.05)

        await comes_in(gail, LOWEST)
        await comes_in(gus, BEST)


async def test_a_listeners_loss_lowers_no_ceiling_of_a_camera_in_layers_and_its_wish_is_never_passed_on(stage: Stage) -> None:
    hana, gail = filming(stage), stage.join("gail")
    await hana.publish("cam")
    async with hana.filming():
        await comes_in(gail, BEST)
        track = stage.room.track(*HANA)
        assert track is not None
        assert track.ceiling is not None
        before = len(hana.ceilings())
        gail.report_loss(gail.ssrc_of(*HANA), 0.5)
        gail.sub.send(bytes(RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, pack_remb_fci(200_000, []))))
        await hana.until(lambda: len(hana.ceilings()) > before + 1)

    assert track.ceiling.rate == CEILINGS["cam"] + LOWER_LAYERS
    assert len({bytes(told.fci) for told in hana.ceilings()}) == 1


async def test_only_the_cameras_of_the_last_speakers_are_sent_where_a_number_is_set_but_every_screen_and_voice(stage: Stage) -> None:
    stage.room.last_speakers = 1
    hana, gail, gus = stage.join("hana"), stage.join("gail"), stage.join("gus")
    await hana.publish("mic", "cam", "screen")
    await gail.publish("mic", "cam")
    await speaks(stage, gail, gus)

    await stage.flowing(gail, "cam", gus)
    await stage.flowing(hana, "screen", gus)
    hana.send("cam", 0, key=True)
    await stage.flowing(gail, "cam", gus, serial=5000)
    assert gus.serials("hana", "cam") == set()

    await speaks(stage, hana, gus)
    await stage.flowing(hana, "cam", gus, serial=9000)


async def test_a_person_whom_a_listener_has_pinned_is_sent_to_that_listener_whoever_speaks(stage: Stage) -> None:
    stage.room.last_speakers = 1
    hana, gail, gus, ada = (stage.join(name) for name in ("hana", "gail", "gus", "ada"))
    await hana.publish("cam")
    await gail.publish("mic", "cam")
    await speaks(stage, gail, gus)
    for listener, pinned in ((gus, "hana"), (ada, None)):
        tiles = [{"participant": who, "source": "cam", "height": 360} for who in ("hana", "gail")]
        listener.member.show({"tiles": tiles, "pinned": pinned})

    await stage.flowing(hana, "cam", gus)
    serial = await stage.flowing(gail, "cam", ada, serial=5000)
    assert (gus.serials("gail", "cam"), ada.serials("hana", "cam")) == (set(), set()), "the pinned one has a place of those that there are"

    gus.member.show({"tiles": tiles, "pinned": None})
    await stage.flowing(gail, "cam", gus, serial=serial)


async def test_everybody_is_told_who_speaks_and_so_is_whoever_comes_later(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("mic")
    await gail.publish("mic")

    await speaks(stage, hana, gail)
    gus = stage.join("gus")

    assert speaking(hana) == speaking(gail) == speaking(gus) == [["hana"]]


async def test_who_is_muted_or_gone_speaks_no_more(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("mic")
    serial = await speaks(stage, hana, gail)

    hana.member.mute({"source": "mic", "muted": True})
    await gail.until(lambda: speaking(gail)[-1] == [])
    hana.member.mute({"source": "mic", "muted": False})
    await speaks(stage, hana, gail, serial)
    await stage.room.remove("hana", "left")

    await gail.until(lambda: speaking(gail)[-1] == [])


async def test_whoever_comes_back_has_said_nothing_yet_and_is_sent_all(stage: Stage) -> None:
    hana, gail = filming(stage), stage.join("gail")
    shows(gail)
    await hana.publish("cam")
    async with hana.filming():
        again = stage.join("gail")

        await comes_in(again, BEST)

    assert again.member.shown is None
    assert HANA not in gail.got


async def test_nothing_is_kept_of_a_track_that_is_over(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("cam")
    await stage.flowing(hana, "cam", gail)
    chosen = gail.member.subscriber.pictures._chosen
    assert len(chosen) == 1

    hana.unpublish("cam")

    assert chosen == {}
