"""Secrets that people and programs show: how they are made, written down and compared."""

from __future__ import annotations

import hashlib
import re
import secrets

PREFIX = "cleac_"
_BEARER = re.compile(r"Bearer (cleac_[A-Za-z0-9_-]{43})", re.IGNORECASE)


def new_key() -> str:
    """A new API key: a fixed prefix, so that a leak can be found by search, and 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def prefix_of(key: str) -> str:
    """The beginning of an API key, to tell it from others: 36 of its 256 random bits."""
    return key[: len(PREFIX) + 6]


def hashed(secret: str) -> bytes:
    """SHA-256 of a secret of at least 128 random bits; such a secret needs no slow hash."""
    return hashlib.sha256(secret.encode()).digest()


def parse_bearer(header: str) -> str | None:
    """The key in an Authorization header; None when there is no header. Anything malformed is a key that nobody has."""
    if not header:
        return None
    match = _BEARER.fullmatch(header)
    return match[1] if match else ""
