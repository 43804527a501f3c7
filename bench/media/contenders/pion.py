"""A relay on pion, the Go library, in the version that Debian packages (`golang-github-pion-webrtc.v3-dev`), on one core."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from calls.media import sdp

from ..build import NotInstalled, work_folder
from ..load import Ear, Stream, codec, extension_id
from ..loads import Load
from ..transports import Transport
from . import PATIENCE, Joined, descriptions, ended, few_at_once, free_port, started

SOURCE = Path(__file__).resolve().parent / "pion.go"
PACKAGES = Path("/usr/share/gocode")
FIRST_SSRC = 1000
BUILD_PATIENCE = 600.0  # seconds: the first time, the library is compiled too
SETTLING = 0.5  # seconds from the last join until media flow


class Pion:
    """The Go relay."""

    name = "pion"

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._base = ""

    def missing(self) -> str:
        try:
            _built()
        except NotInstalled as lack:
            return f"this machine lacks {lack}"
        return ""

    def carries(self, load: Load) -> bool:
        """Blocked and recorded loads are about what pion does not have."""
        return not load.traffic

    def lacks(self, load: Load) -> str:
        """The library hands out what a publisher sends as tracks and writes tracks; what lies between two layers is left to its users."""
        return "the library leaves to its users how one layer follows another" if load.layers else ""

    async def switch(self, listener: str, layer: int) -> None:
        raise RuntimeError("pion has no layers to switch between")

    async def start(self, load: Load) -> int:
        port = free_port()
        self._process = await started([str(_built()), str(port)], env={"GOMAXPROCS": "1"})
        self._base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(self._answers):
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError("the relay on pion did not start")
            await asyncio.sleep(0.1)
        return self._process.pid

    async def kept(self, load: Load) -> None:
        """It is given nothing to record."""

    async def stop(self) -> None:
        await ended(self._process)
        self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._base}/ready", timeout=PATIENCE):
                return True
        except (urllib.error.URLError, OSError):
            return False

    async def join(self, load: Load) -> Joined:
        streams = await few_at_once(self._publish(load, FIRST_SSRC + number) for number in range(load.publishers))
        ssrcs = [stream.ssrc for stream in streams]
        if load.meeting:
            heard = [self._listen(load, [ssrcs[other] for other in load.companions(number)]) for number in range(load.publishers)]
        else:
            heard = [self._listen(load, [ssrc], ssrc) for ssrc in ssrcs for _ in range(load.listeners)]
        joined = Joined(streams, await few_at_once(heard))
        await asyncio.sleep(SETTLING)
        return joined

    async def _answered(self, transport: Transport, path: str, offer: str) -> str:
        request = urllib.request.Request(f"{self._base}{path}", offer.encode())

        def ask() -> str:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return str(answer.read().decode())

        text = await asyncio.to_thread(ask)
        transport.learn(text)
        await transport.connected_in_time()
        return text

    async def _publish(self, load: Load, ssrc: int) -> Stream:
        transport = Transport()
        await transport.bind()
        text = await self._answered(transport, f"/publish?id={ssrc}&kind={load.kind}", descriptions.offer(transport, load, ssrc))
        ids = [extension_id(text, uri) for uri in (sdp.MID, sdp.TRANSPORT_CC)]
        return Stream(transport, load.paces[0], ssrc, codec(text, sdp.CODECS[load.kind]), "0", *ids)

    async def _listen(self, load: Load, ssrcs: Sequence[int], expected: int = 0) -> Ear:
        transport = Transport()
        await transport.bind()
        path = "/listen?" + "&".join(f"id={ssrc}" for ssrc in ssrcs)
        text = await self._answered(transport, path, descriptions.offer(transport, load, sections=len(ssrcs)))
        return Ear(transport, text, len(ssrcs), expected)


def _built() -> Path:
    """The program, made once. Raises NotInstalled."""
    built = work_folder() / "pion"
    if built.exists() and built.stat().st_mtime >= SOURCE.stat().st_mtime:
        return built
    go = shutil.which("go")
    if go is None:
        raise NotInstalled("the package golang-go")
    if not (PACKAGES / "src/github.com/pion/webrtc").exists():
        raise NotInstalled("the package golang-github-pion-webrtc.v3-dev")
    folder = work_folder() / "go"
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(PACKAGES), "GOCACHE": str(folder), "GOFLAGS": "", "GOTOOLCHAIN": "local"}
    command = [go, "build", "-o", str(built), str(SOURCE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BUILD_PATIENCE, check=False)
    if done.returncode:
        raise NotInstalled(f"what the relay on pion is built from ({done.stderr.strip().splitlines()[-1]})")
    return built
