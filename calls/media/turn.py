"""The operator's TURN servers: their addresses as RFC 7065 writes them, and credentials that soon are void.

The credentials are those of draft-uberti-behave-turn-rest, which coturn takes with `use-auth-secret`: the user name begins with the second
at which it ends, the password is an HMAC over it with the secret that the service and the TURN server share.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

_URL = re.compile(r"turns?:(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(\?transport=(udp|tcp))?")


def servers(text: str) -> tuple[str, ...]:
    """The addresses of a comma-separated list. Raises ValueError for what is none."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not all(_URL.fullmatch(url) for url in found):
        raise ValueError("addresses like turn:turn.example.org:3478?transport=udp, separated by commas, were expected")
    return found


def credentials(secret: str, name: str, until: int) -> tuple[str, str]:
    """User name and password, good until the second `until` (of Unix time). `name` keeps two users apart and must say nothing about them."""
    username = f"{until}:{name}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode()
