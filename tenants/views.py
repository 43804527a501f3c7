"""Pages that say who belongs to the house, whom it invites, and which keys open it; and a guest's way out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.csrf import ensure_csrf_cookie

from . import accounts, invitations, queries, scope, services
from .base_views import Page, SeeOther, body_of, problem, required
from .errors import Refused
from .identity import GUEST_COOKIE, identity_of
from .models import LinkSecret, Membership, StaffInvitation
from .permissions import scopes_within
from .throttle import WRONG_LINKS

REFUSALS = {
    "last-owner": gettext_lazy("There is no other owner, and an organisation needs one."),
    "changes-oneself": gettext_lazy("Somebody else has to change your role."),
    "removes-oneself": gettext_lazy("Somebody else has to remove you."),
    "not-found": gettext_lazy("That is not there any more."),
    "owners-only": gettext_lazy("Only an owner can remove an owner, make one, or change the role of one."),
    "already-member": gettext_lazy("Somebody with this address works here already."),
    "already-invited": gettext_lazy("This address is invited already. You can send the mail again."),
    "address-malformed": gettext_lazy("This is no e-mail address."),
    "too-many-invitations": gettext_lazy("There are too many open invitations. Take one back that is not needed any more."),
    "invitation-over": gettext_lazy("This invitation was accepted or taken back already."),
    "invitation-used": gettext_lazy("This invitation was accepted already."),
    "invitation-revoked": gettext_lazy("This invitation was taken back."),
    "invitation-expired": gettext_lazy("This invitation has expired."),
    "other-address": gettext_lazy("This invitation is for another address."),
    "sent-just-now": gettext_lazy("A mail was sent a moment ago. Wait a minute before you send another."),
    "unknown-role": gettext_lazy("There is no such role."),
    "name-malformed": gettext_lazy("The name is missing or too long."),
    "scopes-missing": gettext_lazy("Choose what the key may do."),
    "ends-in-the-past": gettext_lazy("The last day lies in the past."),
    "ends-too-late": gettext_lazy("No calendar goes as far as that."),
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
    """Everybody who works here, each with a role that can be changed and a way to remove them; who is invited, and a form to invite."""

    ability = {"GET": "members.see", "POST": "members.write"}
    template_name = "tenants/members.html"
    http_method_names = ("get", "head", "post")

    def roles(self) -> list[tuple[str, Any]]:
        """Those that the reader may give."""
        owner = self.membership.role == Membership.Role.OWNER
        return [choice for choice in Membership.Role.choices if owner or choice[0] != Membership.Role.OWNER]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        roles, now = self.roles(), timezone.now()
        owner = self.membership.role == Membership.Role.OWNER
        entries = [
            {"member": one, "own": one.pk == self.membership.pk, "open": owner or one.role != Membership.Role.OWNER}
            for one in queries.members_of(self.tenant)
        ]
        invited = [
            {"invitation": one, "open": owner or one.role != Membership.Role.OWNER, "state": invitations.state_of(one, now)}
            for one in queries.open_staff_invitations()
        ]
        kwargs.setdefault("form", InvitationForm(roles=roles))
        return super().get_context_data(entries=entries, invited=invited, roles=roles, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Invite somebody."""
        form = InvitationForm(request.POST, roles=self.roles())
        if form.is_valid():
            try:
                made = invitations.invite(**form.cleaned_data, by=self.actor, at=timezone.now())
            except Refused as refused:
                form.add_error(None, str(REFUSALS[refused.code]))
            else:
                messages.success(request, gettext("A mail to {address} is on its way.").format(address=made.person.email))
                return SeeOther(reverse("members", args=[self.tenant.slug]))
        return self.render_to_response(self.get_context_data(form=form), status=422)


class InvitationForm(forms.Form):
    """Somebody who shall work here; of the roles only those that the inviter may give."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=services.NAME_LENGTH)
    email = forms.EmailField(
        label=gettext_lazy("E-mail address"), help_text=gettext_lazy("The mail with the link goes there, and nobody else can use it.")
    )
    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=(), initial=Membership.Role.MEMBER)

    def __init__(self, *args: Any, roles: list[tuple[str, Any]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = roles


class InvitationAction(Page):
    """A button beside somebody who is invited: does it, says so, goes back to the members."""

    ability = "members.write"
    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        invitation = required(queries.staff_invitation(self.kwargs["invitation"]))
        try:
            said = self.act(invitation)
        except Refused as refused:
            messages.error(request, str(REFUSALS[refused.code]))
        else:
            messages.success(request, said)
        return SeeOther(reverse("members", args=[self.tenant.slug]))

    def act(self, invitation: StaffInvitation) -> str:
        """What was done, in words. Raises Refused as the service does."""
        raise NotImplementedError


class RemindInvited(InvitationAction):
    """Sends the mail again, with a new link."""

    def act(self, invitation: StaffInvitation) -> str:
        invitations.remind(invitation=invitation, by=self.actor, at=timezone.now())
        return gettext("Another mail to {address} is on its way.").format(address=invitation.person.email)


class RevokeInvited(InvitationAction):
    """Takes the invitation back."""

    def act(self, invitation: StaffInvitation) -> str:
        invitations.revoke(invitation=invitation, by=self.actor, at=timezone.now())
        return gettext("The invitation of {name} opens nothing any more.").format(name=invitation.person.name)


@method_decorator(ensure_csrf_cookie, name="dispatch")
class InvitedLink(Page):
    """Where the link in the mail leads: takes the secret out of the address and posts it; the same page for every link."""

    ability = "staff_invitation.open"
    template_name = "tenants/invited_link.html"
    http_method_names = ("get", "head")


class InvitedOpen(Page):
    """Takes an invitation's secret and remembers in the browser's session that it was shown."""

    ability = "staff_invitation.open"
    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """`{"next": <address>}`, or one plain 404 for every secret that opens nothing; 429 as with the links of guests, counted together."""
        taken = WRONG_LINKS.take(request)
        if taken.wait:
            return problem(429, "unknown-link", wait=taken.wait)
        try:
            link = invitations.link_of(secret=body_of(request, "secret"))
        except Refused as refused:
            return JsonResponse({"code": refused.code}, status=refused.status)
        WRONG_LINKS.give_back(taken)
        accounts.remember(request, link)
        return JsonResponse({"next": reverse("invited")})


class Invited(Page):
    """Who invites whom as what, and the next step: accept, sign in, make an account, or why none of it is possible."""

    ability = {"GET": "staff_invitation.open", "POST": "staff_invitation.accept"}
    template_name: str = "tenants/invited.html"
    http_method_names = ("get", "head", "post")

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        link = accounts.remembered(request)
        if link is None:
            return SeeOther(reverse("invited_link"))
        with scope.entered(link.tenant):
            return render(request, self.template_name, self.context_of(link))  # here and now: the template reads rows of the tenant

    def context_of(self, link: LinkSecret) -> dict[str, Any]:
        """What the page says. Inside the tenant's scope; Refused("not-found", 404) when the invitation is gone."""
        invitation, user = required(queries.staff_invitation(link.subject_id)), self.request.user
        address = invitation.person.email
        member = queries.membership_in(link.tenant, user) if user.is_authenticated else None
        facts = {"house": link.tenant, "invitation": invitation, "state": invitations.state_of(invitation, timezone.now()).value, "member": member}
        known = {"account_exists": queries.user_by_address(address) is not None}
        fits = user.is_authenticated and queries.proves(user, address)
        return self.get_context_data(**facts, **known, fits=fits, here=reverse("invited"))

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Accept. A second press finds the membership of the first."""
        link = required(accounts.remembered(request))
        user = request.user
        assert user.is_authenticated
        with scope.entered(link.tenant):
            invitation = required(queries.staff_invitation(link.subject_id))
            try:
                invitations.accept(invitation=invitation, user=user, at=timezone.now())
            except Refused as refused:
                if queries.membership_in(link.tenant, user) is None:
                    messages.error(request, str(REFUSALS[refused.code]))
                    return SeeOther(reverse("invited"))
            else:
                messages.success(request, gettext("Welcome. You work for {tenant} now.").format(tenant=link.tenant.name))
        accounts.forget_invitation(request)
        return SeeOther(reverse("tenant_home", args=[link.tenant.slug]))


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
    last_day = forms.DateField(
        label=gettext_lazy("Last day"),
        help_text=gettext_lazy("Afterwards the key opens nothing. Left empty, it works until somebody revokes it."),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        initial=lambda: timezone.localdate() + services.KEY_LIFE,
        required=False,
    )

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
