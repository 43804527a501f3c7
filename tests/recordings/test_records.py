"""The bytes of both sealed forms, frozen, and read by an opener that knows nothing but `docs/formats.md`."""

from __future__ import annotations

import base64
import hmac
import io
import json
from collections.abc import Iterator
from hashlib import sha256, sha512
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recordings import journal, playback, records
from recordings.journal import Item, clock_pair
from recordings.sealing import Tampered
from recordings.webm import Frame

from .reel import CAM, KEY, opened, picture_head, write

JOURNAL = base64.b64decode(
    "Q0xFQUNKMQoAAAEteyJhbGdvcml0aG0iOiJIS0RGLVNIQS01MTIrQUVTLTI1Ni1HQ00iLCJjb21taXRtZW50IjoiMzdkY2MzMWQyN2RmZWM2MzU4ZDEzNWNjYTk2MDRmNDM1ODE5NDZi"
    "N2ViMTAyNTY5YTY1MmY1NTk4YzQyYjU2ZiIsImNvbnRleHQiOiJmMTNiYmQzYjY5OGE0MTg0YTUxMGI3NDdkNGUzZjc1NDczYzVhZWY5NTk5NGMyNDA3MmJjMmE0M2I3ZWExMjQwIiwi"
    "ZXBvY2giOiJlcG9jaC0xIiwic2FsdCI6IjAwMDEwMjAzMDQwNTA2MDcwODA5MGEwYjBjMGQwZTBmMTAxMTEyMTMxNDE1MTYxNzE4MTkxYTFiMWMxZDFlMWYiLCJ2ZXJzaW9uIjoxfQEA"
    "AAAAAAAAAAAAAAAAD0JAAABOIAAAAD5jlKWJ8hgjvQcQ9F8CSB+cjN0PHK6I/KIdxwrASCzBvm6QTBlG8WKUna58g+EBiYMiy1F8hZn/egwyPUdlLsX+yZh2gNHeZunG9wZyr0YBAAAA"
    "AAAAAAIAAAAAAC3GwAAAAAAAAAAcKCsg+yx3LXSAPecEKR6Ix4XhKl5PZQBrL2GToDCIebJVJ4XZ9AmhHeM0UsACAAAAAAAAAAMAAAAAAD0JAAAAAAAAAABQHprCtqOwnEZCNwbvN3SR"
    "jZhx+46k/3ZAXgLsx2Vr2j3R/dTogJivRxMGvRC2zrm7O9K17T2ukskIytDGGTwfddhSaLthC0JYPkzcKU9G9y4//CFeW3M4+bhv8l/vea+I"
)
PLAYBACK = base64.b64decode(
    "Q0xFQUNQMQoAAAEteyJhbGdvcml0aG0iOiJIS0RGLVNIQS01MTIrQUVTLTI1Ni1HQ00iLCJjb21taXRtZW50IjoiMzdkY2MzMWQyN2RmZWM2MzU4ZDEzNWNjYTk2MDRmNDM1ODE5NDZi"
    "N2ViMTAyNTY5YTY1MmY1NTk4YzQyYjU2ZiIsImNvbnRleHQiOiJmMTNiYmQzYjY5OGE0MTg0YTUxMGI3NDdkNGUzZjc1NDczYzVhZWY5NTk5NGMyNDA3MmJjMmE0M2I3ZWExMjQwIiwi"
    "ZXBvY2giOiJlcG9jaC0xIiwic2FsdCI6IjAwMDEwMjAzMDQwNTA2MDcwODA5MGEwYjBjMGQwZTBmMTAxMTEyMTMxNDE1MTYxNzE4MTkxYTFiMWMxZDFlMWYiLCJ2ZXJzaW9uIjoxfQMA"
    "AAAAAAAAAAAAAAAAfqXgAACA6AAAAEqXWGRCbp/MPn4ekXFNfwInk565af+I+cR0tXmar6TBvz2QXBlmncEHHK55A/EBiR4ivkF+7da5Q35FJYWb2+mFtLDr3JhmTDgY8dJ4j1yq9ccH"
    "4TH5tJP0kAQDAAAAAAAAAAEAAAAAAJ0qYAAAAAAAAAA0KT6hjRyaXmld0569Bq0OjGYORdcwq6Ua7kpKa02V88acKvOgm6ScILjrQZsuT7cSGTxNSSTQ+luKoSzsd9vjPNI7KycEAAAA"
    "AAAAAAIAAAAAAAAAAAAAAAAAAADqsf+CmPs5Dq2Nm1CSk5jiRp+k9f2AJ4OLSFcBU3kD/Ph/8DsXwyyOtt/z3SdYmqCYzC+Av2dI8DtBLWCEFa7lXfp0bOfJjPzLqyjr+2m7UTirgfUH"
    "yXNYNqooTcskwFqrStqW3ETJaXSLY9Fqg+nT5xnPERHAbtKRoqzOFN0smm5LKHCgFKcv82hlt/ACQgisTGuqoq4YFZobyfvim46zqRbd1ii6HT7kO9fH+2qoReU4NWfvQrdZDcNZTqzx"
    "Sr8DwENtRiYaRr23m4Dc+C7jyI3ShPEM0WuQV4zX4Q2zyQs6Z+VK2xXBMIjC2YKYcbei9tDybbhwutJWrAIAAAAAAAAAAwAAAAAAoDegAAAAAAAAAHCaCYr+wSle4ZRFgg/Hp2qemHH7"
    "l6XTd1YOS/rNZ3fIaZSjl/CIhLVHEBTzQ+PctrknwPW8cueRzxqFj4YXJF48m1J3tC1CQhEReJRqGhLlY75xVQgVkq6i4wAaDrmsJlzpI76ygJgutUs7SsfcE2k3VZcQ0NYHsSx0AI/P"
    "uordug=="
)
ITEMS = [Item(1_000_000, b"P", b"first"), Item(1_000_001, b"S", clock_pair(5, 90_000)), Item(1_020_000, b"P", b"last")]
AFTER = Item(3_000_000, b"P", b"after")
FRAMES = [
    Frame(8_300_000, True, picture_head(True) + b"first"),
    Frame(8_333_000, False, picture_head(False) + b"second"),
    Frame(10_300_000, False, picture_head(False) + b"third"),
]


def opened_by_the_book(whole: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Type, counter, start, duration and content of every record, each step as the page has it."""
    length = int.from_bytes(whole[8:12])
    head, facts = whole[: 12 + length], json.loads(whole[12 : 12 + length])
    parts = [b"cleac/context/1", b"acme", b"recording-1", b"gail", b"cam", b"epoch-1", bytes(range(32))]
    digest = sha256(b"".join(len(part).to_bytes(4) + part for part in parts)).digest()
    info = b"cleac/sealed-file/1" + b"HKDF-SHA-512+AES-256-GCM" + digest
    pseudo_random = hmac.digest(bytes.fromhex(facts["salt"]), KEY, sha512)
    first = hmac.digest(pseudo_random, info + b"\x01", sha512)
    derived = first + hmac.digest(pseudo_random, first + info + b"\x02", sha512)
    assert (facts["context"], facts["commitment"], facts["version"]) == (digest.hex(), derived[32:64].hex(), 1)

    position, previous = len(head), bytes([255]) * 8
    while position < len(whole):
        raw, mark = whole[position : position + 25], whole[position + 25 : position + 41]
        fields = [int.from_bytes(raw[a:b]) for a, b in ((0, 1), (1, 9), (9, 17), (17, 21), (21, 25))]
        binding = sha256(head).digest() + raw + previous
        assert mark == hmac.digest(derived[64:96], binding, sha256)[:16]
        position += 41 + fields[4]
        clear = AESGCM(derived[:32]).decrypt(bytes(4) + raw[1:9], whole[position - fields[4] : position], binding)
        yield fields[0], fields[1], fields[2], fields[3], clear
        previous = raw[1:9]


@pytest.fixture
def fixed_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", lambda size: bytes(range(size)))


def test_a_journal_of_the_first_version_is_still_read() -> None:
    """One record was dropped while it was written: its counter is missing."""
    reader = journal.Reader(io.BytesIO(JOURNAL), KEY, CAM)

    assert list(reader.items()) == [*ITEMS, AFTER]
    assert reader.end == journal.End("stopped", 4_000_000, 3, 2)
    assert [head.counter for head in reader.heads] == [0, 2]


@pytest.mark.usefixtures("fixed_salt")
def test_a_journal_is_still_written_as_in_the_first_version(tmp_path: Path) -> None:
    with open(tmp_path / "journal", "xb", buffering=0) as file:
        writer = journal.Writer(file, KEY, CAM)
        writer.append(1_000_000, 20_000, ITEMS)
        writer.append(2_000_000, 0, [Item(2_000_000, b"P", b"dropped")])
        writer.truncate_to(1)
        writer.append(3_000_000, 0, [AFTER])
        writer.end("stopped", 4_000_000, 3, 2)

    assert (tmp_path / "journal").read_bytes() == JOURNAL


def test_a_journal_is_what_the_documentation_says() -> None:
    first, second, end = opened_by_the_book(JOURNAL)

    assert JOURNAL.startswith(b"CLEACJ1\n")
    assert first[:4] == (1, 0, 1_000_000, 20_000)
    assert first[4] == b"".join((item.arrival_us - 1_000_000).to_bytes(4) + item.kind + len(item.data).to_bytes(2) + item.data for item in ITEMS)
    assert second == (1, 2, 3_000_000, 0, bytes(4) + b"P" + (5).to_bytes(2) + b"after")
    assert end == (2, 3, 4_000_000, 0, b'{"cut_us":4000000,"last_valid":2,"packets":3,"reason":"stopped"}')


def test_a_playback_file_of_the_first_version_is_still_read() -> None:
    reader = opened(PLAYBACK)

    assert (reader.verify(), reader.spans, reader.duration_us) == (3, [[8_300_000, 8_366_000], [10_300_000, 10_500_000]], 10_500_000)


@pytest.mark.usefixtures("fixed_salt")
def test_a_playback_file_is_still_written_as_in_the_first_version(tmp_path: Path) -> None:
    write(tmp_path / "playback", FRAMES)

    assert (tmp_path / "playback").read_bytes() == PLAYBACK


def test_a_playback_file_is_what_the_documentation_says() -> None:
    """FRONT, then the clusters, make the WebM."""
    one, two, front, end = opened_by_the_book(PLAYBACK)
    reader = opened(PLAYBACK)

    assert PLAYBACK.startswith(b"CLEACP1\n")
    assert [record[:4] for record in (one, two, front)] == [(3, 0, 8_300_000, 33_000), (3, 1, 10_300_000, 0), (4, 2, 0, 0)]
    assert end[:4] == (2, 3, 10_500_000, 0)
    assert end[4] == b'{"clusters":2,"duration_us":10500000,"frames":3,"spans":[[8300000,8366000],[10300000,10500000]]}'
    assert front[4] + one[4] + two[4] == reader.read(0, reader.size)


@pytest.mark.parametrize(("whole", "heads"), [(JOURNAL, journal.heads), (PLAYBACK, playback.heads)], ids=["journal", "playback file"])
def test_heads_say_the_same_as_the_records(whole: bytes, heads: type) -> None:
    found = heads(io.BytesIO(whole)).records

    assert [(h.type, h.counter, h.start_us, h.duration_us) for h in found] == [record[:4] for record in opened_by_the_book(whole)]


NO_END = [b"{}", b"[]", b"[" * 4000, b"\xff", b"null", b'{"reason":1,"cut_us":0,"packets":0,"last_valid":null}']
NO_END += [b'{"reason":"stopped","cut_us":0.5,"packets":0,"last_valid":null}', b'{"reason":"stopped","cut_us":true,"packets":0,"last_valid":null}']


@pytest.mark.parametrize("content", NO_END, ids=range(len(NO_END)))
def test_what_is_no_end_of_a_journal_is_tampered_even_under_the_right_key(content: bytes) -> None:
    with pytest.raises(Tampered):
        journal.Reader(io.BytesIO(sealed(journal._FORM, (journal.END, content))), KEY, CAM)


NO_SPANS = [b"{}", b"[" * 4000, b'{"clusters":0,"duration_us":0,"frames":"1","spans":[]}', b'{"clusters":0,"duration_us":0,"frames":1,"spans":[[0]]}']


@pytest.mark.parametrize("content", NO_SPANS, ids=range(len(NO_SPANS)))
def test_what_is_no_end_of_a_playback_file_is_tampered_even_under_the_right_key(content: bytes) -> None:
    whole = sealed(playback._FORM, (playback.CLUSTER, b""), (playback.FRONT, b""), (playback.END, content))
    with pytest.raises(Tampered):
        playback.Reader(io.BytesIO(whole), KEY, CAM)


@pytest.mark.parametrize(("name", "value"), [("epoch", []), ("commitment", "00"), ("context", "")])
def test_a_clear_head_of_other_kinds_is_tampered(name: str, value: object) -> None:
    length = int.from_bytes(JOURNAL[8:12])
    clear = json.dumps({**json.loads(JOURNAL[12 : 12 + length]), name: value}).encode()
    with pytest.raises(Tampered):
        journal.heads(io.BytesIO(JOURNAL[:8] + len(clear).to_bytes(4) + clear + JOURNAL[12 + length :]))


def sealed(form: records.Form, *contents: tuple[int, bytes]) -> bytes:
    """A file with these records, whatever they hold."""
    file = records.SealedFile.new(form, KEY, CAM)
    whole = [file.record(kind, 0, 0, clear, number - 1 if number else None) for number, (kind, clear) in enumerate(contents)]
    return file.head + b"".join(whole)
