"""Addresses of recordings."""

from django.urls import URLPattern, path

from . import api as endpoints

pages: list[URLPattern] = []
staff: list[URLPattern] = []
api = [
    path("recordings", endpoints.Recordings.as_view(), name="api_recordings"),
    path("recordings/<uuid:recording>", endpoints.OneRecording.as_view(), name="api_recording"),
    path("recordings/<uuid:recording>/stop", endpoints.StopRecording.as_view(), name="api_recording_stop"),
]
