"""Addresses of the house's own pages."""

from __future__ import annotations

from django.urls import path

from . import views

staff = [path("people/<uuid:membership>/remove", views.RemoveMember.as_view(), name="member_remove")]
