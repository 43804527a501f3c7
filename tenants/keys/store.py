"""The key store is a database of its own and may be away by itself: whoever asks is refused, and what needs no key goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError, connections, router

from ..errors import Refused
from ..models import SealedKey


@contextmanager
def asked() -> Iterator[None]:
    """What is asked in here of a store that does not answer raises `Refused("keys-away", 503)`; the next who asks connects anew."""
    try:
        yield
    except (OperationalError, InterfaceError):
        connections[router.db_for_write(SealedKey)].close()
        raise Refused("keys-away", 503) from None
