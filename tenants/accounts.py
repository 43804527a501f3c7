"""How allauth behaves here: no open sign-up, nothing said about who has an account."""

from __future__ import annotations

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from . import throttle
from .models import User


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]  # reason: allauth ships no types
    """Staff are invited by their tenant and guests need no account, so nobody signs up; limits count the address that ours count."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return throttle.address_of(request)


def entrance(user: User) -> str:
    """Where somebody signs in: with a password the sign-in page, without one a link that sets it, once, within three days."""
    path = reverse("account_login")
    if not user.has_usable_password():
        key = app_settings.PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": user_pk_to_url_str(user), "key": key})
    return f"{settings.CLEAC.public_url}{path}"
