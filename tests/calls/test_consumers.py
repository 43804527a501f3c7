"""Both sockets on the real Redis layer, the real database and a real media worker: who gets in and who is told what."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest
from channels.testing import WebsocketCommunicator
from django.utils import timezone

from calls import queries, services
from calls.consumers.base import BURST, Socket, in_thread
from calls.models import Participant
from cleac_site.asgi import application
from consent.models import Decision
from tenants import services as house
from tenants.permissions import Actor
from tests.calls import scenes
from tests.calls.sockets import ORIGIN, PATIENCE, Media, Page, Scene, ended_by, guest_session

State = Participant.State

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quiet", "hung_up")]


# Getting in


@pytest.mark.parametrize(
    "origin",
    ["", "null", "https://evil.example", ORIGIN + ".evil.example", ORIGIN + "/", ORIGIN.upper(), "http://127.0.0.1"],
    ids=["none", "null", "another site", "a longer name", "with a path", "in capitals", "without the port"],
)
@pytest.mark.parametrize("kind", ["lobby", "call"])
async def test_a_page_of_another_origin_is_refused_in_the_handshake(scene: Scene, kind: str, origin: str) -> None:
    if kind == "call":
        await scene.do(lambda: scenes.admitted(scene.meeting, scene.person("gail")))
    page = await scene.page("gail", kind, origin=origin)

    accepted, _ = await page.socket.connect(PATIENCE)

    assert not accepted


async def test_a_socket_that_does_not_speak_the_protocol_or_has_no_address_is_refused_in_the_handshake(scene: Scene) -> None:
    silent = WebsocketCommunicator(application, "/ws/lobby", headers=[(b"origin", ORIGIN.encode())])
    nowhere = WebsocketCommunicator(application, "/ws/elsewhere", headers=[(b"origin", ORIGIN.encode())], subprotocols=["cleac.1"])

    assert [(await socket.connect(PATIENCE))[0] for socket in (silent, nowhere)] == [False, False]


@pytest.mark.parametrize(
    ("query", "more"),
    [
        ("?participant={gus}", []),
        ("?tenant=globex", []),
        ("", ["participant.{gus}"]),
        ("", ["role.host"]),
        ("", ["ticket.another"]),
        ("", ["cleac.1"]),
    ],
    ids=["a participant in the address", "a tenant in the address", "a participant", "a role", "two tickets", "our name twice"],
)
async def test_who_says_more_than_a_ticket_in_the_handshake_is_refused_there(scene: Scene, query: str, more: list[str]) -> None:
    ticket, cookie = await in_thread(scene.ticket, "gail", "lobby"), await in_thread(scene.cookie, "gail")
    gus = str((await in_thread(scene.ticket, "gus", "lobby")) and (await scene.participant("gus")).pk)
    headers = [(b"origin", ORIGIN.encode()), (b"cookie", cookie.encode())]
    offered = ["cleac.1", f"ticket.{ticket}", *(one.format(gus=gus) for one in more)]

    accepted, _ = await WebsocketCommunicator(application, f"/ws/lobby{query.format(gus=gus)}", headers=headers, subprotocols=offered).connect(
        PATIENCE
    )

    assert not accepted
    plain = WebsocketCommunicator(application, "/ws/lobby", headers=headers, subprotocols=offered[:2])
    assert await plain.connect(PATIENCE) == (True, "cleac.1")
    await plain.disconnect(timeout=PATIENCE)


@pytest.mark.parametrize(
    "fault", ["none", "garbage", "unknown secret", "unknown tenant", "used", "other kind", "other browser", "no cookie", "removed", "signed out"]
)
async def test_a_ticket_that_lets_nobody_in_closes_with_4401_and_says_nothing(scene: Scene, fault: str) -> None:
    ticket, cookie = await in_thread(scene.ticket, "gail", "lobby"), await in_thread(scene.cookie, "gail")
    kind = "call" if fault == "other kind" else "lobby"
    named, _, secret = ticket.partition(".")
    ticket = {"none": "", "garbage": "x" * 500, "unknown secret": f"{named}.{'A' * 43}", "unknown tenant": f"{'0' * 32}.{secret}"}.get(fault, ticket)
    if fault == "used":
        scene.pages.append(first := await Page(kind, ticket, cookie).open())
        await first.next("lobby")  # that one has used it
    elif fault == "other browser":
        cookie = await in_thread(scene.cookie, "gus")
    elif fault == "no cookie":
        cookie = ""
    elif fault == "removed":
        await scene.step(services.remove, "gail")
    elif fault == "signed out":
        session = await in_thread(guest_session, cookie)
        await scene.do(lambda: house.end_guest_session(session=session, by=Actor.person(scene.person("gail")), at=timezone.now()))

    page = await Page(kind, ticket, cookie).open()

    assert await page.close_code() == 4401
    assert page.heard == [{"kind": "refused", "code": "ticket"}]


# The lobby


async def test_the_lobby_shows_the_own_cards_and_takes_the_own_answers(scene: Scene) -> None:
    page = await (await scene.page("gail", "lobby")).open()
    greeting = await page.next("lobby")
    assert (greeting["title"], greeting["host"], greeting["state"], greeting["waiting_position"]) == ("Review", "Hana", "LOBBY", None)
    assert [(card["purpose"], card["answer"]) for card in greeting["cards"]] == [(purpose, None) for purpose in scenes.PURPOSES]

    await page.say("decide", purpose="record-voice", granted=True)
    await page.say("decide", purpose="record-camera", granted=False)
    await page.next("answered")
    await page.next("answered")

    decisions = await scene.do(lambda: [(d.purpose.key, d.granted, d.method, d.person) for d in Decision.objects.select_related("purpose", "person")])
    assert set(decisions) == {("record-voice", True, "page", scene.cast.gail), ("record-camera", False, "page", scene.cast.gail)}
    again = await (await scene.page("gail", "lobby")).open()
    assert [card["answer"] for card in (await again.next("lobby"))["cards"]] == [True, False, None]


async def test_an_answer_to_what_is_not_asked_is_refused_and_the_socket_stays(scene: Scene) -> None:
    page = await scene.lobby("gail")

    await page.say("decide", purpose="read-minds", granted=True)
    assert (await page.next("refused"))["code"] == "not-asked"
    await page.say("ready")
    assert (await page.next("moved"))["position"] == 1


async def test_a_guest_waits_moves_up_and_is_let_in(scene: Scene) -> None:
    gus, gail = await scene.lobby("gus"), await scene.lobby("gail")
    for page in (gus, gail):
        await page.say("ready")
        await page.next("moved")
    assert gail.heard[-1]["position"] == 2

    await scene.step(services.admit, "gus")

    await gus.next("admitted")
    assert (await gail.next("moved"))["position"] == 1


async def test_a_guest_who_is_not_let_in_is_told_and_put_out(scene: Scene) -> None:
    page = await scene.lobby("gail")
    await page.say("ready")
    await page.next("moved")

    await scene.step(services.deny, "gail")

    assert await page.reason() == "denied"
    assert page.heard[-2] == {"kind": "denied"}


async def test_the_host_is_let_in_at_once(scene: Scene) -> None:
    page = await scene.lobby("hana")
    await page.say("ready")
    await page.next("admitted")


async def test_closing_the_waiting_page_ends_the_wait(scene: Scene) -> None:
    page = await scene.lobby("gail")
    await page.say("ready")
    await page.next("moved")

    await page.socket.disconnect(timeout=PATIENCE)

    await scene.until("gail", State.LOBBY)


async def test_whoever_is_in_the_lobby_hears_nothing_of_the_room(scene: Scene, media: Media) -> None:
    """Others join, speak of themselves, are asked, removed: the lobby's every byte is about the own person."""
    gail = await scene.lobby("gail")
    await gail.say("ready")
    await gail.next("moved")
    hana, gus = await scene.call("hana"), await scene.call("gus")
    await gus.say("mute", source="mic", muted=True)
    await gus.say("decide", purpose="record-voice", granted=True)
    await hana.say("remove", participant=str((await scene.participant("gus")).pk))
    assert await gus.reason() == "removed"
    await scene.step(services.admit, "gail")
    await gail.next("admitted")

    assert {message["kind"] for message in gail.heard} <= {"lobby", "moved", "admitted"}
    said = json.dumps(gail.heard)
    ids = [str((await scene.participant(name)).pk) for name in ("hana", "gus")]
    assert [word for word in ("Gus", "sdp", "candidate", str(scene.cast.gus.pk), *ids) if word in said] == []


@pytest.mark.parametrize("kind", ["publish", "subscribed", "restart", "mute", "show", "leave", "admit", "remove", "end"])
async def test_a_message_of_the_room_closes_a_lobby_socket(scene: Scene, kind: str) -> None:
    page = await scene.lobby("gail")

    await page.say(kind)

    assert await page.close_code() == 4400
    assert page.heard[-1] == {"kind": "refused", "code": "unknown-kind"}


# Bad input


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"kind":"ready","kind":"ready"}',
        '{"kind":"ready","participant":"x"}',
        '{"kind":"ready","tenant":"globex"}',
        '{"kind":"decide","purpose":"record-voice","granted":true,"person":"x"}',
        '{"kind":"__init__"}',
        '{"kind":"look_again"}',
        "[" * 40_000,
        "x" * 60_000,
    ],
    ids=lambda text: text[:40],
)
async def test_what_is_no_message_closes_with_4400(scene: Scene, text: str) -> None:
    page = await scene.lobby("gail")

    await page.socket.send_input({"type": "websocket.receive", "text": text})

    assert await page.close_code() == 4400
    assert page.heard[-1]["kind"] == "refused"


async def test_a_binary_frame_closes_with_4400(scene: Scene) -> None:
    page = await scene.lobby("gail")

    await page.socket.send_to(bytes_data=b"\x00\xff")

    assert await page.close_code() == 4400


async def test_a_flood_closes_with_4429_and_reaches_nobody(scene: Scene) -> None:
    page = await scene.lobby("gail")

    for _ in range(BURST + 20):
        await page.say("decide", purpose="read-minds", granted=True)

    assert await page.close_code() == 4429
    assert sum(message.get("code") == "not-asked" for message in page.heard) == BURST


async def test_a_socket_that_closes_at_once_does_not_begin_the_work_beside_it(recwarn: pytest.WarningsRecorder) -> None:
    begun = []

    async def work() -> None:
        begun.append(True)

    socket = Socket()
    socket.watch(work, "work")
    await socket.disconnect(1000)
    await asyncio.sleep(0)

    gc.collect()
    assert begun == []
    assert [str(warning.message) for warning in recwarn] == []


# The call


async def test_the_room_says_who_is_there_and_who_comes(scene: Scene, media: Media) -> None:
    hana = await scene.call("hana")
    own = (await scene.participant("hana")).pk
    welcome = hana.heard[0]
    assert (welcome["me"], welcome["title"], [one["name"] for one in welcome["people"]]) == (str(own), "Review", ["Hana"])

    gail = await scene.call("gail")

    assert (await hana.next("joined"))["person"]["name"] == "Gail"
    assert (await gail.next("joined"))["person"]["name"] == "Hana"
    await gail.say("leave")
    assert await gail.reason() == "left"
    assert (await hana.next("left"))["participant"] == str((await scene.participant("gail")).pk)
    await scene.until("gail", State.LEFT)


async def test_a_host_sees_who_waits_and_lets_in_a_guest_does_not(scene: Scene, media: Media) -> None:
    hana, gus = await scene.call("hana"), await scene.call("gus")
    gail = await scene.lobby("gail")
    await gail.say("ready")
    waiting = await hana.next("waiting")
    assert [one["name"] for one in waiting["people"]] == ["Gail"]

    for command in ("admit", "deny", "remove"):
        await gus.say(command, participant=waiting["people"][0]["participant"])
        assert (await gus.next("refused"))["code"] == "not-allowed"
    await gus.say("end")
    assert (await gus.next("refused"))["code"] == "not-allowed"
    assert not [message for message in gus.heard if message["kind"] == "waiting"]

    await hana.say("admit", participant=waiting["people"][0]["participant"])
    await gail.next("admitted")
    assert (await hana.next("waiting"))["people"] == []


async def test_a_host_commands_nobody_of_another_call(scene: Scene, media: Media) -> None:
    hana = await scene.call("hana")

    def elsewhere() -> Participant:
        return scenes.waiting(scenes.meeting(scene.cast), scene.person("gail"))

    other = await scene.do(elsewhere)
    for participant in (str(other.pk), "x" * 36):
        await hana.say("admit", participant=participant)
        assert (await hana.next("refused"))["code"] == "unknown-participant"


async def test_an_answer_in_the_room_is_written_down_as_given_there(scene: Scene, media: Media) -> None:
    await (await scene.lobby("gail")).socket.disconnect(timeout=PATIENCE)
    gail = await scene.call("gail")

    await gail.say("decide", purpose="record-voice", granted=True)

    while (await gail.next("person"))["person"]["marks"]["mic"] != "agreed":
        continue
    assert await scene.do(lambda: list(Decision.objects.values_list("method", "granted"))) == [("room", True)]


async def test_media_messages_go_to_the_worker_and_its_refusals_come_back(scene: Scene, media: Media) -> None:
    gail = await scene.call("gail")

    await gail.say("publish", rev=1, sdp="v=0", tracks=[])

    assert (await gail.next("refused"))["code"].startswith("sdp-")
    await gail.say("leave")
    assert await gail.reason() == "left"


@pytest.mark.parametrize("field", ["me", "participant", "person", "role", "tenant"])
async def test_whoever_says_who_they_are_is_put_out_of_the_room(scene: Scene, media: Media, field: str) -> None:
    gail = await scene.call("gail")

    await gail.say("mute", source="mic", muted=True, **{field: str((await scene.participant("gail")).pk)})

    assert await gail.close_code() == 4400
    assert gail.heard[-1] == {"kind": "refused", "code": "identity-claimed", "field": field}


async def test_a_second_page_of_the_same_person_replaces_the_first(scene: Scene, media: Media) -> None:
    hana, first = await scene.call("hana"), await scene.call("gail")

    second = await scene.call("gail")

    assert await first.reason() == "replaced"
    await second.say("mute", source="mic", muted=True)
    await scene.until("gail", State.JOINED)
    await hana.say("end")
    assert await second.reason() == "ended"


async def test_who_is_left_without_a_host_is_told_when_the_call_ends_and_when_it_goes_on(scene: Scene, media: Media) -> None:
    await scene.call("hana")
    gail = await scene.call("gail")
    membership = scene.cast.memberships["Hana"]

    await ended_by(scene, "role change", "hana")

    assert 0 < (await gail.next("hostless"))["seconds"] <= queries.HOSTLESS.total_seconds()
    by, at = Actor.person(scene.cast.ada), timezone.now()
    await scene.do(lambda: house.change_role(membership=membership, role="host", by=by, at=at))
    assert (await gail.next("hostless"))["seconds"] is None


async def test_the_end_closes_every_socket_of_the_call(scene: Scene, media: Media) -> None:
    hana, gus, gail = await scene.call("hana"), await scene.call("gus"), await scene.lobby("gail")

    await hana.say("end")

    assert [await page.reason() for page in (hana, gus, gail)] == ["ended"] * 3


async def test_a_lost_page_stays_admitted_and_comes_back_without_waiting(scene: Scene, media: Media) -> None:
    gail = await scene.call("gail")

    await gail.socket.disconnect(timeout=PATIENCE)
    await scene.until("gail", State.ADMITTED)

    back = await (await scene.page("gail", "call")).open()
    await back.next("welcome")
    await scene.until("gail", State.JOINED)


async def test_a_lost_worker_is_told_so_that_the_page_comes_back(scene: Scene, media: Media) -> None:
    gail = await scene.call("gail")

    await media.worker.drain()

    assert await gail.reason() == "worker-lost"


async def test_without_any_worker_the_page_is_told_to_come_back(scene: Scene) -> None:
    await scene.do(lambda: scenes.admitted(scene.meeting, scene.person("gail")))
    page = await (await scene.page("gail", "call")).open()

    assert await page.reason() == "worker-lost"
