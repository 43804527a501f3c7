"""A headless participant, for the demo, for tests and for measurements: no browser, no Django, the same protocol as a page.

Beside `calls.media.peer` the only door to aiortc; PyAV makes what its camera and microphone send.
"""

from __future__ import annotations

from .connection import Connection
from .description import Sending, answer, offer, ssrcs
from .participant import Participant
from .web import Browser, Unexpected

__all__ = ["Browser", "Connection", "Participant", "Sending", "Unexpected", "answer", "offer", "ssrcs"]
