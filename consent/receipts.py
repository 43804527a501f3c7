"""The code that a person has for each own answer, and whether the log still has what a code names.

What must never happen here, and what holds it:

* *A code tells its reader more than its holder knew.* It names a tenant by its id, an entry by its number, and that entry's leaf hash: the hash of a
  commitment under a salt of 32 bytes. Nothing can be read from it, and nobody makes one up.
* *A check tells of anything else.* Whatever of a code is wrong, its form, tenant, number or hash, there is one answer; and a code that is right is
  told whether the entry is as it was written, and not what it says, of whom, or in whose log.

This is no receipt that can be checked without us: that needs heads that are signed.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from uuid import UUID

from compliance import log
from compliance.models import LogEntry
from tenants import queries as house
from tenants import scope

WRITTEN, BLANKED, ALTERED = "written", "blanked", "altered"  # as it was written; what it said was erased; what is stored is not what was written
LONGEST = 512  # characters of what is read as a code
_CODE = re.compile(r"([0-9a-f]{32})\.([0-9]{1,18})\.([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class Found:
    """The entry with this number is in the log, in one of the states above."""

    number: int
    state: str


def code_of(entry: LogEntry) -> str:
    """`<tenant's id>.<number of the entry>.<its leaf hash>`, in hexadecimal digits but for the number."""
    return f"{entry.tenant_id.hex}.{entry.index}.{log.entry_hash(entry).hex()}"


def checked(text: str) -> Found | None:
    """What the log has under this code; blanks and line breaks in it do not count. None for whatever it does not have. Opens the scope itself."""
    named = _CODE.fullmatch("".join(text[:LONGEST].split()).lower())
    tenant = house.tenant(UUID(named[1])) if named else None
    if named is None or tenant is None:
        return None
    with scope.reading(tenant):
        entry = log.at_index(int(named[2]))
        if entry is None or not hmac.compare_digest(log.entry_hash(entry).hex(), named[3]):
            return None
        if entry.record is None:
            return Found(entry.index, BLANKED)
        return Found(entry.index, WRITTEN if log.opens(entry) else ALTERED)
