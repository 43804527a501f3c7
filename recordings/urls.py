"""Addresses of recordings."""

from django.urls import path

from . import api as endpoints
from . import views

OWN = {
    "my/recordings/": (views.MyRecordings, "recordings"),
    "my/recordings/<uuid:recording>/": (views.MyRecording, "recording"),
    "my/recordings/<uuid:recording>/view": (views.ViewMine, "recording_view"),
    "my/recordings/<uuid:recording>/play/<uuid:viewing>/": (views.PlayMine, "recording_play"),
    "my/recordings/<uuid:recording>/play/<uuid:viewing>/media/<uuid:artefact>": (views.MyMedia, "recording_media"),
    "my/recordings/<uuid:recording>/erase": (views.EraseMine, "recording_erase"),
    "my/meetings/<uuid:meeting>/erase": (views.EraseInRoom, "meeting_erase"),
}
pages = [path(route, view.as_view(), name=f"my_{name}") for route, (view, name) in OWN.items()]
staff = [
    *(path(route, view.as_view(), name=f"own_{name}") for route, (view, name) in OWN.items()),
    path("recordings/", views.Recordings.as_view(), name="recordings"),
    path("recordings/<uuid:recording>/", views.OneRecording.as_view(), name="recording"),
    path("recordings/<uuid:recording>/view", views.ViewRecording.as_view(), name="recording_view"),
    path("recordings/<uuid:recording>/play/<uuid:viewing>/", views.PlayRecording.as_view(), name="recording_play"),
    path("recordings/<uuid:recording>/play/<uuid:viewing>/media/<uuid:artefact>", views.RecordingMedia.as_view(), name="recording_media"),
]
api = [
    path("recordings", endpoints.Recordings.as_view(), name="api_recordings"),
    path("recordings/<uuid:recording>", endpoints.OneRecording.as_view(), name="api_recording"),
    path("recordings/<uuid:recording>/stop", endpoints.StopRecording.as_view(), name="api_recording_stop"),
]
