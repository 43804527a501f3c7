"""What a page does by itself when its network changes in the middle of a call: nothing is touched, and the pictures go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from calls.media import edge as edges
from calls.media.edge import Edge
from calls.media.path import Address

from .pages import PageOf, hall, until
from .relays import Relay, Way

pytestmark = [pytest.mark.browser]

SMALL = (320, 180)


@dataclass(frozen=True, slots=True)
class Call:
    """Hana and Gail, who see each other, each behind a router of her own."""

    edge: Edge
    hana: PageOf
    gail: PageOf

    @property
    def router(self) -> Relay:
        """What stands between Hana and the worker."""
        assert self.hana.relay is not None
        return self.hana.relay

    def addresses_of_hana(self) -> set[Address | None]:
        """Where the worker sends what is for her two connections."""
        links = (self.hana.member.publisher.link, self.hana.member.subscriber.link)
        return {link.address for link in links if link is not None}

    async def answers(self) -> None:
        """Hana's browser is asked on each of her connections, and answers."""
        asked = [link for link in (self.hana.member.publisher.link, self.hana.member.subscriber.link) if link is not None]
        before = [link.answered_at for link in asked]
        await so("an answer on both connections", lambda: all(link.answered_at > at for link, at in zip(asked, before, strict=True)))

    async def goes_on(self) -> None:
        await self.hana.sees_more_of("gail")
        await self.gail.sees_more_of("hana")


@pytest_asyncio.fixture
async def call() -> AsyncIterator[Call]:
    async with hall() as opened:
        running = Call(opened.edge, await opened.join("hana", up=Way()), await opened.join("gail", up=Way()))
        for page in (running.hana, running.gail):
            await page.film(*SMALL)
        await running.goes_on()
        yield running


async def so(what: str, true: Callable[[], object]) -> None:
    async def found() -> bool:
        return bool(true())

    await until(what, found)


async def test_a_page_that_comes_from_another_address_goes_on_without_a_word(call: Call) -> None:
    said, before = len(call.hana.said), call.addresses_of_hana()

    await call.router.renew()
    await so("both connections of Hana move", lambda: before.isdisjoint(call.addresses_of_hana()))
    await call.goes_on()

    assert len(call.hana.said) == said
    assert call.hana.failed == []


async def test_an_ice_restart_by_the_page_and_one_by_the_worker_keep_both_sessions(call: Call) -> None:
    sending, receiving = call.hana.member.publisher.link, call.hana.member.subscriber.link
    assert sending is not None
    assert receiving is not None
    before, addresses = receiving.ufrag, call.addresses_of_hana()

    call.hana.member.restart()
    await call.hana.page.evaluate("pub.pc.restartIce()")
    await call.hana.film(*SMALL, source="screen")
    await so("each restart brings new ports", lambda: addresses.isdisjoint(call.addresses_of_hana()))
    await so("the old credentials are void", lambda: before not in call.edge._by_ufrag)
    await call.goes_on()

    assert (call.hana.member.publisher.link, call.hana.member.subscriber.link) == (sending, receiving)
    assert (sending.state, receiving.state) == ("connected", "connected")


async def test_a_browser_answers_each_time_that_it_is_asked_whether_it_is_still_there(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "ASKED_EVERY", 1.0)
    for _ in range(3):
        await call.answers()

    old = {call.hana.member.publisher.link.ufrag, call.hana.member.subscriber.link.ufrag}  # type: ignore[union-attr]  # reason: they flow
    call.hana.member.restart()
    await call.hana.page.evaluate("pub.pc.restartIce()")
    await call.hana.film(*SMALL, source="screen")
    await so("the old credentials are void", lambda: old.isdisjoint(call.edge._by_ufrag))
    for _ in range(3):
        await call.answers()

    assert call.edge.counters["consent-expired"] == 0


async def test_a_page_that_was_cut_off_until_its_browser_gave_up_restarts_ice_and_goes_on(call: Call) -> None:
    call.router.silent = True
    await so("Hana's page restarts both connections", lambda: "restart" in call.hana.said and call.hana.said.count("publish") > 1)

    await call.router.renew()
    call.router.silent = False
    await call.goes_on()

    assert call.hana.failed == []


async def test_a_page_whose_worker_gave_it_up_knows_that_it_must_join_anew(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "CONSENT_SECONDS", 1.0)
    call.router.silent = True

    await so("Hana's page gives both connections up", lambda: len(call.hana.failed) == 2)

    assert call.hana.member.publisher.link is None
    assert call.hana.member.subscriber.link is not None
    assert call.hana.member.subscriber.link.closed
