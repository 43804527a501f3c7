"""Frames and tokens between processes: what is packed is read back, and whatever is not ours is refused by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.media import wire
from tenants.errors import Refused

KEY = b"k" * 32
NOW = 1_800_000_000.0
HERE = "127.0.0.1:4000"
BAD_BODIES = ("wire-not-json", "wire-not-an-object", "wire-duplicate-key")
IDS = {"tenant": UUID(int=1), "call": UUID(int=2), "participant": UUID(int=3)}

texts = st.text(max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
messages = st.dictionaries(texts, values, max_size=6)


def read_all(raw: bytes, limit: int = wire.FRAME_LIMIT) -> list[dict[str, object]]:
    """Every frame of a stream that ends after these bytes."""

    async def read() -> list[dict[str, object]]:
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        reader.feed_eof()
        found = []
        while (message := await wire.read_frame(reader, limit)) is not None:
            found.append(message)
        return found

    return asyncio.run(read())


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def outcome(call: Callable[[bytes], object], raw: bytes) -> str:
    """ "read", or the code of the refusal; anything else that is raised fails the test."""
    try:
        call(raw)
    except Refused as refused:
        return refused.code
    return "read"


def refusal(call: object, *arguments: object, **named: object) -> str:
    with pytest.raises(Refused) as refused:
        call(*arguments, **named)
    return refused.value.code


def a_token(**changed: object) -> str:
    return wire.participant_token(KEY, **({"address": HERE, "fence": 7, "epoch": 2, "now": NOW} | IDS | changed))


@given(st.lists(messages, max_size=4))
def test_what_is_packed_is_read_back_in_order(sent: list[dict[str, object]]) -> None:
    assert read_all(b"".join(map(wire.pack, sent))) == sent


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused_by_name_and_nothing_else(raw: bytes) -> None:
    assert outcome(read_all, raw) in ("read", "wire-too-large", "wire-cut-short", *BAD_BODIES)


@given(st.binary(max_size=200))
def test_an_arbitrary_body_is_an_object_or_refused_by_name(body: bytes) -> None:
    assert outcome(wire.unpack, body) in ("read", *BAD_BODIES)


@given(messages, st.data())
def test_a_stream_cut_inside_a_frame_is_refused(message: dict[str, object], data: st.DataObject) -> None:
    raw = wire.pack(message)
    cut = data.draw(st.integers(1, len(raw) - 1))
    assert refusal(read_all, raw[:cut]) == "wire-cut-short"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "wire-not-json"),
        (b"\xff\xfe{}", "wire-not-json"),
        (b"{", "wire-not-json"),
        (b'{"a": NaN}', "wire-not-json"),
        (b'{"a": 1e999}', "wire-not-json"),
        (b"[" * 100_000, "wire-not-json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "wire-not-json"),
        (b"[]", "wire-not-an-object"),
        (b"null", "wire-not-an-object"),
        (b'{"a": 1, "a": 2}', "wire-duplicate-key"),
        (b'{"a": {"b": 1, "b": 1}}', "wire-duplicate-key"),
    ],
)
def test_a_body_that_is_no_plain_object_is_refused(body: bytes, code: str) -> None:
    assert refusal(read_all, framed(body)) == code


def test_a_frame_that_claims_too_much_is_refused_before_its_body_is_there() -> None:
    assert refusal(read_all, (wire.FRAME_LIMIT + 1).to_bytes(4, "big")) == "wire-too-large"
    assert refusal(read_all, framed(b'{"token":"' + b"x" * 5000 + b'"}'), wire.FIRST_FRAME_LIMIT) == "wire-too-large"


def test_a_message_that_is_too_large_is_never_sent() -> None:
    assert refusal(wire.pack, {"sdp": "x" * wire.FRAME_LIMIT}) == "wire-too-large"


def test_a_token_says_what_was_signed() -> None:
    claims = wire.verify(KEY, a_token(), address=HERE, now=NOW)
    expected = wire.Claims("participant", HERE, int(NOW) + wire.LIFETIME, *map(str, IDS.values()), fence=7, epoch=2)
    assert claims == expected
    assert wire.verify(KEY, wire.control_token(KEY, address=HERE, now=NOW), address=HERE, now=NOW).typ == "control"


@given(st.data())
def test_a_token_with_one_character_changed_is_forged(data: st.DataObject) -> None:
    token = a_token()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != token[at]))
    assert refusal(wire.verify, KEY, token[:at] + other + token[at + 1 :], address=HERE, now=NOW) == "wire-token-forged"


@given(texts | st.none() | st.integers() | st.lists(texts) | st.text(alphabet=st.characters(categories=["Cs"]), max_size=3))
def test_whatever_is_no_token_of_ours_is_forged(token: object) -> None:
    assert refusal(wire.verify, KEY, token, address=HERE, now=NOW) == "wire-token-forged"


def test_a_token_of_another_key_is_forged() -> None:
    assert refusal(wire.verify, b"q" * 32, a_token(), address=HERE, now=NOW) == "wire-token-forged"


def test_a_token_for_another_worker_is_refused() -> None:
    assert refusal(wire.verify, KEY, a_token(), address="127.0.0.1:4001", now=NOW) == "wire-token-audience"


def test_a_token_ends_with_its_lifetime_and_may_not_claim_a_longer_one() -> None:
    assert refusal(wire.verify, KEY, a_token(), address=HERE, now=NOW + wire.LIFETIME) == "wire-token-expired"
    assert refusal(wire.verify, KEY, a_token(now=NOW + 11), address=HERE, now=NOW) == "wire-token-too-long"


@pytest.mark.parametrize(
    "changed",
    [
        {"typ": "owner"},
        {"typ": "control"},
        {"participant": ""},
        {"call": "not-an-id"},
        {"tenant": "{00000000-0000-0000-0000-000000000001}"},
        {"fence": 0},
        {"fence": -1},
        {"fence": True},
        {"epoch": "2"},
        {"exp": 1.5},
        {"aud": None},
        {"admin": True},
    ],
)
def test_a_signed_token_with_wrong_claims_is_malformed(changed: dict[str, object]) -> None:
    said = {"typ": "participant", "aud": HERE, "exp": int(NOW) + 20, "fence": 7, "epoch": 2} | {k: str(v) for k, v in IDS.items()}
    body = wire._encoded(json.dumps(said | changed).encode())
    token = f"{body}.{wire._signature(KEY, body)}"
    assert refusal(wire.verify, KEY, token, address=HERE, now=NOW) == "wire-token-malformed"


def test_a_short_key_signs_nothing() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        wire.control_token(b"short", address=HERE, now=NOW)


@pytest.mark.parametrize(("address", "parts"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("media-1:9", ("media-1", 9))])
def test_an_address_has_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert wire.parse_address(address) == parts


async def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    accepted: asyncio.Queue[wire.Connection] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(wire.Connection(reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.transport.pause_reading()
    connection = await asyncio.wait_for(accepted.get(), 30)
    sent = 0
    while connection.send({"sdp": "x" * 200_000}):
        sent += 1
        assert sent < 1000
    assert not connection.send({"kind": "late"})
    writer.close()
    server.close()


async def test_nobody_at_the_address_is_a_refusal_by_name() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    with pytest.raises(Refused) as refused:
        await wire.connect(f"{host}:{port}", "token")
    assert (refused.value.code, refused.value.status) == ("no-media-worker", 503)
