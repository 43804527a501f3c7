"""Addresses of the data protection officer's desk."""

from __future__ import annotations

from django.urls import path

from . import api as endpoints
from .views import desk, receipts, reports, requests

OWN = {
    "my/requests/": (requests.MyRequests, "requests"),
    "my/requests/erasure": (requests.Erasure, "erasure"),
    "my/requests/<uuid:request_id>/take-back": (requests.TakeBack, "request_take_back"),
    "my/requests/<uuid:request_id>/download": (requests.Download, "request_download"),
}
pages = [
    path("receipt", receipts.ReceiptCheck.as_view(), name="receipt"),
    *(path(route, view.as_view(), name=f"my_{name}") for route, (view, name) in OWN.items()),
]
staff = [
    *(path(route, view.as_view(), name=f"own_{name}") for route, (view, name) in OWN.items()),
    path("requests/", desk.Desk.as_view(), name="requests"),
    path("requests/enter", desk.DeskEnter.as_view(), name="request_enter"),
    path("requests/<uuid:request_id>/take-back", desk.DeskTakeBack.as_view(), name="request_take_back"),
    path("dpo/", reports.Home.as_view(), name="dpo_home"),
    path("dpo/report", reports.Report.as_view(), name="dpo_report"),
]
api = [
    path("requests", endpoints.Requests.as_view(), name="api_requests"),
    path("requests/<uuid:request_id>", endpoints.OneRequest.as_view(), name="api_request"),
    path("requests/<uuid:request_id>/take-back", endpoints.TakeBack.as_view(), name="api_request_take_back"),
]
