"""What a page may say, read without mercy."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import protocol
from calls.protocol import CALL_HEARD, CALL_SENT, IDENTITY, LARGEST, LOBBY_HEARD, LOBBY_SENT, written
from calls.protocol.reading import Malformed, parse

ID = "00000000-0000-4000-8000-000000000000"
GOOD: list[tuple[protocol.Table, protocol.Message]] = [
    (LOBBY_SENT, protocol.Decide("record-voice", True)),
    (LOBBY_SENT, protocol.Ready()),
    (CALL_SENT, protocol.Publish(0, "v=0", [protocol.SentTrack("0", "mic")])),
    (CALL_SENT, protocol.Subscribed(2**31 - 1, "v=0")),
    (CALL_SENT, protocol.Restart()),
    (CALL_SENT, protocol.Mute("screen-audio", False)),
    (CALL_SENT, protocol.Show([protocol.Tile(ID, "screen", 720), protocol.Tile(ID, "cam", 1)], ID)),
    (CALL_SENT, protocol.Show([], None)),
    (CALL_SENT, protocol.Decide("record-voice", False)),
    (CALL_SENT, protocol.Leave()),
    (CALL_SENT, protocol.Admit(ID)),
    (CALL_SENT, protocol.Deny(ID)),
    (CALL_SENT, protocol.Remove(ID)),
    (CALL_SENT, protocol.End()),
    (LOBBY_HEARD, protocol.Lobby("T", "Hana", "LOBBY", None, [protocol.Card("p", ID, "t", "w", "y", "s", "k", None)])),
    (LOBBY_HEARD, protocol.Moved(3)),
    (CALL_HEARD, protocol.Welcome(ID, "T", "now", [protocol.Person(ID, "G", "guest", True, False, False, {"mic": "agreed"})], {"ice_servers": []})),
    (CALL_HEARD, protocol.Speaking([ID])),
    (CALL_HEARD, protocol.Offer(1, "v=0", [protocol.HeardTrack("0", ID, "cam")])),
]
SENT = [(table, message) for table, message in GOOD if table in (LOBBY_SENT, CALL_SENT)]


def code(text: Any, table: protocol.Table = CALL_SENT) -> str:
    with pytest.raises(Malformed) as malformed:
        parse(text, table)
    return malformed.value.code


@pytest.mark.parametrize(("table", "message"), GOOD, ids=lambda value: getattr(value, "kind", ""))
def test_a_message_written_is_the_message_read(table: protocol.Table, message: protocol.Message) -> None:
    assert parse(json.dumps(written(message)), table) == message


def test_every_message_that_a_page_may_send_was_tried_above() -> None:
    tried = {(id(table), message.kind) for table, message in GOOD}
    assert {(id(table), kind) for table in (LOBBY_SENT, CALL_SENT) for kind in table} <= tried


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "not-text"),
        (b"{}", "not-text"),
        ("", "not-json"),
        ("{", "not-json"),
        ('{"kind":"ready"} x', "not-json"),
        ('{"kind":"mute","source":NaN,"muted":true}', "not-json"),
        ('{"kind":"publish","rev":' + "9" * 5000 + "}", "not-json"),
        ("[" * 40_000, "not-json"),
        ("[]", "not-an-object"),
        ("null", "not-an-object"),
        ('"leave"', "not-an-object"),
        ("{}", "unknown-kind"),
        ('{"kind":null}', "unknown-kind"),
        ('{"kind":["leave"]}', "unknown-kind"),
        ('{"kind":"Leave"}', "unknown-kind"),
        ('{"kind":"ready"}', "unknown-kind"),
        ('{"kind":"leave","kind":"leave"}', "duplicate-key"),
        ('{"kind":"publish","rev":1,"sdp":"v","tracks":[{"mid":"0","mid":"0","source":"mic"}]}', "duplicate-key"),
        ('{"kind":"leave","extra":1}', "unknown-field"),
        ('{"kind":"mute","source":"mic"}', "missing-field"),
        ('{"kind":"mute","source":"mic","muted":1}', "wrong-type"),
        ('{"kind":"mute","source":"mic","muted":"true"}', "wrong-type"),
        ('{"kind":"mute","source":"microphone","muted":true}', "out-of-range"),
        ('{"kind":"mute","source":1,"muted":true}', "wrong-type"),
        ('{"kind":"publish","rev":true,"sdp":"v","tracks":[]}', "wrong-type"),
        ('{"kind":"publish","rev":1.0,"sdp":"v","tracks":[]}', "wrong-type"),
        ('{"kind":"publish","rev":-1,"sdp":"v","tracks":[]}', "out-of-range"),
        ('{"kind":"publish","rev":2147483648,"sdp":"v","tracks":[]}', "out-of-range"),
        ('{"kind":"publish","rev":1,"sdp":"","tracks":[]}', "out-of-range"),
        ('{"kind":"publish","rev":1,"sdp":"\\ud800","tracks":[]}', "wrong-type"),
        ('{"kind":"publish","rev":1,"sdp":"v","tracks":{}}', "wrong-type"),
        ('{"kind":"publish","rev":1,"sdp":"v","tracks":["mic"]}', "wrong-type"),
        ('{"kind":"publish","rev":1,"sdp":"v","tracks":' + json.dumps([{"mid": "0", "source": "mic"}] * 9) + "}", "out-of-range"),
        ('{"kind":"admit","participant":"x"}', "out-of-range"),
        (json.dumps({"kind": "show", "tiles": [{"participant": ID, "source": "cam", "height": 0}], "pinned": None}), "out-of-range"),
        (json.dumps({"kind": "show", "tiles": [{"participant": ID, "source": "cam", "height": 8193}], "pinned": None}), "out-of-range"),
        (json.dumps({"kind": "show", "tiles": [{"participant": ID, "source": "mic", "height": 90}], "pinned": None}), "out-of-range"),
        (json.dumps({"kind": "show", "tiles": [{"participant": ID, "source": "cam", "height": 90}] * 101, "pinned": None}), "out-of-range"),
        (json.dumps({"kind": "show", "tiles": [], "pinned": ""}), "out-of-range"),
        (
            json.dumps({"kind": "show", "tiles": [{"participant": ID, "source": "cam", "role": "host"}], "pinned": None}),
            "identity-claimed",
        ),
        (json.dumps({"kind": "subscribed", "rev": 1, "sdp": "v" * (32 * 1024 + 1)}), "out-of-range"),
        (json.dumps({"kind": "subscribed", "rev": 1, "sdp": "v" * LARGEST}), "too-large"),
        (json.dumps({"kind": "subscribed", "rev": 1, "sdp": "ä" * (LARGEST // 2)}, ensure_ascii=False), "too-large"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_whatever_is_no_message_is_refused_by_name(text: Any, expected: str) -> None:
    assert code(text) == expected


@pytest.mark.parametrize("name", sorted(IDENTITY))
@pytest.mark.parametrize(("table", "message"), SENT, ids=lambda value: getattr(value, "kind", ""))
def test_a_page_that_says_who_it_is_is_refused(table: protocol.Table, message: protocol.Message, name: str) -> None:
    """The one exception names somebody else: `participant` in a host's command."""
    content = written(message)
    if name in content:
        assert name == "participant"
        assert message.kind in ("admit", "deny", "remove")
        return

    with pytest.raises(Malformed) as malformed:
        parse(json.dumps(content | {name: ID}), table)
    assert (malformed.value.code, malformed.value.facts) == ("identity-claimed", {"field": name})


def test_an_identity_hidden_in_a_track_is_refused_too() -> None:
    track = {"mid": "0", "source": "mic", "participant": ID}
    assert code(json.dumps({"kind": "publish", "rev": 1, "sdp": "v", "tracks": [track]})) == "identity-claimed"


def test_a_refusal_repeats_nothing_that_the_page_made_up() -> None:
    with pytest.raises(Malformed) as malformed:
        parse('{"kind":"leave","<script>":1}', CALL_SENT)
    assert "script" not in str(malformed.value.facts)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(st.text() | anything.map(json.dumps))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    for table in (LOBBY_SENT, CALL_SENT):
        try:
            assert isinstance(parse(text, table), protocol.Message)
        except Malformed:
            continue


@given(st.sampled_from(SENT), st.data())
def test_a_good_message_with_any_one_field_changed_is_still_exact_or_refused(
    good: tuple[protocol.Table, protocol.Message], data: st.DataObject
) -> None:
    """What is read back is what was sent: nothing is converted, dropped or filled in."""
    table, message = good
    content = written(message)
    name = data.draw(st.sampled_from(sorted(content)) | st.text(max_size=12))
    changed = content | {name: data.draw(anything)}
    try:
        read = parse(json.dumps(changed), table)
    except Malformed:
        return
    assert {"kind": read.kind, **asdict(read)} == changed
