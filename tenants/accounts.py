"""How allauth behaves here: no open sign-up, nothing said about who has an account."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]  # reason: allauth ships no types
    """Staff are invited by their tenant and guests need no account, so nobody signs up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
