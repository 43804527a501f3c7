"""`json`: what a page sends over its socket, and a frame between processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from calls import protocol
from calls.media import wire
from calls.protocol import CALL_SENT, IDENTITY, LOBBY_SENT
from calls.protocol.reading import Malformed, fields_of, parse
from tenants.errors import Refused

from ..engine import Target

CODES = {"not-text", "too-large", "not-json", "duplicate-key", "not-an-object", "unknown-kind", "identity-claimed", "unknown-field"}
CODES |= {"missing-field", "wrong-type", "out-of-range"}
FIELDS = {name for message in (*CALL_SENT.values(), *LOBBY_SENT.values()) for name in fields_of(message)} | {"mid", "height"}
ID = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"


def run(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for table in (CALL_SENT, LOBBY_SENT):
        read = _outcome(lambda table=table: parse(text, table))  # type: ignore[misc]  # reason: bound at once
        if isinstance(read, Refused):
            _is_told(read)
        else:
            assert table[read.kind] is type(read)
            assert parse(json.dumps(protocol.written(read)), table) == read
    frame = _outcome(lambda: wire.unpack(data))
    if isinstance(frame, Refused):
        assert frame.code in ("wire-not-json", "wire-not-an-object", "wire-duplicate-key"), frame.code
    else:
        assert wire.unpack(wire.pack(frame)[4:]) == frame


def _outcome(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Refused as refusal:
        return refusal


def _is_told(refusal: Refused) -> None:
    """By a code of the table, and with nothing of what was sent."""
    assert isinstance(refusal, Malformed)
    assert refusal.code in CODES, refusal.code
    assert set(refusal.facts) <= {"limit", "field"}
    assert refusal.facts.get("field", "mid") in FIELDS | IDENTITY, "a word of the page is told back"


def seeds() -> list[bytes]:
    made: list[object] = [
        {"kind": "publish", "rev": 1, "sdp": "v=0", "tracks": [{"mid": "0", "source": "mic"}]},
        {"kind": "subscribed", "rev": 0, "sdp": "v=0\r\n"},
        {"kind": "show", "tiles": [{"participant": ID, "source": "cam", "height": 180}], "pinned": ID},
        {"kind": "mute", "source": "screen-audio", "muted": True},
        {"kind": "decide", "purpose": "record-voice", "granted": False},
        {"kind": "admit", "participant": ID},
        {"kind": "ready"},
        {"kind": "leave", "participant": ID},
        {"token": "a.b"},
        [1.5, None, "\u00e9\ud83d\ude00", {"a": {"b": [[]]}}],
    ]
    return [json.dumps(each).encode() for each in made] + [b'{"kind":"restart","kind":"restart"}', b'{"kind":"end","rev":NaN}', b"[" * 200]


WORDS = [b'"kind":', b'"role":"host"', b"null", b"true", b"-1", b"1e999", b"2147483648", b"NaN", b"\\ud800", b"[[[[", b"{", b"}"]
WORDS += [b'","', b"\xc3\xa9", b"\x00"]
TARGET = Target("json", run, seeds, WORDS)
