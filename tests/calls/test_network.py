"""The network test behind its page: who may ask, how often, what a worker answers, and that a trial is no call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from django.conf import settings as site
from django.test import Client
from django.utils import timezone
from pydantic import SecretStr

from calls import placement, services
from calls.media import probes, wire
from calls.media.client.connection import Connection
from calls.media.client.description import Sending, offer
from calls.media.edge import Edge
from calls.media.probes import Probes
from calls.media.worker import Worker
from calls.services.relays import TEST_LIFE
from cleac_site.pages import network
from tenants.errors import Refused
from tenants.identity import GUEST_COOKIE
from tenants.models import LinkSecret
from tenants.throttle import Limit
from tests.calls import scenes
from tests.media.test_peer import rtp

PATIENCE = 30.0
JSON = "application/json"
SSRC = 77


async def until(true: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


class Browser:
    """A headless end that offers one line of sound, in which it would send."""

    def __init__(self) -> None:
        self.connection = Connection(lambda clear: None, lambda clear: None)
        self.offer = offer(self.connection, [Sending("mic", "0", SSRC)])

    async def connect(self, answer: str) -> None:
        await self.connection.bind()
        self.connection.learn(answer)
        await until(lambda: self.connection.connected)


@pytest_asyncio.fixture
async def edge() -> AsyncIterator[Edge]:
    opened = await Edge.bind("127.0.0.1")
    yield opened
    await opened.close()


async def test_a_trial_comes_about_names_every_way_and_carries_nothing(edge: Edge) -> None:
    trials, browser = Probes(edge), Browser()

    answer = trials.open(browser.offer)
    await browser.connect(answer)
    await until(lambda: browser.connection.send(rtp(SSRC)) or edge.counters["ssrc-undeclared"])

    ways = [line.split(" ")[2] for line in answer.split("\r\n") if line.startswith("a=candidate:")]
    assert (ways, "a=inactive" in answer, "a=recvonly" in answer) == (["udp", "tcp"], True, False)
    await browser.connection.close()


async def test_a_trial_ends_by_itself_whether_or_not_the_browser_ever_came(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "LIFE", 0.05)
    trials = Probes(edge)

    trials.open(Browser().offer)
    assert len(trials) == 1

    await until(lambda: not len(trials))


async def test_there_is_an_end_to_the_number_of_trials_at_a_time(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "MOST", 1)
    trials = Probes(edge)
    trials.open(Browser().offer)

    with pytest.raises(Refused, match="probes-full"):
        trials.open(Browser().offer)

    trials.close()
    assert trials.open(Browser().offer)
    trials.close()


# Between the page and the worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker with its edge, in a thread of its own, as the database knows it."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

    async def serve() -> None:
        stop = asyncio.Event()
        opened = await Edge.bind("127.0.0.1")
        started = Worker(opened, site.CLEAC.pipe_key.get_secret_value().encode(), lambda order: None)
        await started.listen("127.0.0.1")
        found.extend([started, stop])
        ready.set()
        await stop.wait()
        await started.drain()
        await opened.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(PATIENCE)
    yield found[0]
    loop.call_soon_threadsafe(found[1].set)
    thread.join(PATIENCE)
    loop.close()


@pytest.fixture
def gail(cast: Any) -> Client:
    """Gail's browser, in which her link was opened."""
    with scenes.acme(cast):
        meeting = scenes.meeting(cast)
    browser = Client()
    browser.cookies[GUEST_COOKIE] = scenes.guest_token(cast, meeting, cast.gail)
    return browser


def ask(browser: Client, **body: str) -> Any:
    return browser.post("/my/network/way", body, content_type=JSON)


def test_a_guests_offer_is_answered_by_a_living_worker(gail: Client, worker: Worker) -> None:
    placement.register(worker.address)

    answer = ask(gail, sdp=Browser().offer)

    assert answer.status_code == 200
    assert "a=ice-lite" in answer.json()["sdp"]
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize(("sdp", "code"), [("", "sdp-malformed"), ("v=0", "sdp-malformed"), ("v=0\r\n" + "a=x\r\n" * 9000, "sdp-too-large")])
def test_what_is_no_offer_is_refused_by_name(gail: Client, worker: Worker, sdp: str, code: str) -> None:
    placement.register(worker.address)

    answer = ask(gail, sdp=sdp)

    assert (answer.status_code, answer.json()) == (400, {"code": code})


def test_without_a_worker_and_with_one_that_does_not_answer_the_page_is_told(gail: Client) -> None:
    assert (ask(gail, sdp="v=0").status_code, ask(gail, sdp="v=0").json()) == (503, {"code": "no-media-worker"})

    placement.register("127.0.0.1:9")

    assert ask(gail, sdp="v=0").json() == {"code": "no-media-worker"}


def test_who_asks_too_often_is_told_to_wait(gail: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "NETWORK_TESTS", Limit("three-tests", times=3, seconds=600))

    answers = [ask(gail, sdp="v=0") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [503, 503, 503, 429]
    assert int(answers[3]["Retry-After"]) > 0


def test_strangers_have_no_test_and_staff_have_theirs(cast: Any, sign_in: Any) -> None:
    assert Client().get("/my/network/").status_code == 302
    assert ask(Client(), sdp="v=0").status_code == 401
    otto = sign_in(cast.otto_user)
    assert "Test your network" in otto.get("/t/acme/my/network/").content.decode()
    assert otto.get("/t/globex/my/network/").status_code == 404
    assert otto.post("/t/acme/my/network/relays", {}, content_type=JSON).json() == {"ice_servers": []}


@pytest.mark.parametrize("revoked", [False, True])
def test_whoever_came_by_a_link_that_was_revoked_has_no_test(cast: Any, gail: Client, revoked: bool) -> None:
    """The link still opens what is held about its holder; it makes no worker do anything."""
    with scenes.acme(cast):
        if revoked:
            for link in LinkSecret.objects.filter(person=cast.gail):
                LinkSecret.objects.filter(pk=link.pk).update(revoked_at=timezone.now())
    steps = [gail.post(f"/my/network/{step}", {"sdp": "v=0"}, content_type=JSON) for step in ("relays", "way")]
    statuses = [gail.get("/my/network/").status_code, *(answer.status_code for answer in steps)]
    home = gail.get("/my/")

    assert statuses == ([404, 404, 404] if revoked else [200, 200, 503])
    assert home.status_code == 200
    assert ("Test your network" in home.content.decode()) is not revoked


def test_the_credentials_of_a_test_end_with_it(gail: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.CLEAC, "turn_urls", "turn:turn.example.org:3478?transport=udp")
    monkeypatch.setattr(site.CLEAC, "turn_secret", SecretStr("shared"))
    at = timezone.now()

    [relay] = gail.post("/my/network/relays", {}, content_type=JSON).json()["ice_servers"]

    assert 0 <= int(relay["username"].split(":")[0]) - int((at + TEST_LIFE).timestamp()) <= PATIENCE
    assert services.relays_for_a_test(at=at)[0]["username"] != relay["username"]


def test_a_token_for_a_trial_opens_nothing_else(worker: Worker) -> None:
    """Whoever has one gets one answer; it names no call and no participant."""
    token = wire.probe_token(site.CLEAC.pipe_key.get_secret_value().encode(), address=worker.address, now=time.time())

    claims = wire.verify(site.CLEAC.pipe_key.get_secret_value().encode(), token, address=worker.address, now=time.time())

    assert (claims.typ, claims.call, claims.participant, claims.fence) == ("probe", "", "", 0)
