"""What a browser does beneath a page: cookies, requests with the CSRF token, and WebSocket (RFC 6455). Standard library only."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import ssl
import struct
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urljoin, urlsplit

PATIENCE = 60.0  # seconds until a server that does not answer counts as gone
LARGEST = 1 << 20  # bytes of one message
ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Unexpected(Exception):
    """The server answered something that a page would show as a fault. Holds the status or close code, and the server's own code."""

    def __init__(self, what: str, status: int = 0, code: str = "") -> None:
        super().__init__(f"{what}: {status or ''} {code}".strip())
        self.status, self.code = status, code


class Browser:
    """The cookies of one person at one site. `base` is the site's address without a path."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")
        self.cookies = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    @property
    def origin(self) -> str:
        address = urlsplit(self.base)
        return f"{address.scheme}://{address.netloc}"

    def cookie(self, name: str) -> str:
        return next((one.value or "" for one in self.cookies if one.name == name), "")

    async def get(self, path: str) -> str:
        """The text behind an address of the site, after redirects. Raises Unexpected."""
        return await self._ask(urllib.request.Request(self._at(path)))

    async def post(self, path: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Post JSON as a page does; returns the JSON of the answer. Raises Unexpected."""
        own = {"Content-Type": "application/json", "X-CSRFToken": self.cookie("csrftoken"), "Origin": self.origin, "Referer": f"{self.base}/"}
        request = urllib.request.Request(self._at(path), json.dumps(body).encode(), {**own, **(headers or {})})
        found: dict[str, Any] = json.loads(await self._ask(request))
        return found

    def _at(self, path: str) -> str:
        address = urljoin(f"{self.base}/", path)
        if not address.startswith(f"{self.origin}/"):
            raise ValueError("an address of another site")
        return address

    async def _ask(self, request: urllib.request.Request) -> str:
        def ask() -> str:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                return str(answer.read().decode())

        try:
            return await asyncio.to_thread(ask)
        except urllib.error.HTTPError as error:
            with error:
                raise Unexpected(urlsplit(request.full_url).path, error.code, code_of(error.read())) from None

    async def socket(self, path: str, protocols: Sequence[str]) -> Socket:
        """An open WebSocket. Raises Unexpected when the server refuses it."""
        address = urlsplit(self.base)
        secure = ssl.create_default_context() if address.scheme == "https" else None
        port = address.port or (443 if secure else 80)
        reader, writer = await asyncio.open_connection(address.hostname, port, ssl=secure, limit=2 * LARGEST)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        cookies = "; ".join(f"{one.name}={one.value}" for one in self.cookies)
        lines = [f"GET {path} HTTP/1.1", f"Host: {address.netloc}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Protocol: {', '.join(protocols)}", f"Origin: {self.origin}", f"Cookie: {cookies}"]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(PATIENCE):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        if status != 101 or accepted(key) not in head:
            writer.close()
            raise Unexpected(path, status)
        return Socket(reader, writer)


class Socket:
    """A WebSocket of a client: whole messages of text in, text out; pings are answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.closed_with = 0

    def send(self, message: Mapping[str, object]) -> None:
        """One JSON object."""
        self._frame(TEXT, json.dumps(message).encode())

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None when the server has closed, and `closed_with` then holds its code (1006: without a word)."""
        whole = b""
        try:
            while True:
                last, kind, data = await self._next()
                if kind == CLOSE:
                    self.closed_with = int.from_bytes(data[:2]) if len(data) > 1 else 1005
                    return None
                if kind == PING:
                    self._frame(PONG, data)
                elif kind in (0, TEXT):
                    whole += data
                    if last:
                        message: dict[str, Any] = json.loads(whole)
                        return message
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed_with = 1006
            return None

    async def _next(self) -> tuple[bool, int, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(await self._reader.readexactly(width))
        if size > LARGEST:
            raise ConnectionError("a message beyond every bound")
        return bool(first & 0x80), first & 0x0F, await self._reader.readexactly(size)

    def _frame(self, kind: int, data: bytes) -> None:
        """A frame of a client is masked (RFC 6455 section 5.3)."""
        size = struct.pack("!B", 0x80 | len(data)) if len(data) < 126 else struct.pack("!BH", 0x80 | 126, len(data))
        mask = secrets.token_bytes(4)
        self._writer.write(bytes([0x80 | kind]) + size + mask + bytes(byte ^ mask[place & 3] for place, byte in enumerate(data)))

    async def close(self) -> None:
        """Close in order, as far as the server still listens."""
        with contextlib.suppress(OSError):
            self._frame(CLOSE, (1000).to_bytes(2))
            self._writer.close()
            await self._writer.wait_closed()


def accepted(key: str) -> str:
    """What a server answers to a key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + ACCEPT).encode(), usedforsecurity=False).digest()).decode()


def code_of(body: bytes) -> str:
    """The code in a refusal's JSON, of a page's endpoint or of the API; empty in any other answer."""
    try:
        found = json.loads(body)
        return str(found.get("code") or found["errors"][0]["code"])
    except (ValueError, LookupError, AttributeError, TypeError):
        return ""
