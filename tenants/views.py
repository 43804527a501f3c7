"""Pages that change who belongs to the house."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from . import queries, services
from .base_views import Page, SeeOther, required
from .errors import Refused
from .models import Membership

REFUSALS = {
    "last-owner": gettext_lazy("There is no other owner, and an organisation needs one."),
    "removes-oneself": gettext_lazy("Somebody else has to remove you."),
    "owners-only": gettext_lazy("Only an owner can remove an owner."),
}


class RemoveMember(Page):
    """A button beside a member: ends the membership, says so, goes back to the people."""

    ability = "members.remove"
    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        leaving = required(queries.member_of(self.tenant, self.kwargs["membership"]))
        try:
            self.check(leaving)
            services.remove_member(membership=leaving, by=self.actor, at=timezone.now())
        except Refused as refused:
            messages.error(request, str(REFUSALS[refused.code]))
        else:
            messages.success(request, gettext("The account of {name} opens nothing here any more.").format(name=leaving.person.name))
        return SeeOther(reverse("people", args=[self.tenant.slug]))

    def check(self, leaving: Membership) -> None:
        """Raises Refused: "removes-oneself" 409, and "owners-only" 403 for an owner whom somebody of a lower role wants to remove."""
        if leaving.pk == self.membership.pk:
            raise Refused("removes-oneself", 409)
        if leaving.role == Membership.Role.OWNER != self.membership.role:
            raise Refused("owners-only", 403)
