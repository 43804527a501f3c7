"""Addresses of consent."""

from django.urls import URLPattern, path

from . import api as endpoints

pages: list[URLPattern] = []
staff: list[URLPattern] = []
api = [path("decisions", endpoints.Decisions.as_view(), name="api_decisions")]
