"""Opens stored media and destroys it. The only door to its bytes once they are on the disk.

What must never happen here, and what holds it:
- Bytes for somebody who was just refused: every call asks `release` by the database, also while the key is still in memory. The key
  saves the key store a question and decides nothing.
- A key that outlives its use: a minute after its release it is out of this process's memory, asked for or not; a key of what is shredded
  goes at once.
- Media that can still be opened after it was forgotten: the row loses its key in the transaction that decides it; key store and object
  follow the commit, and what a crash leaves of them is swept.
- A row that is READY and opens nothing: key and object go after the commit, never before.
- Clear media on a disk: what is opened is handed on in memory, a few MiB at a time.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import BinaryIO, TypeVar
from uuid import UUID

from django.db import transaction

from tenants.errors import Refused
from tenants.keys import port

from . import journal as journals
from . import playback, queries, release, storage
from .models import Artefact, Viewing
from .sealing import Context

KEY_SECONDS = 60.0  # in memory after a release (D18)
MOST_KEYS = 512
T = TypeVar("T")


def in_a_while(seconds: float, act: Callable[[], None]) -> None:
    """Call `act` after so many seconds, in a thread that keeps no process alive."""
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


class Keys:
    """Data keys in this process's memory, each for `KEY_SECONDS` from its release, `MOST_KEYS` at most. Safe between threads.

    Python cannot overwrite a `bytes` object: a key is forgotten by dropping every reference to it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, later: Callable[[float, Callable[[], None]], None] = in_a_while) -> None:
        self._clock, self._later = clock, later
        self._held: OrderedDict[tuple[UUID, UUID], tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._waiting = False

    def __len__(self) -> int:
        return len(self._held)

    def get(self, viewing_id: UUID, artefact_id: UUID) -> bytes | None:
        """The key that was released to this viewing for this file less than a minute ago, or None."""
        self.drop_old()
        with self._lock:
            found = self._held.get((viewing_id, artefact_id))
            return found[1] if found else None

    def put(self, viewing_id: UUID, artefact_id: UUID, key: bytes) -> None:
        """Keep a key that was released now. The oldest goes when there are too many."""
        with self._lock:
            self._held.pop((viewing_id, artefact_id), None)
            self._held[viewing_id, artefact_id] = (self._clock(), key)
            while len(self._held) > MOST_KEYS:
                self._held.popitem(last=False)
        self._wake()

    def forget(self, artefact_id: UUID) -> None:
        """Drop the keys of a file, whoever they were released to."""
        with self._lock:
            for place in [place for place in self._held if place[1] == artefact_id]:
                del self._held[place]

    def drop_old(self) -> None:
        """Drop every key whose minute is over."""
        now = self._clock()
        with self._lock:
            for place in [place for place, (since, _key) in self._held.items() if now - since >= KEY_SECONDS]:
                del self._held[place]

    def _wake(self) -> None:
        """See to it that the oldest is dropped on time although nobody asks again."""
        with self._lock:
            if self._waiting or not self._held:
                return
            self._waiting = True
            oldest = next(iter(self._held.values()))[0]
        self._later(max(0.0, oldest + KEY_SECONDS - self._clock()), self._due)

    def _due(self) -> None:
        with self._lock:
            self._waiting = False
        self.drop_old()
        self._wake()


keys = Keys()


def reader(*, viewing: Viewing, artefact: Artefact, at: datetime) -> playback.Reader:
    """A playback file, open for reading, for somebody who may read it at this moment.

    Raises Refused as `release.data_key`, and "not-found" 404 when the object is not here; Tampered when it is not what was written.
    """
    granted = release.judge(viewing=viewing, artefact=artefact, at=at)
    key = keys.get(granted.viewing.pk, granted.artefact.pk)
    if key is None:
        key = release.data_key(viewing=viewing, artefact=artefact, at=at)
        keys.put(granted.viewing.pk, granted.artefact.pk, key)
    file = _opened(storage.store().open_object, granted.artefact)
    return _closing(file, lambda: playback.Reader(file, key, granted.claim))


def journal(*, artefact: Artefact) -> journals.Reader:
    """A closed journal, for the job that finishes it, as far as it was counted when its stretch was closed.

    A worker that stood still between its last look at the clock and its write adds one record to what the sweep has counted since: that is
    never read. A size of 0 is that of a journal that could not be counted.

    Raises Refused as `release.journal_key`, FileNotFoundError when the journal is not on this machine, Tampered.
    """
    key = release.journal_key(artefact=artefact)
    file = storage.store().open(artefact.object_name)
    return _closing(file, lambda: journals.Reader(file, key, queries.claim(epoch=queries.epoch_of(artefact)), artefact.size or None))


def proof(*, artefact: Artefact) -> Callable[[], None]:
    """A function that opens every record of a stored object and counts it against its END; nothing of what is in it is handed on.

    The database is asked here; the function needs neither scope nor transaction, and takes as long as the object is long. Raises Refused as
    `release.proof_key`; the function FileNotFoundError, and Tampered when it is not what was written.
    """
    key, claim = release.proof_key(artefact=artefact), queries.claim(epoch=queries.epoch_of(artefact))
    return partial(_count_journal if artefact.kind == Artefact.Kind.JOURNAL else _count_object, artefact.object_name, key, claim)


def _count_journal(name: str, key: bytes, claim: Context) -> None:
    with storage.store().open(name) as file:
        for _record in journals.Reader(file, key, claim).records():
            pass


def _count_object(name: str, key: bytes, claim: Context) -> None:
    with storage.store().open_object(name) as file:
        playback.Reader(file, key, claim).verify()


def shred(artefacts: Iterable[Artefact]) -> None:
    """Forget these objects: the rows lose their keys now, key store and store lose keys and bytes once that is committed.

    In the caller's transaction; an object that is SHREDDED already is left alone.
    """
    for artefact in artefacts:
        if artefact.state == Artefact.State.SHREDDED:
            continue
        key, artefact.sealed_key, artefact.state = artefact.sealed_key, None, Artefact.State.SHREDDED
        artefact.save(update_fields=["sealed_key", "state"])
        _forget_after_commit(artefact.pk, key, artefact.object_name)


def _forget_after_commit(artefact_id: UUID, key: UUID | None, name: str) -> None:
    def forget() -> None:
        keys.forget(artefact_id)
        if key is not None:
            port.destroy(sealed_key_ids=[key])
        storage.store().delete(name)

    transaction.on_commit(forget, robust=True)  # one that fails is logged and swept, and does not keep the others from going


def _opened(open_: Callable[[str], BinaryIO], artefact: Artefact) -> BinaryIO:
    try:
        return open_(artefact.object_name)
    except FileNotFoundError:
        raise Refused("not-found", 404) from None


def _closing(file: BinaryIO, make: Callable[[], T]) -> T:
    """What `make` makes; the file is closed with it, or at once when it cannot be made."""
    try:
        made = make()
    except BaseException:
        file.close()
        raise
    weakref.finalize(made, file.close)
    return made
