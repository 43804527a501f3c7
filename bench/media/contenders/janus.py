"""Janus with its videoroom: as packaged, and tuned (libsrtp built with OpenSSL, one event loop). Debian package `janus`."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from calls.media import sdp

from ..build import NotInstalled, shared, work_folder
from ..load import Ear, Stream, codec, extension_id
from ..loads import RIDS, Load
from ..transports import Transport
from . import PATIENCE, Joined, descriptions, ended, few_at_once, free_port, srtp, started

ROOM = 1234
FIRST_SSRC = 1000
MOST_EVENTS = 20  # to pass over until the one that is waited for
SETTLING = 0.5  # seconds from the last join until media flow
HERE = Path(__file__).resolve().parent
PLUGINS = {"plugins": "libjanus_videoroom.so", "transports": "libjanus_http.so"}


class Janus:
    """One variant, by name."""

    def __init__(self, name: str, *, tuned: bool) -> None:
        self.name, self._tuned = name, tuned
        self._process: asyncio.subprocess.Process | None = None
        self._base = ""

    def missing(self) -> str:
        try:
            _parts()
            self._environment()
        except NotInstalled as lack:
            return f"this machine lacks {lack}"
        return ""

    def carries(self, load: Load) -> bool:
        """Blocked and recorded loads are about what Janus does not have."""
        return not load.traffic

    def lacks(self, load: Load) -> str:
        return ""

    def _environment(self) -> dict[str, str]:
        preload = shared(HERE / "loopback.c", work_folder() / "loopback.so", "-ldl")
        return {"LD_PRELOAD": str(preload), **({"LD_LIBRARY_PATH": str(srtp.built())} if self._tuned else {})}

    async def start(self, load: Load) -> int:
        port = free_port()
        folder = _configured(port, tuned=self._tuned)
        command = [str(shutil.which("janus")), "-C", str(folder / "janus.jcfg"), "-F", str(folder)]
        self._process = await started(command, env=self._environment())
        self._base = f"http://127.0.0.1:{port}/janus"
        deadline = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(self._answers):
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError("Janus did not start")
            await asyncio.sleep(0.1)
        if self._tuned and str(srtp.built()) not in Path(f"/proc/{self._process.pid}/maps").read_text():
            raise RuntimeError("Janus did not take the libsrtp that was built for it")
        return self._process.pid

    async def switch(self, listener: str, layer: int) -> None:
        await self._ask(listener, {"request": "configure", "streams": [{"mid": "0", "substream": layer}]})

    async def kept(self, load: Load) -> None:
        """It is given nothing to record."""

    async def stop(self) -> None:
        await ended(self._process)
        self._process = None

    # Janus's own messages, over HTTP
    def _answers(self) -> bool:
        try:
            return bool(_got(f"{self._base}/info")["janus"] == "server_info")
        except (urllib.error.URLError, OSError):
            return False

    async def _post(self, path: str, **message: Any) -> dict[str, Any]:
        return await asyncio.to_thread(_posted, self._base + path, {"transaction": secrets.token_hex(6), **message})

    async def _attached(self) -> str:
        """A session with a handle on the videoroom, as a path."""
        session = (await self._post("", janus="create"))["data"]["id"]
        handle = (await self._post(f"/{session}", janus="attach", plugin="janus.plugin.videoroom"))["data"]["id"]
        return f"/{session}/{handle}"

    async def _ask(self, handle: str, body: dict[str, Any], description: tuple[str, str] | None = None) -> None:
        jsep = {"jsep": dict(zip(("type", "sdp"), description, strict=True))} if description else {}
        await self._post(handle, janus="message", body=body, **jsep)

    async def _event(self, handle: str, wanted: str) -> dict[str, Any]:
        """The next event that has a description (`jsep`), or whose `videoroom` says `wanted`."""
        session = handle.rpartition("/")[0]
        for _ in range(MOST_EVENTS):
            event = await asyncio.to_thread(_got, f"{self._base}{session}?maxev=1")
            data = event.get("plugindata", {}).get("data", {})
            if "error" in data:
                raise RuntimeError(data["error"])
            if wanted in event or data.get("videoroom") == wanted:
                return event
        raise RuntimeError(f"no event {wanted}")

    # Joining
    async def join(self, load: Load) -> Joined:
        published = await few_at_once(self._publish(load, FIRST_SSRC + number * len(load.paces)) for number in range(load.publishers))
        feeds = [feed for _, feed in published]
        if load.meeting:
            heard = [self._listen(load, [feeds[other] for other in load.companions(number)]) for number in range(load.publishers)]
        else:
            heard = [self._listen(load, [feed], streams[0].ssrc) for streams, feed in published for _ in range(load.listeners)]
        joined = Joined([stream for streams, _ in published for stream in streams], await few_at_once(heard))
        await asyncio.sleep(SETTLING)
        return joined

    async def _publish(self, load: Load, ssrc: int) -> tuple[list[Stream], int]:
        handle, transport = await self._attached(), Transport()
        await self._ask(handle, {"request": "join", "ptype": "publisher", "room": ROOM})
        feed = (await self._event(handle, "joined"))["plugindata"]["data"]["id"]
        await transport.bind()
        body = {"request": "publish", "audio": load.kind == "audio", "video": load.kind == "video"}
        await self._ask(handle, body, ("offer", descriptions.offer(transport, load, ssrc)))
        text = (await self._event(handle, "jsep"))["jsep"]["sdp"]
        transport.learn(text)
        await transport.connected_in_time()
        mid_id, number_id, rid_id = (extension_id(text, uri) for uri in (sdp.MID, sdp.TRANSPORT_CC, sdp.RID))
        rids = RIDS if load.layers else ("",)
        streams = [
            Stream(transport, pace, ssrc + place, codec(text, sdp.CODECS[load.kind]), "0", mid_id, number_id, rid, rid_id if rid else 0)
            for place, (pace, rid) in enumerate(zip(load.paces, rids, strict=True))
        ]
        return streams, feed

    async def _listen(self, load: Load, feeds: list[int], expected: int = 0) -> Ear:
        handle, transport = await self._attached(), Transport(controlled=True)
        body = {"request": "join", "ptype": "subscriber", "room": ROOM, "streams": [{"feed": feed} for feed in feeds]}
        await self._ask(handle, body)
        text = (await self._event(handle, "jsep"))["jsep"]["sdp"]
        await transport.bind()
        transport.learn(text)
        await self._ask(handle, {"request": "start"}, ("answer", descriptions.answer(transport, text)))
        await transport.connected_in_time()
        return Ear(transport, text, len(feeds), expected, handle)


def _got(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        found = json.loads(answer.read())
    event: dict[str, Any] = found[0] if isinstance(found, list) else found
    return event


def _posted(address: str, message: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(address, json.dumps(message).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    if found.get("janus") == "error":
        raise RuntimeError(found["error"])
    return found


def _parts() -> dict[str, Path]:
    """The two parts of Janus that are used. Raises NotInstalled."""
    if shutil.which("janus") is None:
        raise NotInstalled("the package janus")
    found = {kind: next(Path("/usr/lib").glob(f"*/janus/{kind}/{name}"), None) for kind, name in PLUGINS.items()}
    if not all(found.values()):
        raise NotInstalled("Janus's videoroom or its HTTP transport")
    return {kind: path for kind, path in found.items() if path is not None}


def _configured(port: int, *, tuned: bool) -> Path:
    """A folder with all that this Janus reads: loopback only, no cap on bitrates, no request for key frames of its own."""
    folder = work_folder() / ("janus-tuned" if tuned else "janus-packaged")
    empty = folder / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    for kind, part in _parts().items():
        place = folder / kind
        place.mkdir(exist_ok=True)
        if not (place / part.name).exists():
            os.symlink(part, place / part.name)
    folders = {"configs": folder, "plugins": folder / "plugins", "transports": folder / "transports", "events": empty, "loggers": empty}
    general = [f'{kind}_folder = "{path}"' for kind, path in folders.items()] + ["debug_level = 2", "session_timeout = 0"]
    general += ["event_loops = 1"] if tuned else []
    room = f'room-{ROOM}: {{ description = "load"\n publishers = 200\n bitrate = 0\n fir_freq = 0\n videocodec = "vp8"\n audiocodec = "opus"\n }}'
    http = f'general: {{ json = "compact"\n base_path = "/janus"\n http = true\n port = {port}\n ip = "127.0.0.1"\n https = false\n }}'
    nat = 'nat: { ice_enforce_list = "127.0.0.1"\n full_trickle = false\n ignore_mdns = true\n }'
    written = {
        "janus.jcfg": "general: {\n " + "\n ".join(general) + f"\n}}\nmedia: {{ ipv6 = false\n }}\n{nat}",
        "janus.plugin.videoroom.jcfg": f"general: {{ }}\n{room}",
        "janus.transport.http.jcfg": f"{http}\nadmin: {{ admin_http = false\n }}",
    }
    for name, text in written.items():
        (folder / name).write_text(text + "\n")
    return folder
