"""Where the sessions of browsers are kept: in the database, as Django keeps them; see SESSION_ENGINE.

A cookie is any stranger's own text, and Django looks for whatever is long enough. PostgreSQL refuses some of it, a NUL above all, which would
make a fault of ours with its traceback of what is no more than a wrong cookie. So nothing is looked for that can be no key.
"""

from __future__ import annotations

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS

CHARACTERS = frozenset(VALID_KEY_CHARS)


class SessionStore(db.SessionStore):
    """One browser's session."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key if session_key and CHARACTERS.issuperset(session_key) else None)
