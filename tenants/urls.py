"""Addresses of the house's own pages."""

from __future__ import annotations

from django.urls import path

from . import views

pages = [
    path("my/sign-out", views.GuestSignOut.as_view(), name="guest_sign_out"),
    path("staff", views.InvitedLink.as_view(), name="invited_link"),
    path("staff/open", views.InvitedOpen.as_view(), name="invited_open"),
    path("staff/invitation", views.Invited.as_view(), name="invited"),
]
staff = [
    path("members/", views.Members.as_view(), name="members"),
    path("members/<uuid:membership>/role", views.ChangeRole.as_view(), name="member_role"),
    path("members/<uuid:membership>/remove", views.RemoveMember.as_view(), name="member_remove"),
    path("members/invitations/<uuid:invitation>/remind", views.RemindInvited.as_view(), name="invited_remind"),
    path("members/invitations/<uuid:invitation>/revoke", views.RevokeInvited.as_view(), name="invited_revoke"),
    path("keys/", views.ApiKeys.as_view(), name="api_keys"),
    path("keys/<uuid:api_key>/revoke", views.RevokeApiKey.as_view(), name="api_key_revoke"),
]
