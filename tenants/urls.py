"""Addresses of the house's own pages."""

from __future__ import annotations

from django.urls import path

from . import views

pages = [path("my/sign-out", views.GuestSignOut.as_view(), name="guest_sign_out")]
staff = [
    path("members/", views.Members.as_view(), name="members"),
    path("members/<uuid:membership>/role", views.ChangeRole.as_view(), name="member_role"),
    path("members/<uuid:membership>/remove", views.RemoveMember.as_view(), name="member_remove"),
    path("keys/", views.ApiKeys.as_view(), name="api_keys"),
    path("keys/<uuid:api_key>/revoke", views.RevokeApiKey.as_view(), name="api_key_revoke"),
]
