"""The player's page, as the site sends it, with playback files made for a test, on one loopback address.

Page, scripts, styles, security policy, files and the reading of ranges are the project's own; only who may ask is left out.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from uuid import uuid4

from csp.utils import build_policy
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import RequestFactory
from django.utils import timezone

from calls.models import Call, Meeting
from recordings.models import Recording, Viewing
from recordings.playback import Reader
from recordings.views import asked_range
from recordings.webm import Frame
from tenants.models import Membership, Tenant, User

from .footage import finished

BACK = "/recording/"


@dataclass
class Theatre:
    """`people` and `duration` make the manifest; `shut` are files whose bytes do not come yet, `refused` those that get an answer instead."""

    folder: Path
    people: list[dict[str, Any]] = field(default_factory=list)
    duration: int = 12_000
    incomplete: bool = False
    staff: bool = True
    files: dict[str, Reader] = field(default_factory=dict)
    shut: dict[str, Event] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    reading: Lock = field(default_factory=Lock)

    def person(self, name: str, *, you: bool = False, **sources: str | list[tuple[Frame, ...]]) -> list[str]:
        """Adds somebody with sources (`screen_audio` for screen-audio): a mark, or the frames of each file. The ids of all files."""
        kept, ids = [], []
        for source, told in sources.items():
            made = [] if isinstance(told, str) else [self.file(source.replace("_", "-"), frames) for frames in told]
            ids += [file["id"] for file in made]
            kept.append({"source": source.replace("_", "-"), "mark": told if isinstance(told, str) else "captured", "files": made})
        self.people.append({"name": name, "you": you, "sources": kept})
        return ids

    def file(self, source: str, frames: tuple[Frame, ...]) -> dict[str, Any]:
        name, reader = str(uuid4()), finished(self.folder, source, frames)
        self.files[name] = reader
        spans = [[-(-start // 1000), end // 1000] for start, end in reader.spans]
        return {"id": name, "mime": reader.mime, "spans_ms": spans, "url": f"/media/{name}"}

    @property
    def frame(self) -> str:
        """The template around the player, as `views.Side` has it."""
        return "cleac_site/tenant_base.html" if self.staff else "calls/frame.html"

    def page(self) -> str:
        recording = Recording(call=Call(meeting=Meeting(title="Signing the contract")))
        viewing = Viewing(purpose=Viewing.Purpose.FOLLOW_UP if self.staff else Viewing.Purpose.OWN, expires_at=timezone.now())
        manifest = {"duration_ms": self.duration, "incomplete": self.incomplete, "people": self.people}
        told = {"manifest": manifest, "recording": recording, "viewing": viewing, "back_url": BACK, "view": self}
        around = {"tenant": Tenant(slug="acme", name="Acme"), "contact_email": "privacy@acme.example"}
        if self.staff:
            around |= {"user": User(email="hana@acme.example"), "membership": Membership(role="host"), "can": {"meetings_see", "recordings_see"}}
        return render_to_string("recordings/player.html", told | around | {"request": RequestFactory().get("/play/")})

    def answer(self, path: str, asked: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for one GET."""
        if path.startswith("/static/"):
            found = finders.find(path.removeprefix("/static/"))
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            return (200, {"Content-Type": kind}, Path(found).read_bytes()) if isinstance(found, str) else (404, {}, b"")
        if path.startswith("/media/"):
            return self.media(path.removeprefix("/media/"), asked)
        kind = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": build_policy()}
        return 200, kind, (self.page() if path == "/play/" else "<!doctype html><title>Recording</title>").encode()

    def media(self, name: str, asked: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((name, asked))
        if name in self.shut:
            self.shut[name].wait()
        if name in self.refused:
            status, code = self.refused[name]
            return status, {"Content-Type": "application/json"}, json.dumps({"code": code}).encode()
        reader = self.files[name]
        wanted = asked_range(asked, reader.size)
        if wanted is None:
            return 416, {"Content-Range": f"bytes */{reader.size}"}, b""
        start, length = wanted
        with self.reading:
            body = reader.read(start, length)
        headers = {"Content-Range": f"bytes {start}-{start + length - 1}/{reader.size}", "Accept-Ranges": "bytes"}
        return 206, headers | {"Content-Type": reader.mime, "Cache-Control": "no-store, private"}, body


@contextmanager
def opened(folder: Path) -> Iterator[Theatre]:
    """A theatre that is answering."""
    theatre = Theatre(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802 - reason: the base class names it
            status, headers, body = theatre.answer(self.path.partition("?")[0], self.headers.get("Range", ""))
            try:
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the browser let go of a range that it does not need any more

        def log_message(self, format: str, *args: Any) -> None:
            """What was asked is in `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    theatre.url = f"http://127.0.0.1:{server.server_port}"
    serving = Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield theatre
    finally:
        for gate in theatre.shut.values():
            gate.set()
        server.shutdown()
        server.server_close()
        serving.join()
