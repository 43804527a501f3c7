"""The socket: who is answered, who is heard, and what is met with silence."""

from __future__ import annotations

import asyncio
import random
import struct

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from calls.media import edge as edges
from calls.media.checks import username_of
from calls.media.edge import Edge

from .peers import PATIENCE
from .wires import CLIENT, CLIENT_ICE, ELSEWHERE, STRANGER, Clock, FakeSocket, check, dry_edge, dry_link, prove, reply_to

HELLO = bytes([22, 254, 253]) + bytes(60)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wire(clock: Clock) -> tuple[Edge, FakeSocket]:
    return dry_edge(clock)


async def test_a_check_with_the_right_password_is_answered_once_the_address_has_answered(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)

    edge.datagram_received(check(link), CLIENT)
    asked = stun.parse_message(socket.to(CLIENT)[0])
    assert (asked.message_class, link.address) == (stun.Class.REQUEST, None)
    assert asked.check_message_integrity(CLIENT_ICE[1].encode())

    edge.datagram_received(reply_to(socket.to(CLIENT)[0]), CLIENT)
    answered = stun.parse_message(socket.to(CLIENT)[1])
    assert answered.message_class == stun.Class.RESPONSE
    assert answered.attributes["XOR-MAPPED-ADDRESS"] == CLIENT
    assert answered.check_message_integrity(link.pwd.encode())
    assert link.address == CLIENT


async def test_a_check_with_a_wrong_password_or_an_unknown_name_is_met_with_silence(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)

    edge.datagram_received(check(link, pwd="guess"), CLIENT)
    edge.datagram_received(check(link, ufrag="nobody"), CLIENT)

    assert socket.sent == []
    assert (edge.counters["stun-forged"], edge.counters["stun-unknown"]) == (1, 1)


async def test_a_forged_answer_does_not_prove_an_address(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    edge.datagram_received(check(link), CLIENT)
    probe = socket.to(CLIENT)[0]

    edge.datagram_received(reply_to(probe, pwd="guess"), CLIENT)
    edge.datagram_received(reply_to(probe), STRANGER)

    assert link.address is None
    assert len(socket.sent) == 1


async def test_an_address_that_has_not_answered_is_sent_no_more_bytes_than_it_sent_and_no_media(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    received = 0

    for _ in range(30):
        data = check(link)
        received += len(data)
        edge.datagram_received(data, STRANGER)
        assert sum(map(len, socket.to(STRANGER))) <= received
        edge.path.send_rtcp(link, b"\x80\xc9" + bytes(20))
        await link._send(HELLO)

    assert all(data[0] < 4 for data in socket.to(STRANGER))
    assert link.address is None


async def test_what_the_handshake_wanted_to_say_waits_until_the_address_answered(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    await link._send(HELLO)

    prove(edge, socket, link, CLIENT)

    assert HELLO in socket.to(CLIENT)


async def test_an_address_that_checked_before_the_answer_came_is_asked_when_the_credentials_are_known(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    link.remote = None
    edge.datagram_received(check(link), CLIENT)
    assert socket.sent == []

    link.remote = CLIENT_ICE
    edge.ask_waiting(link)
    edge.datagram_received(reply_to(socket.to(CLIENT)[-1]), CLIENT)

    assert link.address == CLIENT


async def test_only_an_address_that_passed_its_check_is_heard(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    edge.datagram_received(HELLO, CLIENT)
    edge.datagram_received(check(link), CLIENT)
    edge.datagram_received(HELLO, CLIENT)
    assert (link._inbox.qsize(), edge.counters["stranger"]) == (0, 2)

    edge.datagram_received(reply_to(socket.to(CLIENT)[-1]), CLIENT)
    edge.datagram_received(HELLO, CLIENT)
    edge.datagram_received(HELLO, STRANGER)

    assert (link._inbox.qsize(), edge.counters["stranger"]) == (1, 3)


async def test_a_nominating_check_from_another_address_moves_the_link(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    prove(edge, socket, link, CLIENT)

    edge.datagram_received(check(link, nominate=False), ELSEWHERE)
    edge.datagram_received(reply_to(socket.to(ELSEWHERE)[-1]), ELSEWHERE)
    assert link.address == CLIENT

    edge.datagram_received(check(link), ELSEWHERE)
    edge.datagram_received(reply_to(socket.to(ELSEWHERE)[-1]), ELSEWHERE)
    assert link.address == ELSEWHERE
    assert edge.counters["moved"] == 1


async def test_a_check_that_somebody_overheard_moves_no_media_back_to_where_the_client_was(wire: tuple[Edge, FakeSocket]) -> None:
    """Whoever sits where the client was, and sends what was sent from there again, cannot answer what is asked."""
    edge, socket = wire
    link, _ = dry_link(edge)
    overheard = check(link)
    edge.datagram_received(overheard, CLIENT)
    edge.datagram_received(reply_to(socket.to(CLIENT)[-1]), CLIENT)
    answer = reply_to(socket.to(CLIENT)[0])
    prove(edge, socket, link, ELSEWHERE)

    for _ in range(5):
        edge.datagram_received(overheard, CLIENT)
        edge.datagram_received(answer, CLIENT)

    assert link.address == ELSEWHERE


async def test_a_participant_cannot_aim_media_at_somebody_who_does_not_answer(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    prove(edge, socket, link, CLIENT)

    for _ in range(5):
        edge.datagram_received(check(link), STRANGER)

    assert link.address == CLIENT


async def test_one_participant_cannot_take_the_address_of_another(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    victim, _ = dry_link(edge)
    attacker, _ = dry_link(edge)
    attacker.remote = ("evil", "e" * 24)
    prove(edge, socket, victim, CLIENT)

    for _ in range(5):
        edge.datagram_received(check(attacker), CLIENT)
    edge.datagram_received(HELLO, CLIENT)

    assert victim._inbox.qsize() == 1
    assert attacker.address is None


@pytest.mark.parametrize("length", [0, 2, 3, 5, 8])
async def test_malformed_stun_is_counted_and_never_raises(wire: tuple[Edge, FakeSocket], length: int) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    name = f"{link.ufrag}:x".encode()
    body = struct.pack("!HH", 6, len(name)) + name + bytes(-len(name) % 4) + struct.pack("!HH", 0x24, length) + bytes(length + -length % 4)

    edge.datagram_received(b"\x00\x01" + struct.pack("!H", len(body)) + struct.pack("!I", stun.COOKIE) + bytes(12) + body, STRANGER)

    assert socket.sent == []
    assert edge.counters["stun-malformed"] == 1


def test_no_mutation_of_a_check_raises_or_is_answered() -> None:
    edge, socket = dry_edge(Clock())
    link, _ = dry_link(edge)
    whole, chance = bytearray(check(link)), random.Random(11)

    for _ in range(3000):
        mutated = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        edge.datagram_received(bytes(mutated[: chance.randrange(1, len(mutated) + 1)]), (f"10.0.{chance.randrange(250)}.1", 9))

    answers = [data for data, _ in socket.sent if data[:2] == b"\x01\x01"]
    assert answers == []


@given(st.binary(max_size=200))
def test_reading_a_username_never_raises(data: bytes) -> None:
    assert isinstance(username_of(data), str)


@given(st.binary(min_size=1, max_size=1600))
def test_no_datagram_of_a_stranger_raises(data: bytes) -> None:
    edge, socket = dry_edge(Clock())
    edge.datagram_received(data, STRANGER)
    assert socket.sent == []


async def test_a_flood_of_stun_from_one_source_is_cut_off_before_it_is_parsed_and_others_are_served(
    wire: tuple[Edge, FakeSocket], clock: Clock
) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    for _ in range(int(edges.STRANGER_BURST) + 500):
        edge.datagram_received(check(link, pwd="guess"), STRANGER)
    assert (edge.counters["stun-forged"], edge.counters["stun-budget"]) == (int(edges.STRANGER_BURST), 500)

    prove(edge, socket, link, CLIENT)
    assert link.address == CLIENT

    clock.now += 1
    edge.datagram_received(check(link, pwd="guess"), STRANGER)
    assert edge.counters["stun-budget"] == 500


async def test_a_flood_from_a_neighbour_behind_one_address_leaves_a_proven_connection_its_own_budget(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    prove(edge, socket, link, CLIENT)
    for port in range(2000):
        edge.datagram_received(check(link, pwd="guess"), (CLIENT[0], 10000 + port))
    before = len(socket.to(CLIENT))

    edge.datagram_received(check(link), CLIENT)

    assert len(socket.to(CLIENT)) == before + 1


def test_budgets_of_many_sources_take_bounded_memory() -> None:
    budgets = edges.Budgets(Clock(), most=100)
    for source in range(10_000):
        budgets.take(source, 1.0, 1.0)
    assert len(budgets._buckets) == 100


async def test_a_link_whose_address_has_not_answered_for_thirty_seconds_is_closed_and_told(wire: tuple[Edge, FakeSocket], clock: Clock) -> None:
    edge, socket = wire
    link, states = dry_link(edge)
    prove(edge, socket, link, CLIENT)
    for _ in range(10):
        clock.now += edges.ASKED_EVERY
        edge.sweep()
        edge.datagram_received(reply_to(socket.to(CLIENT)[-1]), CLIENT)
    assert (link.closed, link.address, states) == (False, CLIENT, [])

    clock.now += 29
    edge.sweep()
    edge.datagram_received(reply_to(socket.to(CLIENT)[-1], pwd="guess"), CLIENT)
    assert not link.closed
    clock.now += 1
    edge.sweep()

    assert (link.closed, states, edge.counters["consent-expired"]) == (True, ["closed"], 1)
    edge.datagram_received(check(link, ufrag=link.ufrag), CLIENT)
    edge.datagram_received(HELLO, CLIENT)
    assert edge.counters["stranger"] == 1
    await link.wait_closed()


async def test_checks_that_are_sent_again_by_somebody_else_keep_nobodys_consent_fresh(wire: tuple[Edge, FakeSocket], clock: Clock) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    prove(edge, socket, link, CLIENT)
    overheard = check(link)

    for _ in range(int(edges.CONSENT_SECONDS)):
        clock.now += 1
        edge.datagram_received(overheard, CLIENT)
        edge.sweep()

    assert link.closed
    await link.wait_closed()


async def test_an_address_in_use_is_asked_every_few_seconds_and_more_often_while_it_does_not_answer(
    wire: tuple[Edge, FakeSocket], clock: Clock
) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    prove(edge, socket, link, CLIENT)
    socket.sent.clear()

    for _ in range(12):
        clock.now += 1
        edge.sweep()

    assert len(socket.to(CLIENT)) == 4, "after 5, 7, 9 and 11 seconds"
    assert {username_of(asked) for asked in socket.to(CLIENT)} == {f"{CLIENT_ICE[0]}:{link.ufrag}"}


async def test_a_flood_under_a_forged_address_does_not_keep_that_address_from_answering(wire: tuple[Edge, FakeSocket], clock: Clock) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    prove(edge, socket, link, CLIENT)
    clock.now += edges.ASKED_EVERY
    edge.sweep()
    answer = reply_to(socket.to(CLIENT)[-1])

    for _ in range(int(edges.KNOWN_BURST) + 100):
        edge.datagram_received(check(link, pwd="guess"), CLIENT)
    edge.datagram_received(answer, CLIENT)

    assert edge.counters["stun-budget"] == 100
    assert link.answered_at == clock.now


async def test_whoever_is_asked_has_one_answer_looked_at_and_no_flood_of_them(wire: tuple[Edge, FakeSocket], clock: Clock) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    prove(edge, socket, link, CLIENT)
    clock.now += edges.ASKED_EVERY
    edge.sweep()
    wrong = reply_to(socket.to(CLIENT)[-1], pwd="guess")

    for _ in range(1000):
        edge.datagram_received(wrong, CLIENT)

    assert edge.counters["stun-forged"] == 1
    assert edge.counters["stun-budget"] == 1000 - 1 - edges.KNOWN_BURST


async def test_after_an_ice_restart_the_old_credentials_hold_until_the_new_are_used(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    prove(edge, socket, link, CLIENT)
    old = (link.ufrag, link.pwd)

    link.restart()
    edge.datagram_received(check(link, ufrag=old[0], pwd=old[1]), CLIENT)
    assert edge.counters["stun-unknown"] == 0

    edge.datagram_received(check(link), CLIENT)
    edge.datagram_received(check(link, ufrag=old[0], pwd=old[1]), CLIENT)
    assert edge.counters["stun-unknown"] == 1


async def test_repeated_restarts_leave_two_sets_of_credentials_at_most(wire: tuple[Edge, FakeSocket]) -> None:
    edge, _ = wire
    link, _ = dry_link(edge)
    for _ in range(50):
        link.restart()
    assert len(edge._by_ufrag) == 2


async def test_a_link_remembers_a_bounded_number_of_addresses(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    for port in range(1, 40):
        edge.datagram_received(check(link, nominate=False), (STRANGER[0], port))
    assert len(edge._links[link]) == edges.MOST_ADDRESSES
    for port in range(100, 140):
        prove(edge, socket, link, (CLIENT[0], port))
    assert len(edge._by_address) <= edges.MOST_ADDRESSES + 1
    assert len(edge._asked) <= edges.MOST_ADDRESSES * edges.MOST_PROBES
    link.close()
    assert (edge._asked, edge._by_address, edge._by_ufrag, edge._links) == ({}, {}, {}, {})
    await link.wait_closed()


async def test_of_a_link_that_is_closed_no_budget_is_kept_and_its_addresses_are_strangers(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    link, _ = dry_link(edge)
    prove(edge, socket, link, CLIENT)
    edge.datagram_received(check(link), CLIENT)
    edge.datagram_received(check(link), ELSEWHERE)
    edge.datagram_received(check(link, pwd="guess"), STRANGER)
    of_strangers = {address[0] for address in (CLIENT, ELSEWHERE, STRANGER)}
    assert (set(edge._budgets._buckets), len(edge._named)) == ({*of_strangers, CLIENT}, 1)

    link.close()

    assert (set(edge._budgets._buckets), len(edge._named)) == (of_strangers, 0)
    await link.wait_closed()


async def test_a_full_socket_refuses_packets_instead_of_queueing_them(wire: tuple[Edge, FakeSocket]) -> None:
    edge, socket = wire
    socket.full = True
    assert not edge.send(b"x", CLIENT)
    assert edge.counters["send-full"] == 1


async def test_one_fault_in_a_turn_of_the_clock_is_not_the_last_turn(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    edge = await Edge.bind()
    turns: list[int] = []

    def poll(now: int) -> None:
        turns.append(now)
        if len(turns) == 1:
            raise OSError

    monkeypatch.setattr(edge.path, "poll", poll)
    async with asyncio.timeout(PATIENCE):
        while len(turns) < 3:
            await asyncio.sleep(0.01)

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    await edge.close()
