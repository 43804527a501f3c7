"""Limits hold over all processes of the running site together."""

from __future__ import annotations

import http.cookiejar
import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from django.test import Client

from tenants.throttle import WRONG_LINKS
from tests.tenants.test_throttle import JSON, OPEN, WRONG, guess


def test_all_processes_count_together(live_url: str, live_cast: Any) -> None:
    """Half of the tries go to this process, half to the running site: together they reach the limit."""
    before_the_border()
    guess(Client(), WRONG_LINKS.times // 2)
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar := http.cookiejar.CookieJar()))
    browser.open(live_url + "/j", timeout=30).close()
    token = next(str(cookie.value) for cookie in jar if cookie.name == "csrftoken")
    headers = {"Content-Type": JSON, "X-CSRFToken": token, "Origin": live_url}
    answers = []
    for _ in range(WRONG_LINKS.times - WRONG_LINKS.times // 2 + 1):
        with pytest.raises(urllib.error.HTTPError) as refused:
            browser.open(urllib.request.Request(live_url + OPEN, json.dumps(WRONG).encode(), headers), timeout=30)
        answers.append(refused.value.code)

    assert answers == [404] * (len(answers) - 1) + [429]


def before_the_border() -> None:
    """Wait for the next window when this one is about to end."""
    left = WRONG_LINKS.seconds - time.time() % WRONG_LINKS.seconds
    if left < 20:
        time.sleep(left + 0.1)
