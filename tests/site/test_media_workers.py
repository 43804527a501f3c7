"""`run` with several media workers: each of them carries calls."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bench.browser import chromium, pair
from bench.join import seen
from bench.site import Site, running
from cleac_site.bootstrap import ROOT

from .test_run import PATIENCE, clean_environment

pytestmark = pytest.mark.browser


def listed(site: Site) -> list[int]:
    """How many calls each media worker carries, by `media list`."""
    command = [sys.executable, "manage.py", "media", "list", "--json"]
    environment = clean_environment(CLEAC_DATA=str(site.data))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return sorted(one["calls"] for one in json.loads(done.stdout))


async def two_calls(site: Site) -> list[int]:
    """In each of two calls at one time Hana and Gail see each other. How many calls each worker has then."""
    async with AsyncExitStack() as ending:
        browser = await ending.enter_async_context(chromium())
        for _ in range(2):
            people = await ending.enter_async_context(pair(browser, site))
            await people.hana.page.get_by_role("button", name="Let in: Gail").click()
            await asyncio.gather(seen(people.hana, "Gail"), seen(people.gail, "Hana"))
        return await asyncio.to_thread(listed, site)


def test_run_starts_as_many_media_workers_as_it_is_told_and_each_carries_a_call(tmp_path: Path) -> None:
    with running(tmp_path / "data", CLEAC_MEDIA_WORKERS="2") as site:
        assert asyncio.run(two_calls(site)) == [1, 1]
