"""A call from end to end on loopback: join, leave, share, rejoin, loss, restart, removal."""

from __future__ import annotations

import asyncio

import pytest

from calls.media import sdp
from calls.media.feedback import CEILINGS
from calls.media.peer import RTCP_PSFB_PLI, RtcpPsfbPacket
from calls.media.room import Room
from calls.media.sink import Packet
from tenants.errors import Refused

from .peers import Connection, Peer, Stage, Weather


class Tape:
    """A sink that remembers sequence numbers."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.over: list[str] = []

    def packet(self, packet: Packet, raw: bytes, arrived: float) -> None:
        self.numbers.append(packet.sequence_number)

    def sender_report(self, ntp: int, rtp: int, arrived: float) -> None:
        self.numbers.append(-1)

    def closed(self, reason: str) -> None:
        self.over.append(reason)


def roster(room: Room) -> set[str]:
    return {person["participant"] for person in room.people()}


async def test_two_people_hear_and_see_each_other(stage: Stage) -> None:
    hana, gail = stage.join("hana", "host"), stage.join("gail")

    await hana.publish("mic", "cam")
    await gail.publish("mic", "cam")
    for sender, listener in ((hana, gail), (gail, hana)):
        for source in ("mic", "cam"):
            await stage.flowing(sender, source, listener)

    assert stage.room.edges() == {(a, s, b) for a, b in (("hana", "gail"), ("gail", "hana")) for s in ("mic", "cam")}
    assert [person["cam"] for person in stage.room.people()] == [True, True]


async def test_the_roster_tells_everybody_who_is_here_and_what_they_send(stage: Stage) -> None:
    hana = stage.join("hana", "host")
    gail = stage.join("gail")
    assert [m["person"]["participant"] for m in hana.said("joined")] == ["gail"]
    assert [m["person"] for m in gail.said("joined")] == [
        {"participant": "hana", "name": "Hana", "role": "host", "mic": False, "cam": False, "screen": False, "marks": {}}
    ]

    await gail.publish("mic", "cam")
    gail.member.mute({"kind": "mute", "source": "cam", "muted": True})
    stage.room.set_marks("gail", {"mic": "agreed"})
    stage.room.set_marks("gail", {"mic": "agreed"})

    told = [(m["person"]["mic"], m["person"]["cam"], m["person"]["marks"]) for m in hana.said("person")]
    assert told == [(True, True, {}), (True, False, {}), (True, False, {"mic": "agreed"})]


async def test_a_late_joiner_receives_what_is_already_published_and_a_key_frame_is_asked_for(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("cam")
    serial = await stage.flowing(hana, "cam", gail)
    asked = len([p for p in hana.publisher_control if isinstance(p, RtcpPsfbPacket) and p.fmt == RTCP_PSFB_PLI])

    gus = stage.join("gus")
    await stage.flowing(hana, "cam", gus, gail, serial=serial)

    assert len([p for p in hana.publisher_control if isinstance(p, RtcpPsfbPacket) and p.fmt == RTCP_PSFB_PLI]) > asked
    first = gus.order["hana", "cam"][0]
    assert gus.got["hana", "cam"][first].payload[1] == 0, "the first packet begins a key frame"


async def test_sharing_a_screen_and_stopping_reuses_the_slot_with_a_fresh_ssrc(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("cam")
    await stage.flowing(hana, "cam", gail)
    await hana.publish("screen")
    await stage.flowing(hana, "screen", gail)
    mid, first = next(m for m, place in gail.places.items() if place[1] == "screen"), gail.ssrc_of("hana", "screen")

    hana.unpublish("screen")
    await gail.until(lambda: gail.said("offer")[-1]["tracks"] == [{"mid": "0", "participant": "hana", "source": "cam"}])
    inactive = gail.said("offer")[-1]["sdp"].split(f"a=mid:{mid}")[1].split("\r\n")[1]
    await gail.until(lambda: first in gail.byes)
    await hana.publish("screen")
    await gail.until(lambda: len(gail.said("offer")[-1]["tracks"]) == 2)
    await stage.flowing(hana, "screen", gail, serial=1000)

    assert inactive == "a=inactive"
    assert next(m for m, place in gail.places.items() if place[1] == "screen") == mid
    assert gail.ssrc_of("hana", "screen") != first


async def test_whoever_leaves_is_off_every_track_at_once_and_others_are_told(stage: Stage) -> None:
    hana, gail, gus = stage.join("hana"), stage.join("gail"), stage.join("gus")
    for peer in (hana, gail, gus):
        await peer.publish("mic")
    await stage.flowing(hana, "mic", gail, gus)

    leaving = asyncio.create_task(stage.room.remove("gail", "left"))
    await asyncio.sleep(0)

    assert {name for edge in stage.room.edges() for name in (edge[0], edge[2])} <= {"hana", "gus"}
    await leaving
    assert {"kind": "left", "participant": "gail", "reason": "left"} in hana.messages
    assert roster(stage.room) == {"hana", "gus"}
    await stage.room.remove("gail", "left")


async def test_a_removed_participant_gets_nothing_more_and_can_ask_for_nothing(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("mic")
    serial = await stage.flowing(hana, "mic", gail)

    await stage.room.remove("gail", "removed")
    before, heard = len(gail.messages), len(gail.serials("hana", "mic"))
    for extra in range(20):
        hana.send("mic", serial + extra)
    gus = stage.join("gus")
    await stage.flowing(hana, "mic", gus, serial=serial + 20)

    assert len(gail.serials("hana", "mic")) == heard
    assert len(gail.messages) == before
    for ask in (gail.member.restart, lambda: gail.member.publish(gail.offer_message()), lambda: gail.member.mute({"source": "mic", "muted": True})):
        with pytest.raises(Refused, match="not-a-member"):
            ask()


async def test_the_same_participant_admitted_again_replaces_the_one_from_before(stage: Stage) -> None:
    hana, before = stage.join("hana"), stage.join("gail")
    await hana.publish("mic")
    await before.publish("mic")
    serial = await stage.flowing(hana, "mic", before)

    after = stage.join("gail")
    await after.publish("mic")
    await stage.flowing(hana, "mic", after, serial=serial)
    await stage.flowing(after, "mic", hana, serial=5000)

    assert before.messages[-1] == {"kind": "closed", "reason": "replaced"}
    assert [m["reason"] for m in hana.said("left")] == ["replaced"]
    assert roster(stage.room) == {"hana", "gail"}
    with pytest.raises(Refused, match="not-a-member"):
        before.member.restart()


@pytest.mark.parametrize("seed", [1, 2])
async def test_one_packet_in_twenty_lost_and_some_swapped_each_way_is_repaired(stage: Stage, seed: int) -> None:
    hana = stage.join("hana", weather=Weather(seed, loss=0.05, swap=0.05))
    gail = stage.join("gail", weather=Weather(seed + 50, loss=0.05, swap=0.05))
    await hana.publish("mic", "cam")
    serials = {source: await stage.flowing(hana, source, gail) for source in ("mic", "cam")}
    for step in range(300):
        for source, first in serials.items():
            hana.send(source, first + step, padding=source == "cam" and step % 10 == 9)
        await asyncio.sleep(0.002)
    hana.weather.loss = gail.weather.loss = hana.weather.swap = gail.weather.swap = 0.0
    for source, first in serials.items():
        hana.send(source, first + 300)

    expected = {s: {f + n for n in range(301) if not (s == "cam" and n % 10 == 9 and n < 300)} for s, f in serials.items()}
    for source in serials:
        await gail.until(lambda source=source: expected[source] <= gail.serials("hana", source))  # type: ignore[misc]  # reason: bound per turn
    assert stage.edge.counters["resent"] > 0


async def test_both_connections_survive_an_ice_restart_and_a_change_of_network(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    for peer in (hana, gail):
        await peer.publish("mic")
    serial = await stage.flowing(hana, "mic", gail)
    old = {gail.pub.remote, gail.sub.remote}

    for connection in (gail.pub, gail.sub):
        connection.fresh_credentials()
        await connection.bind()
    gail.member.publish(gail.offer_message())
    gail.member.restart()
    await gail.until(lambda: not old & {gail.pub.remote, gail.sub.remote})
    await gail.until(lambda: gail.pub.checked.is_set() and gail.sub.checked.is_set())

    await stage.flowing(hana, "mic", gail, serial=serial)
    await stage.flowing(gail, "mic", hana)
    assert (gail.pub.dtls.state, gail.sub.dtls.state) == ("connected", "connected")
    assert stage.edge.counters["moved"] >= 2


async def test_a_page_that_was_reloaded_publishes_over_a_new_connection(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await gail.publish("mic")
    await stage.flowing(gail, "mic", hana)
    first = gail.member.publisher.link

    await gail.pub.close()
    gail.pub = Connection(gail.weather, lambda clear: None, gail._pub_rtcp)
    await gail.until(lambda: any(m["pc"] == "pub" and m["state"] == "closed" for m in gail.said("state")))
    assert stage.room.edges() == set()
    await gail.publish("mic")
    await stage.flowing(gail, "mic", hana, serial=2000)

    assert gail.member.publisher.link is not first


async def test_a_source_taken_up_again_with_its_old_ssrc_is_heard_also_after_its_numbers_wrapped(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("mic", "cam")
    await stage.flowing(hana, "mic", gail)
    for serial in range(100, 200):  # beyond 65535
        hana.send("mic", serial)
    hana.unpublish("mic")
    await gail.until(lambda: [t["source"] for t in gail.said("offer")[-1]["tracks"]] == ["cam"])

    hana.sending["mic"].live = True
    hana.member.publish(hana.offer_message())
    await stage.flowing(hana, "mic", gail, serial=1000)

    assert stage.edge.counters["srtp-refused"] == 0


async def test_a_source_without_a_declared_ssrc_is_found_by_its_mid_once(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await gail.publish("mic", "cam", declared=False)
    await stage.flowing(gail, "mic", hana)
    serial = await stage.flowing(gail, "cam", hana)

    gail.sending["cam"].ssrc += 1
    for extra in range(5):
        gail.send("cam", serial + 1000 + extra, key=True)
    gail.sending["cam"].ssrc -= 1
    await stage.flowing(gail, "cam", hana, serial=serial)

    assert max(hana.serials("gail", "cam")) < serial + 1000
    await hana.until(lambda: stage.edge.counters["ssrc-undeclared"] >= 5)


async def test_the_publishers_clocks_and_name_reach_the_listener(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("mic")
    await stage.flowing(hana, "mic", gail)
    hana.send_report("mic", ntp=77 << 32, rtp=4711)

    await gail.until(lambda: any(r.sender_info.ntp_timestamp == 77 << 32 and r.sender_info.rtp_timestamp == 4711 for r in gail.reports()))
    assert gail.names() == {b"hana"}


async def test_a_listeners_wish_for_a_key_frame_reaches_the_publisher(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("cam")
    await stage.flowing(hana, "cam", gail)
    hana.publisher_control.clear()
    gail.ask_key_frame(gail.ssrc_of("hana", "cam"))

    await hana.until(lambda: any(isinstance(p, RtcpPsfbPacket) and p.fmt == RTCP_PSFB_PLI for p in hana.publisher_control))


async def test_the_publisher_is_told_a_ceiling_which_a_listeners_loss_lowers(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("cam")
    await stage.flowing(hana, "cam", gail)
    track = stage.room.track("hana", "cam")
    assert track is not None
    assert track.ceiling is not None
    await hana.until(lambda: bool(hana.ceilings()))

    gail.report_loss(gail.ssrc_of("hana", "cam"), 0.5)

    await gail.until(lambda: track.ceiling is not None and track.ceiling.rate < CEILINGS["cam"])


async def test_a_tap_is_cut_in_the_same_turn_of_the_loop(stage: Stage) -> None:
    hana, gail, tape = stage.join("hana"), stage.join("gail"), Tape()
    await hana.publish("cam")
    await stage.flowing(hana, "cam", gail)
    stage.room.tap("hana", "cam", tape)
    serial = await stage.flowing(hana, "cam", gail, serial=100)
    await gail.until(lambda: bool(tape.numbers))

    cut = stage.room.untap("hana", "cam", tape)
    got = list(tape.numbers)
    await stage.flowing(hana, "cam", gail, serial=serial)

    assert cut == got[-1]
    assert tape.numbers == got
    assert tape.over == []


async def test_a_tap_is_told_when_its_track_ends_and_cannot_be_put_on_what_is_not_there(stage: Stage) -> None:
    hana, tape, other = stage.join("hana"), Tape(), Tape()
    await hana.publish("mic", "cam")
    stage.room.tap("hana", "mic", tape)
    stage.room.tap("hana", "cam", other)
    hana.unpublish("mic")
    await stage.room.remove("hana", "left")

    assert (tape.over, other.over) == (["ended"], ["left"])
    assert stage.room.untap("hana", "cam", other) is None
    with pytest.raises(Refused, match="unknown-track"):
        stage.room.tap("hana", "cam", other)


async def test_who_is_not_in_the_newest_view_is_out_at_once(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("mic")
    await stage.flowing(hana, "mic", gail)

    class Row:
        person_id, name, role = "person-hana", "Hana H.", "host"

    stage.room.apply({"hana": Row()}, {"person-hana": {"mic": "declined"}})

    assert stage.room.edges() == set()
    assert [(p["name"], p["role"], p["marks"]) for p in stage.room.people()] == [("Hana H.", "host", {"mic": "declined"})]


async def test_a_closed_room_admits_nobody_and_has_no_edges(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("mic")
    await stage.flowing(hana, "mic", gail)
    await stage.room.close("ended")

    assert (stage.room.people(), stage.room.edges(), stage.edge._links) == ([], set(), {})
    with pytest.raises(Refused, match="call-ended"):
        stage.join("gus")


async def test_malformed_media_and_control_of_a_participant_is_counted_and_the_call_goes_on(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("mic")
    serial = await stage.flowing(hana, "mic", gail)
    ssrc = hana.sending["mic"].ssrc.to_bytes(4)
    hana.pub.send(b"\xa0\x6f\x00\x07" + bytes(4) + ssrc + b"\xff")
    hana.pub.send(b"\x80\x60\x00\x08" + bytes(4) + ssrc + b"x")
    hana.pub.send(b"\x81\xc8\x00\x01" + ssrc)
    gail.sub.send(b"\x81\xcd\x00\x01" + bytes(4))

    await stage.flowing(hana, "mic", gail, serial=serial)
    await gail.until(lambda: stage.edge.counters["rtcp-malformed"] == 2)
    assert (stage.edge.counters["rtp-malformed"], stage.edge.counters["payload-type-undeclared"]) == (1, 1)


async def test_a_camera_that_is_off_is_a_gap_and_its_picture_comes_back(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("cam")
    serial = await stage.flowing(hana, "cam", gail)
    hana.member.mute({"source": "cam", "muted": True})
    await gail.until(lambda: bool(gail.said("person")) and not gail.said("person")[-1]["person"]["cam"])
    hana.member.mute({"source": "cam", "muted": False})
    await stage.flowing(hana, "cam", gail, serial=serial + 1000)
    assert set(range(serial, serial + 1000)) & gail.serials("hana", "cam") == set()


def test_every_source_has_a_kind_and_every_kind_a_codec() -> None:
    assert set(sdp.KINDS) == {"mic", "cam", "screen", "screen-audio"}
    assert set(sdp.KINDS.values()) == set(sdp.CODECS) == set(sdp.PAYLOAD_TYPES) == set(sdp.CLOCK_RATES)


async def test_every_copy_that_flows_has_a_roster_row_at_both_ends_through_any_coming_and_going(stage: Stage) -> None:
    names = ["hana", "gail", "gus", "dora"]
    present: dict[str, Peer] = {}
    for step in range(16):
        name = names[(step * 7) % 4]
        if name in present:
            await stage.room.remove(name, "left")
            del present[name]
        else:
            present[name] = stage.join(name)
            await present[name].publish("mic")
        rows = roster(stage.room)
        assert rows == set(present)
        assert all(publisher in rows and listener in rows and publisher != listener for publisher, _, listener in stage.room.edges())
