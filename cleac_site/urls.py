"""Mounts every app's `pages` at /, `staff` at /t/<slug>/, `api` at /api/v1/."""

from __future__ import annotations

from django.conf import settings
from django.urls import URLPattern, URLResolver, include, path

from calls import urls as calls
from compliance import urls as compliance
from consent import urls as consent
from recordings import urls as recordings
from tenants import urls as tenants

from .pages import urls as site

pages: list[URLPattern | URLResolver] = [*site.pages, *tenants.pages, *calls.pages, *recordings.pages, *compliance.pages]
staff: list[URLPattern | URLResolver] = [*site.staff, *tenants.staff, *calls.staff, *recordings.staff, *compliance.staff]
api: list[URLPattern | URLResolver] = [*site.api, *calls.api, *consent.api, *recordings.api, *compliance.api]

urlpatterns: list[URLPattern | URLResolver] = [
    *pages,
    *(site.dev if settings.DEV else []),
    path("account/", include("allauth.account.urls")),
    path("t/<slug:slug>/", include(staff)),
    path("api/v1/", include(api)),
]

handler404 = "cleac_site.pages.views.not_found"
