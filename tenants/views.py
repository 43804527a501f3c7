"""Pages that say who belongs to the house and which keys open it; and a guest's way out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from . import queries, services
from .base_views import Page, SeeOther, required
from .errors import Refused
from .identity import GUEST_COOKIE, identity_of
from .models import Membership
from .permissions import scopes_within

REFUSALS = {
    "last-owner": gettext_lazy("There is no other owner, and an organisation needs one."),
    "changes-oneself": gettext_lazy("Somebody else has to change your role."),
    "removes-oneself": gettext_lazy("Somebody else has to remove you."),
    "owners-only": gettext_lazy("Only an owner can remove an owner, make one, or change the role of one."),
    "unknown-role": gettext_lazy("There is no such role."),
    "name-malformed": gettext_lazy("Give it a name of at most 80 characters."),
    "scopes-missing": gettext_lazy("Choose what the key may do."),
    "too-many-keys": gettext_lazy("There are too many keys. Revoke one that is not used any more."),
    "scope-beyond-role": gettext_lazy("A key cannot be allowed more than your own role."),
}
SCOPE_WORDS = {
    "tenant:read": gettext_lazy("Read the name of the organisation"),
    "meetings:read": gettext_lazy("Read meetings and invitations"),
    "meetings:write": gettext_lazy("Plan meetings, invite people, end meetings"),
    "recordings:read": gettext_lazy("Read what is recorded, without the media"),
    "recordings:write": gettext_lazy("Start and stop recordings"),
    "decisions:read": gettext_lazy("Read what people agreed to"),
    "requests:read": gettext_lazy("Read requests of people about their data"),
    "requests:write": gettext_lazy("Enter such requests"),
}


class GuestSignOut(Page):
    """A guest's button in the header of the own pages: the session ends, whatever it holds open closes. The link opens a new one."""

    ability = "guest.sign_out"
    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        services.end_guest_session(session=required(identity_of(request).guest), by=self.actor, at=timezone.now())
        messages.success(request, gettext("You are signed out. Your personal link lets you in again."))
        response = SeeOther(reverse("front"))
        response.delete_cookie(GUEST_COOKIE, samesite="Lax")
        return response


class Members(Page):
    """Everybody who works here, each with a role that can be changed and a way to remove them."""

    ability = "members.see"
    template_name = "tenants/members.html"
    http_method_names = ("get", "head")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        owner = self.membership.role == Membership.Role.OWNER
        roles = [choice for choice in Membership.Role.choices if owner or choice[0] != Membership.Role.OWNER]
        entries = [
            {"member": one, "own": one.pk == self.membership.pk, "open": owner or one.role != Membership.Role.OWNER}
            for one in queries.members_of(self.tenant)
        ]
        return super().get_context_data(entries=entries, roles=roles, **kwargs)


class MemberAction(Page):
    """A button beside a member: does it, says so, goes back to the members."""

    ability = "members.write"
    http_method_names = ("post",)
    of_oneself: str  # the code of the refusal

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        member = required(queries.member_of(self.tenant, self.kwargs["membership"]))
        try:
            if member.pk == self.membership.pk:
                raise Refused(self.of_oneself, 409)
            said = self.act(member)
        except Refused as refused:
            messages.error(request, str(REFUSALS[refused.code]))
        else:
            messages.success(request, said)
        return SeeOther(reverse("members", args=[self.tenant.slug]))

    def act(self, member: Membership) -> str:
        """What was done, in words. Raises Refused as the service does."""
        raise NotImplementedError


class RemoveMember(MemberAction):
    """Ends the membership."""

    of_oneself = "removes-oneself"

    def act(self, member: Membership) -> str:
        services.remove_member(membership=member, by=self.actor, at=timezone.now())
        return gettext("The account of {name} opens nothing here any more.").format(name=member.person.name)


class ChangeRole(MemberAction):
    """Gives the member another role."""

    of_oneself = "changes-oneself"

    def act(self, member: Membership) -> str:
        role = self.request.POST.get("role", "")
        changed = services.change_role(membership=member, role=role, by=self.actor, at=timezone.now())
        return gettext("{name} has this role now: {role}").format(name=member.person.name, role=changed.get_role_display())


class ApiKeyForm(forms.Form):
    """A new key; of the scopes only those that the maker's own role covers."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=80, help_text=gettext_lazy("Which program uses it, so that you know it again."))
    scopes = forms.MultipleChoiceField(label=gettext_lazy("What it may do"), widget=forms.CheckboxSelectMultiple, choices=())

    def __init__(self, *args: Any, roles: frozenset[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["scopes"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(scope, SCOPE_WORDS[scope]) for scope in scopes_within(roles)]


class ApiKeys(Page):
    """The tenant's keys and a form for a new one. Its secret is on the page that answers the form, and nowhere else, ever."""

    ability = {"GET": "keys.see", "POST": "keys.write"}
    template_name = "tenants/api_keys.html"

    def form(self, *data: Any) -> ApiKeyForm:
        return ApiKeyForm(*data, roles=identity_of(self.request).roles)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs.setdefault("form", self.form())
        return super().get_context_data(keys=list(queries.api_keys_of(self.tenant)), now=timezone.now(), **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        form = self.form(request.POST)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form), status=422)
        try:
            key, secret = services.issue_api_key(**form.cleaned_data, by=self.actor, at=timezone.now())
        except Refused as refused:
            form.add_error(None, str(REFUSALS[refused.code]))
            return self.render_to_response(self.get_context_data(form=form), status=422)
        return self.render_to_response(self.get_context_data(new=key, secret=secret), status=201)


class RevokeApiKey(Page):
    """A button beside a key."""

    ability = "keys.write"
    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        key = required(queries.api_keys_of(self.tenant).filter(pk=self.kwargs["api_key"]).first())
        services.revoke_api_key(key=key, by=self.actor, at=timezone.now())
        messages.success(request, gettext("The key “{name}” opens nothing any more.").format(name=key.name))
        return SeeOther(reverse("api_keys", args=[self.tenant.slug]))
