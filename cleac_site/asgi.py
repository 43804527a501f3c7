"""Door 1: pages, API and signalling under daphne."""

from __future__ import annotations

import os

from cleac_site import memory

memory.keep_off_the_disk()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cleac_site.settings")

from django.core.asgi import get_asgi_application  # noqa: E402 - reason: the settings module must be named first

pages = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402 - reason: consumers need loaded apps

from calls.urls import sockets  # noqa: E402 - reason: as above
from cleac_site import celery  # noqa: E402, F401 - reason: jobs sent from pages need the broker

application = ProtocolTypeRouter({"http": pages, "websocket": URLRouter(sockets)})
