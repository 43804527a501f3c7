"""The cast, the servers, the browsers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
import redis
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from cleac_site import backends

from . import emptied, strict
from . import stack as stacks
from .environment import WEB_PORT

DEPLOYMENT = pytest.StashKey[stacks.Deployment]()
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--auto-select-desktop-capture-source=Entire screen",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
    "--disable-gpu",  # there is none: pages are painted without first asking a software one
]


class Cast:
    """Acme: owner Ada, host Hana, DPO Dora, auditor Otto, guests Gail and Gus. Globex: owner Nils, who must detect nothing."""

    def __init__(self) -> None:
        from cleac_site import demo  # noqa: PLC0415 - reason: needs configured settings
        from tenants import scope  # noqa: PLC0415 - reason: as above
        from tenants.models import Membership, Person, Tenant  # noqa: PLC0415 - reason: as above

        self.links = {link.name: link.url for link in demo.ensure_cast()}
        self.acme = Tenant.objects.get(slug="acme")
        self.globex = Tenant.objects.get(slug="globex")
        self.people: dict[str, Any] = {}
        self.memberships: dict[str, Any] = {}
        for tenant in (self.acme, self.globex):
            with scope.entered(tenant):
                self.people |= {person.name: person for person in Person.objects.all()}
                found = Membership.objects.select_related("user", "person").filter(tenant=tenant)
                self.memberships |= {m.person.name: m for m in found}

    def __getattr__(self, name: str) -> Any:
        """`cast.gail` is the Person; `cast.hana_user` the user."""
        if name.endswith("_user"):
            return self.memberships[name.removesuffix("_user").capitalize()].user
        try:
            return self.people[name.capitalize()]
        except KeyError:
            raise AttributeError(name) from None


def forget_cached_limits() -> None:
    """Empty the cache without touching the queues that share its Redis."""
    from django.core.cache import cache  # noqa: PLC0415 - reason: needs configured settings

    client = cache._cache.get_client()
    for key in client.scan_iter("cleac:*"):
        client.delete(key)


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """Rate limits of one test do not reach the next."""
    forget_cached_limits()


@pytest.fixture
def cast(db: None) -> Cast:
    return Cast()


@pytest.fixture
def sign_in(client: Any) -> Callable[[Any], Any]:
    """`sign_in(cast.hana_user)` -> the test client with that session."""

    def signed_in(user: Any) -> Any:
        client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
        return client

    return signed_in


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """Both databases, always: the running site needs them even where no test of a run asks for one by name."""
    from django.test.utils import setup_databases, teardown_databases  # noqa: PLC0415 - reason: needs configured settings

    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, aliases=["default", "keys"])
    with emptied.by_what_they_hold():
        yield
    with django_db_blocker.unblock():
        hang_up_others()
        teardown_databases(made, verbosity=0)


def hang_up_others() -> None:
    """End the connections that threads of this process left open: a database in use cannot be dropped. Ours only: nobody may end the server's."""
    from django.db import connections  # noqa: PLC0415 - reason: needs configured settings

    for connection in connections.all():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                others = "datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
                cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


@pytest.fixture(scope="session")
def deployment(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[stacks.Deployment]:
    """Not running before somebody asks for `stack`; `pytest_runtest_teardown` ends it when the tests on it are over."""

    def tidy() -> None:
        forget_jobs(before)
        with django_db_blocker.unblock():
            empty_databases()

    before = keys_in_redis()
    request.config.stash[DEPLOYMENT] = found = stacks.Deployment(WEB_PORT, tidy)
    yield found
    found.end()


@pytest.fixture
def stack(deployment: stacks.Deployment) -> stacks.Stack:
    """All processes of a production deployment, on the test databases."""
    return deployment.running()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """The site runs no longer than the tests on it need: it writes into the databases, which the following tests have for themselves."""
    yield
    deployment = item.config.stash.get(DEPLOYMENT, None)
    if deployment and nextitem and strict.together(nextitem.nodeid) != strict.together(item.nodeid):
        deployment.end()


@pytest.fixture
def live_url(stack: stacks.Stack, django_db_blocker: Any) -> Iterator[str]:
    """The address of the running site; rows made by the test are seen by it, and all are gone afterwards."""
    with django_db_blocker.unblock():
        yield stack.url
        empty_databases()


def queues() -> Any:
    """The Redis that the queues of jobs are in."""
    from django.conf import settings  # noqa: PLC0415 - reason: needs configured settings

    return redis.Redis.from_url(settings.CLEAC.redis_url)


def keys_in_redis() -> set[bytes]:
    with queues() as client:
        return set(client.scan_iter())


def forget_jobs(before: set[bytes]) -> None:
    """Whatever is in Redis besides what was there `before`: jobs that nobody does any more, groups of sockets that are closed."""
    with queues() as client:
        for key in keys_in_redis() - before:
            client.delete(key)


def empty_databases() -> None:
    """Empty every table while the site goes on querying: whoever of the two PostgreSQL picks as victim of a deadlock, we try again."""
    from django.core.management import CommandError, call_command  # noqa: PLC0415 - reason: needs configured settings
    from django.db import connections  # noqa: PLC0415 - reason: as above

    for alias in connections:
        for last in (False, False, False, False, True):
            try:
                call_command("flush", database=alias, interactive=False, verbosity=0)
                break
            except CommandError:
                if last:
                    raise


@pytest.fixture
def live_cast(live_url: str) -> Cast:
    return Cast()


@pytest.fixture
def worker_known(live_url: str) -> None:
    """The running media worker is in its table: emptying the tables takes its row away until its next heartbeat."""
    from calls import placement  # noqa: PLC0415 - reason: needs configured settings

    stacks.wait_until("a media worker is known", lambda: any(worker.lives for worker in placement.workers()))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=backends.chromium().address, args=CHROMIUM_FLAGS)
        yield started
        await started.close()


@dataclass
class Visitor:
    """One person's browser: own cookies, own page, and what went wrong in it."""

    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser, live_url: str) -> AsyncIterator[Callable[..., Any]]:
    """`await visitor()` -> a Visitor. At the end no console error, page error or request to another origin may have happened."""
    visitors: list[Visitor] = []

    async def arrive(**options: Any) -> Visitor:
        options.setdefault("permissions", ["camera", "microphone"])
        context = await browser.new_context(base_url=live_url, **options)
        person = Visitor(context, await context.new_page())
        context.on("console", lambda m: person.errors.append(m.text) if m.type == "error" else None)
        context.on("weberror", lambda e: person.errors.append(str(e.error)))
        context.on("request", lambda r: person.foreign.append(r.url) if not r.url.startswith((live_url, "data:", "blob:")) else None)
        visitors.append(person)
        return person

    yield arrive
    for person in visitors:
        await person.context.close()
    assert [person.foreign for person in visitors if person.foreign] == []
    assert [person.errors for person in visitors if person.errors] == []
