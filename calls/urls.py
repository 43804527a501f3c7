"""Addresses of calls: the three lists of every app, and the sockets."""

from typing import Any

from django.urls import path, re_path

from . import api as endpoints
from . import views
from .consumers import CallConsumer, LobbyConsumer, NoSocket

ONE = "meetings/<uuid:meeting>/"

pages = [
    path("j", views.Link.as_view(), name="link"),
    path("j/open", views.LinkOpen.as_view(), name="link_open"),
    path("join/<uuid:meeting>/", views.Join.as_view(), name="join"),
    path("join/<uuid:meeting>/ticket", views.JoinTicket.as_view(), name="join_ticket"),
]
staff = [
    path("meetings/", views.Meetings.as_view(), name="meetings"),
    path(ONE, views.MeetingDetail.as_view(), name="meeting"),
    path(ONE + "invite", views.Invite.as_view(), name="meeting_invite"),
    path(ONE + "invitations/<uuid:invitation>/again", views.InviteAgain.as_view(), name="invitation_again"),
    path(ONE + "invitations/<uuid:invitation>/revoke", views.RevokeInvitation.as_view(), name="invitation_revoke"),
    path(ONE + "open", views.OpenMeeting.as_view(), name="meeting_open"),
    path(ONE + "end", views.EndMeeting.as_view(), name="meeting_end"),
    path(ONE + "room/", views.StaffRoom.as_view(), name="meeting_room"),
    path(ONE + "room/ticket", views.StaffRoomTicket.as_view(), name="meeting_room_ticket"),
]
api = [
    path("meetings", endpoints.Meetings.as_view(), name="api_meetings"),
    path("meetings/<uuid:meeting>", endpoints.OneMeeting.as_view(), name="api_meeting"),
    path("meetings/<uuid:meeting>/cancel", endpoints.CancelMeeting.as_view(), name="api_meeting_cancel"),
    path("meetings/<uuid:meeting>/end", endpoints.EndMeeting.as_view(), name="api_meeting_end"),
    path("meetings/<uuid:meeting>/invitations", endpoints.Invitations.as_view(), name="api_invitations"),
    path("meetings/<uuid:meeting>/invitations/<uuid:invitation>/revoke", endpoints.RevokeInvitation.as_view(), name="api_invitation_revoke"),
]
sockets: list[Any] = [
    path("ws/lobby", LobbyConsumer.as_asgi()),
    path("ws/call", CallConsumer.as_asgi()),
    re_path(r"", NoSocket.as_asgi()),
]
