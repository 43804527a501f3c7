"""How many wrong passwords one client may try for one account, counted in the database for all processes together.

What must never happen here: a failed try leaves an address, a name, a browser or what was typed. A row holds a keyed hash of account and client
and a number, and goes with its time. The cache counts tries as well; this count also holds when the cache has forgotten everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from axes.handlers.base import AxesHandler
from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from . import queries, services, throttle

SALT = "cleac.lockout"
NAMES = ("login", "email", "username")  # what a form or a backend calls the account


class Lockout(AxesHandler):  # type: ignore[misc]  # reason: axes ships no types
    """What django-axes asks and tells, see AXES_HANDLER. Without a request there is no client to count for."""

    def get_failures(self, request: HttpRequest, credentials: Mapping[str, Any] | None = None) -> int:
        return queries.sign_in_failures(key(request, credentials), timezone.now())

    def user_login_failed(self, sender: Any, credentials: Mapping[str, Any], request: Any = None, **more: Any) -> None:
        """Count it, unless it was refused: waiting is not made longer by trying again."""
        if request is None or request.axes_locked_out:
            return
        times = services.count_sign_in_failure(key=key(request, credentials), at=timezone.now(), lasts=settings.AXES_COOLOFF_TIME)
        request.axes_locked_out = times >= settings.AXES_FAILURE_LIMIT


def key(request: HttpRequest, credentials: Mapping[str, Any] | None) -> bytes:
    """One account and one client, as 32 octets that lead back to neither without our secret."""
    told = [*(value for name in NAMES if (value := (credentials or {}).get(name))), *(request.POST.get(name, "") for name in NAMES)]
    account = str(next(filter(None, told), "")).strip().lower()
    return salted_hmac(SALT, f"{throttle.client_of(request)}\0{account}", algorithm="sha256").digest()
