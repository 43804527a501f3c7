"""Mounts every app's `pages` at /, `staff` at /t/<slug>/, `api` at /api/v1/."""

from __future__ import annotations

from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path

from .pages import urls as site

APPS: list[str] = []

pages: list[URLPattern | URLResolver] = [*site.pages]
staff: list[URLPattern | URLResolver] = [*site.staff]
api: list[URLPattern | URLResolver] = [*site.api]

urlpatterns: list[URLPattern | URLResolver] = [
    *pages,
    *(site.dev if settings.DEV else []),
    path("account/", include("allauth.account.urls")),
    path("t/<slug:slug>/", include(staff)),
    path("api/v1/", include(api)),
]
