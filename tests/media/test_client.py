"""What the headless client sends can be read back, and what a server tells it is taken as a page takes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import av
import numpy as np
import pytest
from aiortc.codecs.vpx import VpxPayloadDescriptor

from calls.media import sdp
from calls.media.client import Browser, Connection, Sending, Unexpected, offer
from calls.media.client.devices import Camera, Microphone
from calls.media.client.web import accepted
from calls.media.sink import Packet
from tests.walks import media

SECOND = 1_790_000_000_000  # a full second, in ms since 1970


def pictures(camera: Camera, moments: list[int]) -> list[media.Stamp | None]:
    """What can be read from each picture once it was sent and decoded; only the first is a key frame."""
    decoder: Any = av.CodecContext.create("vp8", "r")
    found = []
    for moment in moments:
        parts = [VpxPayloadDescriptor.parse(payload)[1] for payload in camera.picture(moment, key=moment == moments[0])]
        assert (not parts[0][0] & 1) == (moment == moments[0])
        found += [media.stamp_of(np.asarray(one.to_ndarray(format="gray"), dtype=np.uint8)) for one in decoder.decode(av.Packet(b"".join(parts)))]
    return found


def test_every_picture_says_when_it_was_captured_and_whose_it_is() -> None:
    moments = [SECOND + 66 * number for number in range(20)]  # across two flashes
    assert pictures(Camera(2), moments) == [media.Stamp(moment, 2) for moment in moments]


def test_each_person_beeps_at_each_full_second_at_a_pitch_of_their_own() -> None:
    microphone = Microphone(3)
    sound = media.sound_of(payload for number in range(100) for payload in microphone.sound(SECOND + 20 * number))
    assert media.loudness(sound, 3) >= media.AUDIBLE
    assert media.loudness(sound, 2) < media.AUDIBLE
    silence = sound[media.RATE // 4 : media.RATE * 3 // 4]
    assert float(np.abs(silence).max()) < media.AUDIBLE


def test_a_packet_carries_its_mid_its_time_and_its_marker() -> None:
    sending = Sending("cam", "7", 1234, number=65535)
    packet = Packet.parse(sending.packet(65535, b"\x10body", 2**32 + 5, marker=True))
    assert (packet.sequence_number, packet.timestamp, packet.ssrc, packet.marker) == (65535, 5, 1234, True)
    assert packet.payload == b"\x10body"
    assert packet.extensions[sdp.EXTENSIONS["video"][sdp.MID] + 4] == b"7"


async def test_the_servers_reader_takes_the_clients_offer() -> None:
    sendings = [Sending("mic", "0", 11), Sending("cam", "1", 12)]
    found = sdp.parse_offer(offer(Connection(lambda clear: None, lambda clear: None), sendings), {"0": "mic", "1": "cam"})
    assert [(section.ssrc, section.payload_type) for section in found.sections] == [(11, 111), (12, 100)]


# The web beneath it, against a server that answers by the letter of RFC 6455


async def served(answers: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> tuple[asyncio.Server, str]:
    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accepted(key)}"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    return head


async def frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One frame of the client: its first byte, and its data, which must have come masked."""
    first, second = await reader.readexactly(2)
    assert second & 0x80
    size = second & 0x7F
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2))
    mask = await reader.readexactly(4)
    return first, bytes(byte ^ mask[place % 4] for place, byte in enumerate(await reader.readexactly(size)))


def test_the_answer_to_a_key_is_the_one_of_the_standard() -> None:
    assert accepted("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3


async def test_messages_in_pieces_pings_and_long_texts_pass_and_the_close_code_is_kept() -> None:
    heard: list[tuple[int, bytes]] = []
    heads: list[str] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await handshake(reader, writer))
        writer.write(b'\x01\x04{"a"' + b"\x89\x02hi" + b"\x80\x04: 1}")
        heard.append(await frame(reader))
        long = json.dumps({"text": "x" * 70_000}).encode()
        writer.write(b"\x81\x7f" + len(long).to_bytes(8) + long)
        heard.append(await frame(reader))
        writer.write(b"\x88\x02" + (4401).to_bytes(2))
        writer.close()

    server, base = await served(answers)
    async with server:
        socket = await Browser(base).socket("/ws/call", ["cleac.1", "ticket.t"])
        assert await socket.receive() == {"a": 1}
        found = await socket.receive()
        socket.send({"text": "y" * 300})
        assert await socket.receive() is None
        await socket.close()

    assert found is not None
    assert len(found["text"]) == 70_000
    assert heard == [(0x8A, b"hi"), (0x81, json.dumps({"text": "y" * 300}).encode())]
    assert socket.closed_with == 4401
    assert "Sec-WebSocket-Protocol: cleac.1, ticket.t" in heads[0]
    assert f"Origin: {base}" in heads[0]


async def test_a_socket_that_is_refused_or_breaks_off_is_told() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handshake(reader, writer)
        writer.write(b"\x81\x7e")
        writer.close()

    server, base = await served(refuses)
    async with server:
        with pytest.raises(Unexpected) as refused:
            await Browser(base).socket("/ws/call", ["cleac.1"])
    assert refused.value.status == 403
    server, base = await served(breaks_off)
    async with server:
        socket = await Browser(base).socket("/ws/call", ["cleac.1"])
        assert await socket.receive() is None
        await socket.close()
    assert socket.closed_with == 1006


async def test_a_browser_stays_at_its_site() -> None:
    browser = Browser("http://127.0.0.1:1")
    for address in ("http://127.0.0.1:2/", "//elsewhere.example/", "http://127.0.0.1:11/"):
        with pytest.raises(ValueError, match="another site"):
            await browser.get(address)
