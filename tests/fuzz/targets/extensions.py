"""`extensions`: header extensions of both forms (RFC 8285), read and, where our own writer of this test can say them, written and read again."""

from __future__ import annotations

from calls.media.sink import header_end

from ..engine import Target

HEAD = b"\x90\x60\x00\x01" + bytes(8)


def run(data: bytes) -> None:
    """The octets behind the fixed header."""
    raw = HEAD + data
    try:
        start, found = header_end(raw)
    except ValueError:
        return
    assert len(HEAD) + 4 <= start <= len(raw)
    block = raw[len(HEAD) + 4 : start]
    assert sum(len(value) + 1 for value in found.values()) <= len(block), "more was read than there is"
    assert all(value in block for value in found.values())
    for profile, written in ((b"\xbe\xde", _one_byte(found)), (b"\x10\x00", _two_bytes(found))):
        if written is not None:
            again = HEAD + profile + (len(written) // 4).to_bytes(2) + written + b"payload"
            assert header_end(again) == (len(again) - 7, found)


def _one_byte(found: dict[int, bytes]) -> bytes | None:
    if any(not 1 <= key <= 14 or not 1 <= len(value) <= 16 for key, value in found.items()):
        return None
    return _padded(b"".join(bytes([key << 4 | len(value) - 1]) + value for key, value in found.items()))


def _two_bytes(found: dict[int, bytes]) -> bytes | None:
    if any(not 1 <= key <= 255 or len(value) > 255 for key, value in found.items()):
        return None
    return _padded(b"".join(bytes([key, len(value)]) + value for key, value in found.items()))


def _padded(block: bytes) -> bytes:
    return block + bytes(-len(block) % 4)


def seeds() -> list[bytes]:
    one, two = _one_byte({1: b"m", 3: b"\x7f", 14: b"0123456789abcdef"}), _two_bytes({1: b"m", 200: b"", 15: b"x" * 30})
    assert one is not None
    assert two is not None
    blocks = [(b"\xbe\xde", one), (b"\x10\x00", two), (b"\x10\x07", two), (b"\xbe\xde", b"\x00\x10m\xf0"), (b"\x12\x34", b"abcd"), (b"\xbe\xde", b"")]
    return [profile + (len(block) // 4).to_bytes(2) + block + b"payload" for profile, block in blocks]


TARGET = Target("extensions", run, seeds, [b"\xbe\xde", b"\x10\x00", b"\xf0", b"\x1f"])
