"""Addresses of the data protection officer's desk."""

from __future__ import annotations

from django.urls import path

from . import api as endpoints
from .views import reports, requests

OWN = {
    "my/requests/": (requests.MyRequests, "requests"),
    "my/requests/erasure": (requests.Erasure, "erasure"),
    "my/requests/<uuid:request_id>/download": (requests.Download, "request_download"),
}
pages = [path(route, view.as_view(), name=f"my_{name}") for route, (view, name) in OWN.items()]
staff = [
    *(path(route, view.as_view(), name=f"own_{name}") for route, (view, name) in OWN.items()),
    path("requests/", requests.Desk.as_view(), name="requests"),
    path("dpo/", reports.Home.as_view(), name="dpo_home"),
    path("dpo/report", reports.Report.as_view(), name="dpo_report"),
]
api = [
    path("requests", endpoints.Requests.as_view(), name="api_requests"),
    path("requests/<uuid:request_id>", endpoints.OneRequest.as_view(), name="api_request"),
]
