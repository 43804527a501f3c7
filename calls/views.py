"""Pages of meetings: the personal link, the way into a room for guests and staff, and what a host plans."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import ensure_csrf_cookie

from consent import queries as catalogue
from consent.catalogue import SOURCES
from tenants import identity as who
from tenants import scope
from tenants import services as house_services
from tenants.base_views import Page, body_of, problem
from tenants.errors import Refused
from tenants.models import LinkSecret
from tenants.permissions import may
from tenants.throttle import WRONG_LINKS

from . import queries, services
from .errors import Door
from .models import Call, Invitation, Meeting, Participant, Ticket

REFUSALS = {
    "meeting-over": gettext_lazy("This meeting is over."),
    "meeting-cancelled": gettext_lazy("This meeting was cancelled."),
    "meeting-not-scheduled": gettext_lazy("This meeting is over."),
    "invites-the-host": gettext_lazy("You host this meeting, so you need no invitation."),
    "too-many-invitations": gettext_lazy("This meeting has as many invitations as a meeting can have."),
    "unknown-purpose": gettext_lazy("One of these questions is not in your catalogue."),
    "starts-in-the-past": gettext_lazy("The start lies in the past."),
    "starts-too-late": gettext_lazy("The start is more than two years away."),
    "removes-the-host": gettext_lazy("The host cannot be removed."),
}


def worded(refused: Refused) -> str:
    """What a page says for a refusal."""
    return str(REFUSALS.get(refused.code, _("That is not possible now.")))


# The personal link


@method_decorator(ensure_csrf_cookie, name="dispatch")
class Link(Page):
    """Takes the secret out of the address and posts it; the same page for everybody, with or without a link that exists."""

    ability = "link.open"
    template_name = "calls/link.html"
    http_method_names = ("get", "head")


class LinkOpen(Page):
    """Changes a link's secret for a guest session."""

    ability = "link.open"
    http_method_names = ("post",)

    def post(self, request: HttpRequest) -> HttpResponse:
        """`{"next": <address>}` and the cookie, or one plain 404 for every secret that opens nothing.

        After too many of those from one address a while of 429 with the same code, for every secret alike, without looking it up.
        """
        taken = WRONG_LINKS.take(request)
        if taken.wait:
            return problem(429, "unknown-link", wait=taken.wait)
        try:
            session, token = house_services.open_guest_session(secret=body_of(request, "secret"), at=timezone.now())
        except Refused as refused:
            return JsonResponse({"code": refused.code}, status=refused.status)
        WRONG_LINKS.give_back(taken)
        with scope.entered(session.tenant):
            invitation = queries.invitation(session.link.subject_id)
        if invitation is None:
            return JsonResponse({"code": "unknown-link"}, status=404)
        response = JsonResponse({"next": reverse("join", args=[invitation.meeting_id])})
        age = house_services.GUEST_SESSION // timedelta(seconds=1)
        response.set_cookie(who.GUEST_COOKIE, token, max_age=age, httponly=True, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE)
        return response


# Into the room


class Entrance(Page):
    """What the guest's and the staff's way into one meeting share."""

    @property
    def link(self) -> LinkSecret | None:
        """What a guest came by; staff have none."""
        guest = who.identity_of(self.request).guest
        return guest.link if guest else None

    @property
    def is_host(self) -> bool:
        return may(who.identity_of(self.request).roles, "calls.host")

    def ticket_url(self, meeting: Meeting) -> str:
        """Where the page fetches its tickets."""
        raise NotImplementedError

    @property
    def my_data_url(self) -> str:
        """Where the reader sees what is kept of the reader, and can have it erased."""
        raise NotImplementedError

    def erase_url(self, meeting: Meeting) -> str:
        """Where a script has erased what the meeting has of the reader."""
        raise NotImplementedError

    @property
    def network_url(self) -> str:
        """Where the reader finds out which ways the own network lets through."""
        raise NotImplementedError

    def enter(self, meeting: Meeting) -> Participant:
        """Raises Refused with a code of `Door`."""
        return services.enter_lobby(meeting=meeting, person=self.person, host=self.is_host, link=self.link, by=self.actor, at=timezone.now())


@method_decorator(ensure_csrf_cookie, name="dispatch")
class Room(Entrance):
    """One page from the invitation to the call. The holder of a real link that is closed is told why."""

    template_name = "calls/join.html"
    http_method_names = ("get", "head")

    def get(self, request: HttpRequest, *args: Any, meeting: UUID, **kwargs: Any) -> HttpResponse:
        found = queries.meeting_attended(self.person, meeting)
        door = queries.door(found, self.person, self.link, timezone.now())
        if door is not Door.OPEN:
            told = self.get_context_data(meeting=found, state=door.value, my_data_url=self.my_data_url)
            return self.response_class(request, ["calls/state.html"], told, using=self.template_engine)
        return self.render_to_response(self.context_for(found))

    def context_for(self, meeting: Meeting) -> dict[str, Any]:
        """What the template and its scripts need; `room_context` is for `json_script`."""
        call = queries.open_call(meeting)
        own = queries.participation_of(self.person, call)
        inside = own is not None and own.state in queries.IN_THE_CALL
        cards = queries.cards(self.person, meeting, call)
        room = {
            "ticket_url": self.ticket_url(meeting),
            "lobby_url": "/ws/lobby",
            "call_url": "/ws/call",
            "erase_url": self.erase_url(meeting),
            "start": "call" if inside else "lobby",
            "title": meeting.title,
            "host": meeting.host.name,
            "name": self.person.name,
            "cards": [asdict(card) for card in cards],
            "recordings": {"url": "/api/v1/recordings", "tenant": self.tenant.slug} if self.is_host else None,
        }
        facts = {"meeting": meeting, "host": meeting.host, "person": self.person, "cards": cards, "is_host": meeting.host_id == self.person.pk}
        contact = self.tenant.contact_email or settings.CLEAC.contact_email
        urls = {"my_data_url": self.my_data_url, "network_url": self.network_url}
        return self.get_context_data(controller=self.tenant.name, contact_email=contact, room_context=room, **urls, **facts)


class TicketFor(Entrance):
    """`{"kind": "lobby" | "call"}` -> `{"ticket": ..., "call": <id of the sitting>}`, or a code: those of `Door`, and `not-admitted`."""

    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, meeting: UUID, **kwargs: Any) -> HttpResponse:
        kind = body_of(request, "kind")
        if kind not in Ticket.Kind.values:
            return JsonResponse({"code": "unknown-kind"}, status=400)
        found = queries.meeting_attended(self.person, meeting)
        try:
            participant = self.enter(found)
            ticket = services.issue_ticket(participant=participant, kind=kind, session_ref=who.session_ref(request), at=timezone.now())
        except Refused as refused:
            return JsonResponse({"code": refused.code}, status=refused.status)
        return JsonResponse({"ticket": ticket, "call": str(participant.call_id)})


class GuestEntrance(Entrance):
    ability = "meeting.join"

    def ticket_url(self, meeting: Meeting) -> str:
        return reverse("join_ticket", args=[meeting.pk])

    @property
    def my_data_url(self) -> str:
        return reverse("my_home")

    def erase_url(self, meeting: Meeting) -> str:
        return reverse("my_meeting_erase", args=[meeting.pk])

    @property
    def network_url(self) -> str:
        return reverse("my_network")


class StaffEntrance(Entrance):
    ability = "meetings.attend"

    def ticket_url(self, meeting: Meeting) -> str:
        return reverse("meeting_room_ticket", args=[self.tenant.slug, meeting.pk])

    @property
    def my_data_url(self) -> str:
        return reverse("own_home", args=[self.tenant.slug])

    def erase_url(self, meeting: Meeting) -> str:
        return reverse("own_meeting_erase", args=[self.tenant.slug, meeting.pk])

    @property
    def network_url(self) -> str:
        return reverse("own_network", args=[self.tenant.slug])


class Join(GuestEntrance, Room):
    """A guest's way into the room."""


class JoinTicket(GuestEntrance, TicketFor):
    """A ticket for a guest's browser."""


class StaffRoom(StaffEntrance, Room):
    """A host's or an invited colleague's way into the room."""


class StaffRoomTicket(StaffEntrance, TicketFor):
    """A ticket for a staff member's browser."""


# What a host plans


class MeetingForm(forms.Form):
    """A new meeting. Which questions are asked is the host's choice; nobody's answer is chosen here."""

    title = forms.CharField(label=gettext_lazy("Title"), max_length=120)
    why = forms.CharField(label=gettext_lazy("Why you meet"), max_length=1000, required=False, widget=forms.Textarea(attrs={"rows": 3}))
    starts_at = forms.DateTimeField(
        label=gettext_lazy("Starts at (UTC)"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text=gettext_lazy("Leave empty for a meeting that people may enter at any time."),
    )
    purposes = forms.MultipleChoiceField(label=gettext_lazy("Ask each person about"), required=False, widget=forms.CheckboxSelectMultiple, choices=())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["purposes"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(notice.purpose.key, notice.purpose.title) for notice in catalogue.notices(SOURCES)]


class InviteForm(forms.Form):
    """One person to invite. With an address the link goes there and nowhere else; without one the host hands it over."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=120)
    email = forms.EmailField(
        label=gettext_lazy("E-mail"),
        required=False,
        help_text=gettext_lazy("The personal link goes there, and nobody else sees it. Leave empty to hand it over yourself."),
    )


class Meetings(Page):
    """Every meeting that the reader may see, and a form for a new one."""

    ability = {"GET": "meetings.see", "POST": "meetings.write"}
    template_name = "calls/meetings.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found = queries.meetings_for(self.actor, who.identity_of(self.request).roles)
        kwargs.setdefault("form", MeetingForm())
        return super().get_context_data(meetings=queries.people_counts(found)[:200], **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        form = MeetingForm(request.POST)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form), status=422)
        try:
            meeting = services.schedule(**form.cleaned_data, host=self.person, by=self.actor, at=timezone.now())
        except Refused as refused:
            form.add_error(None, worded(refused))
            return self.render_to_response(self.get_context_data(form=form), status=422)
        return redirect("meeting", slug=self.tenant.slug, meeting=meeting.pk)


class OneMeeting(Page):
    """A page or an action about one meeting that the reader may see."""

    template_name = "calls/meeting.html"

    @property
    def meeting(self) -> Meeting:
        return queries.meeting_for(self.actor, who.identity_of(self.request).roles, self.kwargs["meeting"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        meeting = self.meeting
        call = queries.open_call(meeting)
        kwargs.setdefault("form", None if meeting.state in (Meeting.State.ENDED, Meeting.State.CANCELLED) else InviteForm())
        found = {
            "meeting": meeting,
            "call": call,
            "participants": queries.participants(call) if call else [],
            "invitations": (invitations := list(queries.invitations(meeting))),
            "unmailed": [one.pk for one in invitations if one.person.email and not one.sent_at and not services.is_mail_promised(invitation=one)],
            "purposes": [notice.purpose.title for notice in catalogue.notices(meeting.purposes)],
            "is_host": meeting.host_id == self.person.pk,
        }
        return super().get_context_data(**(kwargs | found))

    def detail(self) -> HttpResponse:
        return redirect("meeting", slug=self.tenant.slug, meeting=self.kwargs["meeting"])

    def invited(self, invitation: Invitation, url: str) -> HttpResponse:
        """The link, this once; or where it goes, for somebody with an address."""
        if url:
            return self.render_to_response(self.get_context_data(new_name=invitation.person.name, new_link=url))
        messages.success(self.request, _("A mail with a personal link is on its way to {address}.").format(address=invitation.person.email))
        return self.detail()


class MeetingDetail(OneMeeting):
    """People, links and state of one meeting."""

    ability = "meetings.see"
    http_method_names = ("get", "head")


class MeetingAction(OneMeeting):
    """A button of the detail page: does it, says so, goes back."""

    ability = "meetings.write"
    http_method_names = ("post",)
    done = gettext_lazy("Done.")

    def act(self, meeting: Meeting) -> None:
        """Raises Refused."""
        raise NotImplementedError

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            self.act(self.meeting)
        except Refused as refused:
            if refused.status == 404:
                raise
            messages.error(request, worded(refused))
        else:
            messages.success(request, str(self.done))
        return self.detail()


class Invite(OneMeeting):
    """Invites somebody, by mail or with a link that is shown this once."""

    ability = "meetings.write"
    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        form = InviteForm(request.POST)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form), status=422)
        try:
            invitation, url = services.invite(meeting=self.meeting, **form.cleaned_data, by=self.actor, at=timezone.now())
        except Refused as refused:
            if refused.status == 404:
                raise
            form.add_error(None, worded(refused))
            return self.render_to_response(self.get_context_data(form=form), status=422)
        return self.invited(invitation, url)


class InviteAgain(OneMeeting):
    """A further link for somebody who was invited before; also lets in again whoever was removed."""

    ability = "meetings.write"
    http_method_names = ("post",)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        meeting = self.meeting
        person = queries.invitation_for(meeting, self.kwargs["invitation"]).person
        try:
            invitation, url = services.invite_again(meeting=meeting, person=person, by=self.actor, at=timezone.now())
        except Refused as refused:
            messages.error(request, worded(refused))
            return self.detail()
        return self.invited(invitation, url)


class RevokeInvitation(MeetingAction):
    """Takes an invitation back; with `stolen` its links are as if they had never been."""

    done = gettext_lazy("The invitation is taken back. Its links open this meeting no more.")

    def act(self, meeting: Meeting) -> None:
        invitation: Invitation = queries.invitation_for(meeting, self.kwargs["invitation"])
        stolen = self.request.POST.get("stolen") == "1"
        services.revoke_invitation(invitation=invitation, stolen=stolen, by=self.actor, at=timezone.now())


class OpenMeeting(MeetingAction):
    """Lets people in from now on, whatever the start says."""

    done = gettext_lazy("The room is open.")

    def act(self, meeting: Meeting) -> None:
        services.open_call(meeting=meeting, by=self.actor, at=timezone.now())


class EndMeeting(MeetingAction):
    """Ends the sitting that is on, or calls off a meeting that has not begun."""

    done = gettext_lazy("Nobody can enter this meeting any more.")

    def act(self, meeting: Meeting) -> None:
        call: Call | None = queries.open_call(meeting)
        if call is not None:
            services.end(call=call, by=self.actor, at=timezone.now())
        else:
            services.cancel(meeting=meeting, by=self.actor, at=timezone.now())
