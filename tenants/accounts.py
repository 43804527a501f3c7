"""How allauth behaves here: accounts by invitation only, nothing said about who has an account."""

from __future__ import annotations

from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import SignupForm as AllauthSignupForm
from allauth.account.utils import user_pk_to_url_str
from allauth.core import context
from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from . import invitations, queries, scope, throttle
from .models import LinkSecret, User

INVITED = "staff_invitation"  # in a session: the id of the link that was shown


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]  # reason: allauth ships no types
    """Guests need no account. Staff make one from the link of an invitation that is open, for the invited address and no other.

    Limits count the address that ours count.
    """

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return invited_address(request) is not None

    def is_email_verified(self, request: HttpRequest, email: str) -> bool:
        """The link came in a mail to this address."""
        return email.lower() == invited_address(request)

    def get_client_ip(self, request: HttpRequest) -> str:
        return throttle.address_of(request)


class SignupForm(AllauthSignupForm):  # type: ignore[misc]  # reason: allauth ships no types
    """The address is that of the invitation and cannot be changed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].initial = invited_address(context.request)
        self.fields["email"].widget.attrs["readonly"] = True

    def clean_email(self) -> str:
        invited = invited_address(context.request)
        if self.cleaned_data["email"].lower() != invited:
            raise forms.ValidationError(gettext("The invitation is for another address."))
        return str(super().clean_email())


def remember(request: HttpRequest, link: LinkSecret) -> None:
    """This browser has shown the link of an invitation."""
    request.session[INVITED] = str(link.pk)


def forget_invitation(request: HttpRequest) -> None:
    request.session.pop(INVITED, None)


def remembered(request: HttpRequest) -> LinkSecret | None:
    """The link of an invitation that this browser has shown, unless it was reported stolen since; its tenant is not entered."""
    link = queries.link(request.session[INVITED]) if INVITED in request.session else None
    return None if link is None or link.stolen else link


def invited_address(request: HttpRequest) -> str | None:
    """The address to which this browser's invitation was mailed, while it can be accepted."""
    link = remembered(request)
    if link is None:
        return None
    with scope.entered(link.tenant):
        invitation = queries.staff_invitation(link.subject_id)
        if invitation is None or invitations.state_of(invitation, timezone.now()) is not invitations.State.OPEN:
            return None
        return invitation.person.email.lower() or None


def entrance(user: User) -> str:
    """Where somebody signs in: with a password the sign-in page, without one a link that sets it, once, within three days."""
    path = reverse("account_login")
    if not user.has_usable_password():
        key = app_settings.PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": user_pk_to_url_str(user), "key": key})
    return f"{settings.CLEAC.public_url}{path}"
